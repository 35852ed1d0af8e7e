"""provider='cupy' and provider='torch' are one function: values, codes, states bit for bit, gradients alike.

The glue and the launcher run as they would on a GPU; the kernels run in the emulation on CPU tensors. The
same tests marked gpu take CUDA tensors and CuPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional as sj
from torch import Tensor

from spikejelly_pack import SpikePackNode
from spikejelly_pack.ops import library
from spikejelly_pack.spec.errors import DtypeError, UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore:.*functorch.*")


@pytest.fixture(autouse=True)
def _no_stale_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Uninitialised outputs are NaN, or the largest integer: an element no kernel writes shows."""
    before = torch.utils.deterministic.fill_uninitialized_memory, torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.utils.deterministic.fill_uninitialized_memory = before[0]
    torch.use_deterministic_algorithms(before[1])


def awkward(shape: tuple[int, ...], steps: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Membranes on ties and ends, NaN, infinities, zeros of both signs, subnormals, and ordinary ones."""
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, generator=generator)
    quotient = 2.0**steps - 1
    special = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-40, 1.0, -1.0, 0.5 / quotient,
         1.5 / quotient, (quotient - 0.5) / quotient, 1.0 - 2.0**-24, 1.0 + 2.0**-23, 0.25, 0.5, 0.75]
    )  # fmt: skip
    flat = x.view(-1)
    count = min(len(special), len(flat))
    flat[:: max(1, len(flat) // count)][:count] = special[:count]
    return x.to(dtype)


def pair(device: str, **settings: Any) -> tuple[SpikePackNode, SpikePackNode]:
    return tuple(SpikePackNode(provider=name, **settings).to(device) for name in ("torch", "cupy"))  # type: ignore[return-value]


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, Tensor):
        assert ours.dtype is theirs.dtype
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    else:
        assert ours == theirs


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"time_steps": 4},
    "T1": {"time_steps": 1},
    "T8_scaled": {"time_steps": 8, "scale_output": True, "v_threshold": 0.7},
    "T16_floor": {"time_steps": 16, "rounding": "floor"},
    "signed": {"time_steps": 5, "signed": True},
    "greedy": {"time_steps": 4, "tau": 1.5},
    "residual": {"time_steps": 3, "leak": 0.5},
    "membrane": {"time_steps": 3, "leak": 0.75, "carry": "membrane", "signed": True},
    "channels": {"time_steps": 4, "v_threshold": [0.5, 1.0, 1.5], "leak": 0.25},
    "window": {"time_steps": 3, "window": 5},
}
SHAPES = [(2, 3), (1, 3, 5), (2, 3, 4, 8), (2, 3, 7, 5)]


@pytest.mark.parametrize("name", SETTINGS)
def test_packed(device: str, name: str) -> None:
    steps = SETTINGS[name]["time_steps"]
    for mode in ("s", "m"):
        for shape in SHAPES:
            torch_node, kernel_node = pair(device, form="packed", step_mode=mode, **SETTINGS[name])
            x = awkward((3, *shape) if mode == "m" else shape, steps).to(device)
            for _ in range(2):  # the carry of one call enters the next
                same(kernel_node(x), torch_node(x))
                same(kernel_node.carry, torch_node.carry)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "window"])
def test_serial(device: str, name: str) -> None:
    settings = {key: value for key, value in SETTINGS[name].items() if key != "scale_output"}
    steps = settings["time_steps"]
    for shape in SHAPES:
        torch_node, kernel_node = pair(device, form="serial", step_mode="m", **settings)
        x = awkward((2 * steps, *shape), steps).to(device)
        for _ in range(2):
            same(kernel_node(x), torch_node(x))
            same(kernel_node.carry, torch_node.carry)
            same(kernel_node.v, torch_node.v)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "window"])
def test_single_step(device: str, name: str) -> None:
    settings = {key: value for key, value in SETTINGS[name].items() if key != "scale_output"}
    steps = settings["time_steps"]
    for start_window in (0, 2):
        torch_node, kernel_node = pair(device, form="serial", step_mode="s", **settings)
        torch_node.start_window = kernel_node.start_window = start_window
        for x in awkward((4 * steps + 1, 2, 3, 3), steps).to(device):
            same(kernel_node(x), torch_node(x))
            for memory in ("v", "accumulator", "code", "start", "carry", "phase", "windows"):
                same(getattr(kernel_node, memory), getattr(torch_node, memory))


@pytest.mark.parametrize("steps", [1, 4, 8, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_codes_and_digits(device: str, steps: int, signed: bool) -> None:
    x, theta = awkward((3, 4, 5), steps).to(device), torch.tensor(0.9, device=device)
    found: dict[str, list[Tensor]] = {}
    for provider in ("torch", "cupy"):
        codes = library.encode(x, theta, steps, 2.0, signed, True, provider)
        digits = library.unpack(codes, steps, provider)
        values = library.decode(codes, steps, 2.0, torch.bfloat16, provider)
        back = library.pack(digits, signed, provider)
        assert torch.equal(back.cpu().to(torch.int64), codes.cpu().to(torch.int64))
        found[provider] = [codes.to(torch.int32), digits, values]
    for ours, theirs in zip(found["cupy"], found["torch"], strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["packed", "serial"])
def test_half_precision(device: str, form: str, dtype: torch.dtype) -> None:
    for settings in (SETTINGS["plain"], SETTINGS["membrane"], SETTINGS["T8_scaled"]):
        torch_node, kernel_node = pair(
            device, form=form, step_mode="m", **{**settings, "scale_output": False}
        )
        steps = settings["time_steps"]
        x = awkward((2 * steps, 2, 3, 5), steps, dtype).to(device)
        same(kernel_node(x), torch_node(x))
        same(kernel_node.carry, torch_node.carry)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "strided": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "misaligned": lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape),
    "expanded": lambda x: x[:1].expand(x.shape),
    "empty": lambda x: x[:, :, :0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
def test_layouts(device: str, layout: str, channels: int) -> None:
    theta = [0.5 + 0.125 * i for i in range(channels)]
    x = LAYOUTS[layout](awkward((4, channels, 3, 5), 4).to(device))
    for mode, form in (("s", "packed"), ("m", "serial"), ("s", "serial")):
        settings = {"v_threshold": theta, "channel_dim": 1 if mode == "s" else 0}
        torch_node, kernel_node = pair(device, time_steps=4, form=form, step_mode=mode, **settings)
        same(kernel_node(x), torch_node(x))


GRADIENTS: dict[str, dict[str, Any]] = {
    "unit": {"learnable_threshold": True},
    "scaled": {"learnable_threshold": True, "scale_output": True},
    "channels": {"learnable_threshold": "channel", "channels": 3},
    "signed": {"signed": True, "learnable_threshold": True, "scale_output": True},
    "fixed": {},
    "residual": {"leak": 0.5, "learnable_threshold": True},
    "membrane": {
        "leak": 0.5,
        "carry": "membrane",
        "signed": True,
        "learnable_threshold": "channel",
        "channels": 3,
    },
}


@pytest.mark.parametrize("form", ["packed", "serial"])
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(device: str, name: str, form: str, tolerance: Callable[[object], Any]) -> None:
    settings = {**GRADIENTS[name], "time_steps": 3, "form": form, "step_mode": "m"}
    if form == "serial":
        settings.pop("scale_output", None)
    nodes = pair(device, **settings)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 4, 3, 5, generator=generator).to(device)
    grad = torch.randn(6, 4, 3, 5, generator=generator).to(device)
    found = []
    for node in nodes:
        leaf = x.clone().requires_grad_()
        out = node(leaf)
        second = node(leaf) if node.params.leak else out  # the carry has a gradient too
        ((out + second) * grad).sum().backward()
        found.append((leaf.grad, None if node.theta is None else node.theta.grad))
        sj.reset_net(node)
    (torch_grad, torch_theta), (kernel_grad, kernel_theta) = found
    # A gradient is a chain of at most 8 rounded operations per window it passes, and there are at most 12.
    bound = tolerance("float32").between(8 * 12, float(grad.abs().max()) * 12)
    assert torch.allclose(kernel_grad, torch_grad, rtol=0, atol=bound)
    assert (kernel_grad != 0).any()
    if torch_theta is not None:
        # A sum over all elements, in another order.
        bound = tolerance("float32").between(8 * 12 * grad.numel(), 12 * float(grad.abs().sum()))
        assert torch.allclose(kernel_theta, torch_theta, rtol=0, atol=bound)


def test_operators_pass_opcheck(device: str) -> None:
    from spikejelly_pack.ops.windows import constants
    from spikejelly_pack.spec.parameters import NeuronParameters

    x = torch.randn(3, 4, 2, 5, 6, device=device)
    theta = torch.tensor([0.5, 1.0], device=device).view(2, 1, 1)
    carry = torch.rand(4, 2, 5, 6, device=device) - 0.5
    params = NeuronParameters(4, leak=0.5)
    namespace = torch.ops.spikepack
    for grad in (False, True):
        u, t = x.clone().requires_grad_(grad), theta.clone().requires_grad_(grad)
        torch.library.opcheck(namespace.fire, (u, t, 4, 2.0, False, True, False, "cupy"))
        torch.library.opcheck(namespace.fire_windows, (u, t, carry, *constants(params), True))
        torch.library.opcheck(namespace.fire_windows, (u, t, None, *constants(NeuronParameters(3)), False))
        torch.library.opcheck(namespace.serial_windows, (u, t, carry[0], *constants(params)))
    torch.library.opcheck(namespace.encode, (x, theta, 9, 2.0, True, True, "cupy"))
    integers = torch.randint(-900, 900, (2, 3, 4, 4), device=device, dtype=torch.int32)
    thresholds = torch.tensor([3, 7, 50], device=device)
    torch.library.opcheck(namespace.integer_fire, (integers, thresholds - 9, thresholds, 4, False, True))
    state = (None, None, None, None, 0, *constants(params), True)
    torch.library.opcheck(namespace.fire_step, (carry, theta, *state))


@pytest.mark.parametrize(
    "settings", [{"form": "packed"}, {"form": "serial"}, {"form": "packed", "leak": 0.5}], ids=str
)
def test_compiles_into_one_graph(device: str, settings: dict[str, Any]) -> None:
    torch._dynamo.reset()
    plain, kernel = pair(device, time_steps=3, step_mode="m", learnable_threshold=True, **settings)
    compiled = torch.compile(kernel, fullgraph=True, backend="aot_eager")
    x = awkward((6, 2, 5), 3).nan_to_num(0.5, 1.0, -1.0).to(device)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = compiled(ours), plain(theirs)
    same(out, expected)
    out.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch._dynamo.reset()


def test_what_the_kernels_refuse_is_an_error_not_a_fallback(device: str) -> None:
    node = SpikePackNode(3, form="packed", provider="cupy").to(device)
    with pytest.raises(DtypeError, match=r"must be given float32, float16 or bfloat16, got torch\.float64"):
        node(torch.rand(2, 3, dtype=torch.float64, device=device))
    longer = SpikePackNode(3, window=5, form="serial", step_mode="m", provider="cupy").to(device)
    with pytest.raises(UnsupportedError, match="but the kernels have no windows longer than the code"):
        longer(torch.rand(5, 2, device=device))
    theta = torch.rand(2, 3, device=device) + 0.5
    with pytest.raises(UnsupportedError, match=r"threshold of shape \(2, 3\) varies along several axes"):
        library.fire(torch.rand(2, 3, device=device), theta, 4, 2.0, False, True, False, "cupy")


def test_threads(device: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    plain, kernel = pair(device, time_steps=6, form="packed")
    inputs = [awkward((i + 1, 3, 5), 6).to(device) for i in range(8)]
    expected = [plain(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for ours, theirs in zip(pool.map(kernel, inputs), expected, strict=True):
            same(ours, theirs)


@pytest.mark.gpu
def test_cuda_graph_after_warm_up(cuda: str) -> None:
    """A captured launch replays on new input; side streams are followed."""
    node = SpikePackNode(4, form="packed", provider="cupy").to(cuda)
    x = torch.rand(64, 3, device=cuda)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        node(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        out = node(x)
    x.copy_(torch.rand(64, 3, device=cuda))
    graph.replay()
    torch.cuda.synchronize()
    same(out, SpikePackNode(4, form="packed", provider="torch").to(cuda)(x))
