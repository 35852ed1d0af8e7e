"""torch's habits: compile, export, copies, state files, function transforms, data parallel processes."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional as sj
from torch import nn

from spikejelly_pack import SpikePackNode, set_form


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


COMPILED: list[dict[str, Any]] = [
    {"form": "packed"},
    {"form": "packed", "learnable_threshold": True, "scale_output": True, "leak": 0.5, "signed": True},
    {"form": "serial"},
]


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("arguments", COMPILED, ids=lambda arguments: "-".join(map(str, arguments.values())))
def test_compiled_without_graph_breaks(arguments: dict[str, Any], tolerance: Callable[[object], Any]) -> None:
    eager = SpikePackNode(3, step_mode="m", **arguments)
    compiled = torch.compile(SpikePackNode(3, step_mode="m", **arguments), fullgraph=True)
    x = torch.randn(6, 2, 5)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = compiled(ours), eager(theirs)
    assert torch.equal(out, expected)
    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad)
    bound = tolerance("float32").between(16, float(grad.abs().sum()))
    assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=bound)
    if eager.theta is not None:
        assert torch.allclose(compiled.theta.grad, eager.theta.grad, rtol=0, atol=bound)


@pytest.mark.usefixtures("_fresh_compiler")
def test_traced_without_graph_breaks_in_the_other_settings() -> None:
    # Only the tracer, not the code generator: fast enough for every setting.
    for arguments in (
        {"form": "packed", "tau": 1.5},
        {"form": "packed", "nan_policy": "raise"},
        {"form": "packed", "v_threshold": [0.5, 1.0]},
        {"form": "serial", "leak": 0.5, "carry": "membrane"},
        {"form": "serial", "step_mode": "s"},
        {"form": "packed", "window": 4},
        {"form": "serial", "window": 4, "signed": True},
        {"form": "serial", "window": 4, "step_mode": "s"},
    ):
        torch._dynamo.reset()
        settings = {"step_mode": "m", **arguments}
        eager, net = SpikePackNode(2, **settings), SpikePackNode(2, **settings)
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
        for _ in range(3):
            x = torch.rand(4, 2, requires_grad=True) if settings["step_mode"] == "s" else torch.rand(4, 3, 2)
            assert torch.equal(compiled(x), eager(x)), arguments


@pytest.mark.parametrize(
    "arguments",
    [{"form": "packed"}, {"form": "serial"}, {"form": "packed", "v_threshold": [0.5, 1.0, 2.0]}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_exported(arguments: dict[str, Any]) -> None:
    node = nn.Sequential(SpikePackNode(4, step_mode="m", **arguments)).eval()
    x = torch.randn(8, 2, 3)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(node, (x,), dynamic_shapes=({1: batch},))
    handle = io.BytesIO()
    torch.export.save(program, handle)
    handle.seek(0)
    other = torch.randn(8, 5, 3)
    assert torch.equal(torch.export.load(handle).module()(other), node(other))


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))])
def test_copies_continue_where_the_original_stands(copier: Callable[[Any], Any]) -> None:
    node = SpikePackNode(3, leak=0.5, v_threshold=[0.5, 1.0])
    steps = torch.rand(12, 4, 2)
    for x in steps[:5]:
        node(x)
    twin = copier(node)
    assert twin.phase == node.phase == 2
    for x in steps[5:]:
        assert torch.equal(twin(x), node(x))
    # Independent of each other.
    twin.v_threshold = 9.0
    assert node.threshold.tolist() == [0.5, 1.0]


def test_state_dict_does_not_depend_on_the_form() -> None:
    packed = nn.Sequential(nn.Linear(3, 3), SpikePackNode(4, learnable_threshold=True, form="packed"))
    serial = nn.Sequential(nn.Linear(3, 3), SpikePackNode(4, learnable_threshold=True))
    serial.load_state_dict(packed.state_dict())
    set_form(serial, "packed")
    x = torch.randn(5, 3)
    assert torch.equal(serial(x), packed(x))
    assert list(serial.state_dict()) == list(packed.state_dict()) == ["0.weight", "0.bias", "1.theta"]


@pytest.mark.filterwarnings("ignore")
def test_function_transforms() -> None:
    node = SpikePackNode(4, form="packed", learnable_threshold=True)
    x = torch.rand(5, 3)

    def loss(parameters: dict[str, torch.Tensor], sample: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(node, parameters, (sample[None],)).square().sum()

    parameters = {name: value.detach() for name, value in node.named_parameters()}
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)["theta"]
    for sample, grad in zip(x, each, strict=True):
        node.theta.grad = None
        node(sample[None]).square().sum().backward()
        assert torch.allclose(node.theta.grad, grad)


# Fresh interpreters: a process that has run autograd must not fork, and a test module cannot be imported.
TRAIN = """
import sys, torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from spikejelly_pack import SpikePackNode
rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world
)
torch.manual_seed(0)
node = SpikePackNode(4, learnable_threshold=True, channels=4, form="packed")
net = nn.Sequential(nn.Linear(4, 4), node, nn.Linear(4, 2))
parallel = DistributedDataParallel(net)
x = torch.randn(8, 4, generator=torch.Generator().manual_seed(5))
for _ in range(2):
    parallel(x[rank::world]).square().mean().backward()
torch.save([parameter.grad for parameter in net.parameters()], f"{folder}/{world}-{rank}.pt")
del parallel  # it holds the group, whose threads may abort a process when they outlive the interpreter
torch.distributed.destroy_process_group()
"""


def test_data_parallel_processes_share_gradients(tmp_path: Path, tolerance: Callable[[object], Any]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(rank), str(world), str(tmp_path)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, world in ((0, 2), (1, 2), (0, 1))
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    first, second, whole = (torch.load(tmp_path / name) for name in ("2-0.pt", "2-1.pt", "1-0.pt"))
    for ours, theirs, alone in zip(first, second, whole, strict=True):
        assert torch.equal(ours, theirs)
        bound = tolerance("float32").between(64, float(alone.abs().max()) + 1.0)
        assert torch.allclose(ours, alone, rtol=0, atol=bound)


def test_cached_reset_list_still_resets() -> None:
    net = nn.Sequential(SpikePackNode(2))
    for _ in range(2):
        net(torch.rand(2))
        sj.reset_net(net)
        assert net[0].phase == 0
