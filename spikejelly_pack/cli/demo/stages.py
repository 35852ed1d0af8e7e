"""The stages of the demo that measure: conversion, forms of the float network, the integer network."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from spikingjelly.activation_based import ann2snn, functional
from torch import Tensor, nn

from ...functional import decode_output, pack
from ...integer import IntegerNetwork, build_integer
from ...neuron import SpikePackNode, set_form
from ...recipes import SpikePackRecipe
from ...spec.bits import unpack
from ...spec.equations import charge_step, fire_digit
from ...spec.execute import encode, outputs, run_packed, run_serial_multi_step
from ...spec.firing import load_register, thresholds
from ...spec.graph import Network, Synapse
from ...spec.graph.base import Array
from ...spec.stream import run_serial_single_step
from .digits import Digits, predictions
from .results import Picture, Results

__all__ = [
    "accuracy",
    "compare_forms",
    "compare_integer",
    "convert",
    "firing_rates",
    "picture",
    "rate_coding",
]

CALIBRATION_IMAGES = 512


def accuracy(logits: Tensor, classes: Tensor) -> float:
    """Share of right predictions."""
    return float((logits.argmax(1) == classes).float().mean())


def convert(net: nn.Module, data: Digits, time_steps: int) -> nn.Module:
    """Convert with SpikePackRecipe through SpikingJelly's converter."""
    recipe = SpikePackRecipe([data.train_inputs[:CALIBRATION_IMAGES]], time_steps=time_steps, progress=False)
    return ann2snn.Converter(recipe).convert(net)


def rate_coding(net: nn.Module, data: Digits, time_steps: list[int], tuned: bool) -> dict[int, float]:
    """Accuracy of the same network under SpikingJelly's RateCodingRecipe, by time steps.

    ``tuned`` uses its strongest settings, thresholds per channel and membranes that start at half threshold.
    """
    recipe = ann2snn.RateCodingRecipe(
        [data.train_inputs[:CALIBRATION_IMAGES]], mode="99.9%", channel_wise=tuned, half_threshold=tuned
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snn = ann2snn.Converter(recipe).convert(net)
    functional.reset_net(snn)
    result, total = {}, torch.zeros(())
    for step in range(1, max(time_steps) + 1):
        total = total + predictions(snn, data.test_inputs)
        if step in time_steps:
            result[step] = accuracy(total, data.test_classes)
    return result


def _nodes(snn: nn.Module) -> dict[str, SpikePackNode]:
    return {name: module for name, module in snn.named_modules() if isinstance(module, SpikePackNode)}


@contextmanager
def _codes_of(snn: nn.Module) -> Generator[dict[str, Tensor]]:
    """Codes of every node in whichever form the network runs."""
    codes: dict[str, Tensor] = {}

    def hook(name: str):  # noqa: ANN202 (a closure for torch)
        def keep(node: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(node, SpikePackNode)
            packed = node.form == "packed"
            codes[name] = node.encode(inputs[0]) if packed else pack(output, node.params.signed)

        return keep

    handles = [node.register_forward_hook(hook(name)) for name, node in _nodes(snn).items()]
    try:
        yield codes
    finally:
        for handle in handles:
            handle.remove()


def compare_forms(snn: nn.Module, images: Tensor, time_steps: int) -> tuple[float, float]:
    """Packed against serial multi-step form: share of codes that differ, agreement of predictions."""
    with _codes_of(snn) as packed:
        first = predictions(snn, images)
    set_form(snn, "serial")
    functional.set_step_mode(snn, "m")
    with _codes_of(snn) as serial:
        train = predictions(snn, images.unsqueeze(0).expand(time_steps, *images.shape))
    second = decode_output(train, time_steps)[0]
    functional.reset_net(snn)
    functional.set_step_mode(snn, "s")
    set_form(snn, "packed")
    flipped = sum(int((packed[name].int() != serial[name].int()).sum()) for name in packed)
    total = sum(code.numel() for code in packed.values())
    return flipped / total, float((first.argmax(1) == second.argmax(1)).float().mean())


def compare_integer(
    snn: nn.Module, data: Digits, time_steps: int, results: Results
) -> tuple[Network, dict[str, Array]]:
    """Integer form against the float form with the same nodes, and against its own other executions."""
    network = build_integer(snn, data.test_inputs[:2])
    (entry,) = network.inputs
    codes = encode(entry, data.test_inputs.numpy())
    packed = run_packed(network, codes)
    with _codes_of(snn) as reference:
        logits = predictions(snn, data.test_inputs)
    integer = torch.from_numpy(outputs(network, packed)["output"])
    results.integer_accuracy[time_steps] = accuracy(integer, data.test_classes)
    results.integer_logit_error[time_steps] = float((integer - logits).norm() / logits.norm())
    results.integer_code_difference[time_steps] = {
        name: float((code.numpy().astype(np.int64) != packed[name].astype(np.int64)).mean())
        for name, code in reference.items()
    }
    executions = {
        "serial_multi_step": run_serial_multi_step(network, codes),
        "serial_single_step": run_serial_single_step(network, codes, streams=50),
        "torch": {name: value.numpy() for name, value in IntegerNetwork(network)(codes).items()},
    }
    for name, values in executions.items():
        equal = values.keys() == packed.keys() and all(
            np.array_equal(values[key], packed[key]) for key in packed
        )
        results.bit_exact[name] = results.bit_exact.get(name, True) and equal
    return network, packed


def firing_rates(network: Network, codes: dict[str, Array]) -> dict[str, dict[str, float]]:
    """Share of codes that are not zero (word rate) and of digits that are one (digit rate), by layer."""
    rates = {}
    for op in (*network.inputs, *network.neurons):
        digits = unpack(codes[op.name], op.time_steps)
        rates[op.name] = {"word": float((codes[op.name] != 0).mean()), "digit": float(np.abs(digits).mean())}
    return rates


def picture(network: Network, codes: dict[str, Array], sample: int = 0) -> Picture:
    """Spikes of a part of the second layer over one image, and the registers of its most telling neuron.

    Args:
        network: Integer network.
        codes: Codes of its layers.
        sample: Which image.
    """
    op = network.neurons[min(1, len(network.neurons) - 1)]
    synapse = network.ops[op.inputs[0]]
    assert isinstance(synapse, Synapse)
    incoming = unpack(codes[synapse.inputs[0]][sample : sample + 1], network.time_steps)
    flat = codes[op.name][sample].reshape(-1)
    digits = unpack(flat, network.time_steps)
    changes = np.abs(np.diff(digits, axis=0)).sum(0) if network.time_steps > 1 else flat
    chosen = int((changes * (flat > 0)).argmax())
    accumulator: Array = np.zeros((1, *network.shapes[op.name]), np.int64)
    charging = []
    for digit in incoming:
        accumulator = charge_step(accumulator, synapse.apply(digit), 2)
        charging.append(int(accumulator.reshape(-1)[chosen]))
    register, _ = load_register(op, accumulator)
    firing = [int(register.reshape(-1)[chosen])]
    steps = [theta for theta in thresholds(op, network.time_steps, register) if theta is not None]
    for theta in steps:
        _, register = fire_digit(register, theta)
        firing.append(int(register.reshape(-1)[chosen]))
    channel = chosen // int(np.prod(network.shapes[op.name][1:]))
    first = max(0, min(chosen - 24, len(flat) - 48))
    return Picture(
        layer=op.name,
        raster=digits[:, first : first + 48].tolist(),
        neuron=chosen - first,
        charging=charging,
        firing=firing,
        thresholds=[int(theta.reshape(-1)[channel]) for theta in steps],
        code=int(flat[chosen]),
    )
