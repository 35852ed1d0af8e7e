"""A converted network equals the ANN with quantizers in it, in every form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, adapt, decode_output, set_form
from spikejelly_pack.layer import latency


def tensors(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def assert_same(got: Any, expected: Any, tolerance: Callable[[object], Any]) -> None:
    """Float64 sums in another order, fewer than 10^4 operations deep, and no code differs."""
    for one, other in zip(tensors(got), tensors(expected), strict=True):
        assert one.shape == other.shape
        bound = tolerance(torch.float64).between(10_000, float(other.abs().max()) * 10)
        assert float((one - other).abs().max()) <= bound


@pytest.mark.parametrize(
    ("time_steps", "calibrator", "channel_wise"), [(2, "mse", True), (4, "max", False), (8, "99%", True)]
)
def test_equals_the_quantized_ann(
    name: str,
    time_steps: int,
    calibrator: str,
    channel_wise: bool,
    make: Any,
    convert: Any,
    images: Tensor,
    oracle: Any,
    tolerance: Any,
) -> None:
    ann = make(name)
    options = {"time_steps": time_steps, "calibrator": calibrator, "channel_wise": channel_wise}
    snn = convert(ann, images[:16], **options)
    with torch.no_grad():
        assert_same(snn(images), oracle(ann, snn, images), tolerance)


def test_error_shrinks_with_time_steps(name: str, make: Any, convert: Any, images: Tensor) -> None:
    """Each time step halves the LSB: two more leave less than half of the error, whatever the network."""
    ann = make(name)
    with torch.no_grad():
        expected = torch.cat([t.flatten(1) for t in tensors(ann(images))], 1)
        errors = []
        for time_steps in (4, 6, 8, 10):
            snn = convert(ann, images, time_steps=time_steps, calibrator="max")
            got = torch.cat([t.flatten(1) for t in tensors(snn(images))], 1)
            errors.append(float((got - expected).norm() / expected.norm()))
    assert all(after < before / 2 for before, after in pairwise(errors)), errors


def test_serial_multi_step_equals_packed(
    name: str, make: Any, convert: Any, images: Tensor, tolerance: Any
) -> None:
    snn = convert(make(name), images, time_steps=5)
    with torch.no_grad():
        packed = snn(images)
        set_form(snn, "serial")
        functional.set_step_mode(snn, "m")
        trains = snn(images.unsqueeze(0).repeat(5, 1, 1, 1, 1))
    assert_same(tuple(decode_output(train, 5)[0] for train in tensors(trains)), packed, tolerance)


def test_single_step_equals_packed_after_its_latency(
    name: str, make: Any, convert: Any, images: Tensor, tolerance: Any
) -> None:
    """Three batches stream through the pipeline back to back; skip branches wait for the others."""
    steps, batches = 3, images.split(8)
    snn = convert(make(name), images, time_steps=steps)
    with torch.no_grad():
        packed = [tensors(snn(batch)) for batch in batches]
        set_form(snn, "serial")
        wait = latency(snn)
        assert wait % steps == 0
        inputs = [batch for batch in batches for _ in range(steps)] + [batches[0]] * wait
        outputs = [tensors(snn(x)) for x in inputs][wait:]
    for index, expected in enumerate(packed):
        window = outputs[index * steps : (index + 1) * steps]
        got = tuple(decode_output(torch.stack(parts), steps)[0] for parts in zip(*window, strict=True))
        assert_same(got, expected, tolerance)
    functional.reset_net(snn)
    with torch.no_grad():
        assert_same(tensors(set_form(snn, "packed")(batches[0])), packed[0], tolerance)


def test_spikes_are_binary_or_ternary(name: str, make: Any, convert: Any, images: Tensor) -> None:
    snn = convert(make(name), images, time_steps=4)
    seen: dict[str, set[float]] = {}
    for path, node in snn.named_modules():
        if isinstance(node, SpikePackNode):
            node.register_forward_hook(
                lambda _module, _inputs, out, p=path: seen.setdefault(p, set()).update(out.unique().tolist())
            )
    set_form(snn, "serial")
    functional.set_step_mode(snn, "m")
    with torch.no_grad():
        snn(images.unsqueeze(0).repeat(4, 1, 1, 1, 1))
    signed = {entry.path: entry.signed for entry in snn.report.layers}
    assert set(seen) == set(signed)
    for path, values in seen.items():
        assert values <= ({-1.0, 0.0, 1.0} if signed[path] else {0.0, 1.0})


def test_source_network_is_untouched(name: str, make: Any, convert: Any, images: Tensor) -> None:
    ann = make(name).train()
    for parameter in list(ann.parameters())[::2]:
        parameter.requires_grad_(False)
    kept = copy.deepcopy(ann)
    snn = convert(ann, images, time_steps=3)
    for (key, now), before in zip(ann.state_dict().items(), kept.state_dict().values(), strict=True):
        assert torch.equal(now, before), key
    assert [p.requires_grad for p in ann.parameters()] == [p.requires_grad for p in kept.parameters()]
    assert [m.training for m in ann.modules()] == [m.training for m in kept.modules()]
    assert [type(m) for m in ann.modules()] == [type(m) for m in kept.modules()]
    assert not any(module.training for module in snn.modules())


def test_network_in_training_mode_converts_as_in_evaluation(make: Any, convert: Any, images: Tensor) -> None:
    with torch.no_grad():
        expected = convert(make("residual"), images)(images)
        got = convert(make("residual").train(), images)(images)
    assert torch.equal(got, expected)


def test_half_precision_networks_convert(make: Any, convert: Any, images: Tensor) -> None:
    ann = make("residual", torch.bfloat16)
    snn = convert(ann, images.to(torch.bfloat16), time_steps=8)
    with torch.no_grad():
        got, expected = snn(images.to(torch.bfloat16)), ann(images.to(torch.bfloat16))
    assert got.dtype is torch.bfloat16
    assert float((got - expected).norm() / expected.norm()) < 0.1


def test_learned_network_keeps_its_accuracy(digits_net: nn.Module, digits: Any, convert: Any) -> None:
    train, test, labels = digits
    with torch.no_grad():
        base = float((digits_net(test).argmax(1) == labels).double().mean())
        accuracy = {
            steps: float(
                (convert(digits_net, train, time_steps=steps)(test).argmax(1) == labels).double().mean()
            )
            for steps in (4, 8)
        }
    assert base > 0.9
    assert accuracy[4] >= base - 0.02
    assert accuracy[8] >= base - 1 / len(labels)


def test_adapt_finds_nothing_left_to_do(name: str, make: Any, convert: Any, images: Tensor) -> None:
    report = adapt(convert(make(name), images, time_steps=3))
    assert (report.exact, report.replaced, report.delays, report.single_step) == (True, (), (), "")
