"""Fine-tuning: it learns, repeats itself, and leaves the network as exportable as before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, build_integer, finetune, set_form
from spikejelly_pack.recipes.finetune import distillation
from spikejelly_pack.spec.errors import DtypeError, ParameterError, ShapeError, UnsupportedError


def teacher_net() -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.5), nn.Linear(24, 24), nn.ReLU(),
        nn.Linear(24, 4),
    ).eval()  # fmt: skip
    with torch.no_grad():
        net[-1].weight.mul_(20)
    return net


DATA = torch.rand(256, 6, generator=torch.Generator().manual_seed(2)) * 2 - 1


class Shuffled:
    """Random order from torch's generator, as a DataLoader draws it."""

    def __iter__(self) -> Any:
        return iter(DATA[torch.randperm(len(DATA))].split(32))


@pytest.mark.parametrize("time_steps", [1, 2])
def test_it_comes_nearer_to_the_teacher(time_steps: int, convert: Any) -> None:
    teacher = teacher_net()
    snn = convert(teacher, DATA, time_steps=time_steps)
    before = copy.deepcopy(snn)
    history = finetune(snn, Shuffled(), teacher=teacher, epochs=8, learning_rate=1e-2, progress=False)
    with torch.no_grad():
        start, end = (float(distillation(net(DATA), teacher(DATA))) for net in (before, snn))
    assert end < 0.85 * start
    assert [entry.epoch for entry in history] == list(range(1, 9))
    assert history[-1].loss < history[0].loss
    moved = {
        key for key, value in snn.state_dict().items() if not torch.equal(value, before.state_dict()[key])
    }
    assert moved == set(before.state_dict())  # weights, biases and thresholds


def test_it_repeats_itself_and_leaves_the_generator_alone(convert: Any) -> None:
    teacher = teacher_net()
    state = torch.get_rng_state()
    results = []
    for seed in (3, 3, 4):
        snn = convert(teacher, DATA, time_steps=2)
        history = finetune(snn, Shuffled(), teacher=teacher, epochs=2, seed=seed, progress=False)
        results.append((history, snn.state_dict()))
    assert torch.equal(torch.get_rng_state(), state)
    assert results[0][0] == results[1][0] != results[2][0]
    assert all(torch.equal(value, results[1][1][key]) for key, value in results[0][1].items())


def test_everything_but_the_values_is_as_before(convert: Any) -> None:
    teacher = teacher_net()
    weights = copy.deepcopy(teacher.state_dict())
    snn = convert(teacher, DATA, time_steps=2)
    snn.get_submodule("0").weight.requires_grad_(False)
    before = copy.deepcopy(snn)
    teacher.train()
    finetune(snn, [DATA], teacher=teacher, epochs=2, progress=False)
    assert teacher.training
    assert not any(module.training for module in snn.modules())
    assert all(torch.equal(value, weights[key]) for key, value in teacher.state_dict().items())
    assert list(snn.state_dict()) == list(before.state_dict())
    assert [(k, p.requires_grad) for k, p in snn.named_parameters()] == [
        (k, p.requires_grad) for k, p in before.named_parameters()
    ]
    assert all(p.grad is None for p in snn.parameters())
    for node in (m for m in snn.modules() if isinstance(m, SpikePackNode)):
        assert (node.form, node.learnable_threshold) == ("packed", False)
        assert bool((node.theta > 0).all())
    x = DATA[:8]
    network = build_integer(snn, x, weight_bits=16, state_bits=32)
    assert len(network.neurons) == 2
    set_form(snn, "serial")


def test_thresholds_return_to_constants_after_a_failure(convert: Any) -> None:
    snn = convert(teacher_net(), DATA, time_steps=2)
    keys = list(snn.state_dict())
    with pytest.raises(DtypeError, match="the loss must be finite, got nan in batch 2"):
        finetune(snn, [DATA, DATA * torch.nan], teacher=teacher_net(), progress=False)
    assert list(snn.state_dict()) == keys
    assert [name for name, _ in snn.named_parameters() if name.endswith("theta")] == []


def test_distillation_is_the_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 3, 2, generator=generator), torch.randn(5, 3, 2, generator=generator)
    p, q = F.softmax(b, 1), F.softmax(a, 1)
    torch.testing.assert_close(distillation(a, b), (p * (p / q).log()).sum(1).mean())
    assert float(distillation((a, [a]), (a, [a]))) == 0.0


@pytest.mark.parametrize(
    ("student", "teacher", "got"), [((1.0,), (1.0, 1.0), "1 and 2"), ((), (), "0 and 0")]
)
def test_distillation_needs_outputs_to_compare(student: Any, teacher: Any, got: str) -> None:
    pair = [tuple(torch.ones(2, 3) * value for value in outputs) for outputs in (student, teacher)]
    with pytest.raises(ShapeError, match=f"same number of floating point outputs, at least one, got {got};"):
        distillation(*pair)


def test_another_loss(convert: Any) -> None:
    teacher = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    snn = convert(teacher, DATA, time_steps=2)
    with pytest.raises(ShapeError, match=r"must be \[N, classes, \*\] of one shape, got \(256, 1\)"):
        finetune(snn, [DATA], teacher=teacher, progress=False)

    def squared(student: Tensor, wanted: Tensor) -> Tensor:
        return F.mse_loss(student, wanted)

    history = finetune(snn, [DATA] * 20, teacher=teacher, epochs=3, loss=squared, progress=False)
    assert history[-1].loss < history[0].loss


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epochs": 0}, ParameterError, "epochs must be an integer >= 1, got 0"),
    ({"epochs": 2.5}, ParameterError, "epochs must be an integer >= 1, got 2.5"),
    ({"learning_rate": -1.0}, ParameterError, "learning_rate must be a positive number, got -1.0"),
    ({"learning_rate": "fast"}, ParameterError, "learning_rate must be a positive number, got 'fast'"),
    ({"dataloader": []}, DtypeError, "dataloader must yield batches in every epoch, got none"),
    ({"dataloader": iter([DATA])}, ParameterError, "must yield batches in every epoch, got list_iterator"),
    ({"dataloader": DATA}, ParameterError, "must yield batches in every epoch, got Tensor"),
    ({"dataloader": [DATA.int()]}, DtypeError, "finetune: a batch must hold a floating point tensor first"),
    ({"teacher": None}, ParameterError, "teacher must be the source network, got NoneType"),
    ({"teacher": nn.Linear(2, 2)}, ShapeError, r"teacher must take the batches .* got shape \(256, 6\)"),
    ({"snn": nn.Linear(2, 2)}, UnsupportedError, "must hold calibrated SpikePackNodes, got Linear"),
]


@pytest.mark.parametrize(("changed", "error", "message"), BAD, ids=[entry[2][:40] for entry in BAD])
def test_bad_input(changed: dict[str, Any], error: Any, message: str, convert: Any) -> None:
    teacher = teacher_net()
    known = {"snn": convert(teacher, DATA), "dataloader": [DATA], "teacher": teacher, "progress": False}
    given = known | changed
    with pytest.raises(error, match=message):
        finetune(given.pop("snn"), given.pop("dataloader"), **given)


def test_serial_form_is_refused(convert: Any) -> None:
    snn = set_form(convert(teacher_net(), DATA), "serial")
    with pytest.raises(UnsupportedError, match="must be in packed form, got a serial one"):
        finetune(snn, [DATA], teacher=teacher_net(), progress=False)
