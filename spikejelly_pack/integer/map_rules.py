"""Export rules of layers on maps: maximum pooling, upsampling, transposed convolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from spikingjelly.activation_based import layer as sj
from torch import nn

from ..layer.max_pool import SpikePackMaxPool2d, SpikePackValueMaxPool2d
from ..spec.errors import UnsupportedError
from ..spec.graph import ConvTranspose2d, MaxPool2d, Op, Upsample2d
from .builder import IntegerBuilder, analog_error
from .rules import array_of, bias_of, needs, pair_of, rule
from .values import Analog, Branch, Current, FloatArray, Joined, Spikes, Value, parts_of
from .weight_grid import weight_bits_of

__all__: list[str] = []


@rule(sj.MaxPool2d, SpikePackMaxPool2d, SpikePackValueMaxPool2d)
def _max_pool(builder: IntegerBuilder, name: str, module: Any, inputs: list[Value]) -> Value:
    (value,) = inputs
    if isinstance(value, (Current, Joined)):
        raise UnsupportedError(
            f"layer {name!r}: max-pooling must read spikes, got a sum of currents; put the SpikePackNode in "
            "front of it: the largest code is the code of the largest sum."
        )
    spikes = needs(name, value, "max-pooling", axes=3)
    if getattr(module, "return_indices", False):
        raise UnsupportedError(
            f"layer {name!r}: max-pooling must return values only, got return_indices=True; leave it out."
        )
    constants = {
        "kernel": pair_of(module.kernel_size), "stride": pair_of(module.stride),
        "padding": pair_of(module.padding), "dilation": pair_of(module.dilation),
        "ceil_mode": bool(module.ceil_mode),
    }  # fmt: skip
    return builder.rearranged(name, spikes, MaxPool2d.kind, constants)


def _factor(name: str, module: nn.Upsample, shape: tuple[int, ...]) -> tuple[int, int]:
    """Whole factors of an upsampling of maps ``(C, H, W)``."""
    if module.mode != "nearest":
        raise UnsupportedError(
            f"layer {name!r}: upsampling must repeat values, got mode {module.mode!r}; use mode='nearest' or "
            "a transposed convolution."
        )
    wanted: list[float]
    if module.size is not None:
        wanted = [size / n for size, n in zip(pair_of(module.size), shape[1:], strict=True)]
    else:
        factors: Any = module.scale_factor
        wanted = [float(f) for f in (factors if isinstance(factors, tuple) else (factors, factors))]
    if any(factor < 1 or factor != int(factor) for factor in wanted):
        raise UnsupportedError(
            f"layer {name!r}: upsampling must be by whole factors, got {tuple(wanted)}; choose a multiple of "
            f"the size {tuple(shape[1:])}."
        )
    return int(wanted[0]), int(wanted[1])


@rule(sj.Upsample)
def _upsample(builder: IntegerBuilder, name: str, module: nn.Upsample, inputs: list[Value]) -> Value:
    (value,) = inputs
    if isinstance(value, Analog):
        raise analog_error(name)
    if len(value.shape) != 3:
        needs(name, value, "upsampling", axes=3)
    constants = {"factor": _factor(name, module, value.shape)}
    if isinstance(value, Spikes):
        return builder.rearranged(name, value, Upsample2d.kind, constants)
    # Currents pass the same wiring behind their synapses; the bias of a channel is the same everywhere.
    current = builder.as_current(f"{name}_synapse", value)
    op = Upsample2d(name, ("",), **constants)
    parts = tuple(_behind(part, op) for part in parts_of(current))
    return parts[0] if isinstance(current, Current) else Joined(parts)


def _behind(current: Current, op: Op) -> Current:
    """A sum of currents with wiring behind each of its synapses."""
    branches = tuple(replace(branch, after=(*branch.after, op)) for branch in current.branches)
    return replace(current, branches=branches, shape=op.output_shape(current.shape))


def _outputs_first(weight: FloatArray, groups: int) -> FloatArray:
    """PyTorch's ``[in, out / groups, k_h, k_w]`` as ``[out, in / groups, k_h, k_w]``."""
    inputs, out, *kernel = weight.shape
    split = weight.reshape(groups, inputs // groups, out, *kernel).swapaxes(1, 2)
    return split.reshape(groups * out, inputs // groups, *kernel)


def phases(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> list[np.ndarray]:
    """Taps of a transposed kernel that meet at one output: those whose places agree modulo the stride."""
    rows = np.arange(kernel[0]) * dilation[0] % stride[0]
    columns = np.arange(kernel[1]) * dilation[1] % stride[1]
    residue = rows[:, None] * stride[1] + columns[None, :]
    return [residue == value for value in np.unique(residue)]


@rule(sj.ConvTranspose2d)
def _conv_transpose2d(
    _builder: IntegerBuilder, name: str, module: nn.ConvTranspose2d, inputs: list[Value]
) -> Value:
    source = needs(name, inputs[0], "a transposed convolution", axes=3)
    weight = _outputs_first(array_of(module.weight), module.groups)
    unit = np.repeat(source.unit.reshape(module.groups, -1), len(weight) // module.groups, axis=0)
    rows = (weight * unit[:, :, None, None]).reshape(len(weight), -1)
    options: dict[str, Any] = {
        "stride": pair_of(module.stride), "padding": pair_of(module.padding),
        "output_padding": pair_of(module.output_padding), "dilation": pair_of(module.dilation),
        "groups": module.groups,
    }  # fmt: skip
    meet = phases(weight.shape[2:], options["stride"], options["dilation"])
    together = tuple(np.tile(mask.reshape(-1), weight.shape[1]) for mask in meet)
    branch = Branch(
        ConvTranspose2d.kind, name, source, rows, "weight", weight.shape, options,
        quantized_bits=weight_bits_of(module), together=together,
    )  # fmt: skip
    blank = np.zeros(weight.shape, np.int32)
    probe = ConvTranspose2d(name, ("",), weight=blank, weight_bits=2, **options)
    shape = probe.output_shape(source.shape)
    return Current((branch,), bias_of(module, len(weight)), shape)
