"""Rules of operations with weights, by Lava's own Dense and Conv."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from lava.proc.conv.process import Conv  # pyright: ignore[reportUnknownVariableType]
from lava.proc.dense.process import Dense as LavaDense  # pyright: ignore[reportUnknownVariableType]
from lava.utils.weightutils import SignMode  # pyright: ignore[reportUnknownVariableType]

from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.graph import AvgPool2d, Conv2d, ConvTranspose2d, Dense, Scale
from spikejelly_pack.spec.graph.base import Array

from ..assembly import Assembly, Value, connect, lava_shape, rule
from ..processes.batched import BatchedConv
from ..processes.maps import Spread
from ..splitting import split_weights

__all__: list[str] = []


def _message_bits(assembly: Assembly, name: str) -> int:
    # 0: a spike or none. Stock synapses drop the sign of such messages, so signed spikes carry a payload.
    signed = assembly.signed(name)
    return assembly.payload_bits(name) + signed if assembly.graded else 2 * signed


def _weights(assembly: Assembly, weight: Array) -> list[tuple[Array, int]]:
    """Parts with their exponents: 8 bits each, or the weights as they are in floating point."""
    whole = assembly.model.tag == "floating_pt"
    return [(np.asarray(weight).astype(np.int32), 0)] if whole else split_weights(weight)


@rule("dense")
def _dense(assembly: Assembly, op: Dense, parts: list[Value]) -> Value:
    if assembly.deal.lead:
        return _dense_of_batch(assembly, op, parts)
    outputs: Value = []
    for index, (weight, exponent) in enumerate(_weights(assembly, op.weight)):
        _check_stock_sum(assembly, op, weight)
        # Stock Dense clips to 9 bits and drops the last one in mixed sign mode: twice the weight and a
        # shift back by one is exact for all 8-bit weights. The mode must be named, or Lava guesses it
        # from the data. The floating point model ignores the exponent.
        doubled = int(assembly.model.tag != "floating_pt")
        process = assembly.add(
            LavaDense(
                weights=weight << doubled,
                weight_exp=exponent - doubled,
                sign_mode=SignMode.MIXED,  # pyright: ignore[reportUnknownMemberType]
                num_message_bits=_message_bits(assembly, op.inputs[0]),
                name=f"{op.name}/{index}" if index else op.name,
            )
        )
        connect(assembly, parts[0], process.s_in)
        outputs.append(process.a_out)
    return outputs


def _dense_of_batch(assembly: Assembly, op: Dense, parts: list[Value]) -> Value:
    """Stock Dense knows no batch: a 1 x 1 convolution of one pixel, refused where stock Dense is."""
    for weight, _exponent in _weights(assembly, op.weight):
        _check_stock_sum(assembly, op, weight)
    lead, pixel = assembly.deal.lead, (1, 1, op.weight.shape[1])
    flat = [port.reshape((*lead, *pixel)) for port in parts[0]]
    outputs = _convolutions(assembly, op, flat, op.weight[:, :, None, None], pixel)
    return [port.reshape((*lead, len(op.weight))) for port in outputs]


def _check_stock_sum(assembly: Assembly, op: Dense, weight: Array) -> None:
    """Stock Dense sums twice the weights in 32 bits before it shifts: digits always fit, codes may not."""
    if assembly.model.tag == "floating_pt":
        return
    top = (1 << assembly.digits(op.inputs[0])) - 1 if assembly.graded else 1
    positive = np.maximum(weight, 0).sum(1, dtype=np.int64)
    negative = -np.minimum(weight, 0).sum(1, dtype=np.int64)
    signed = assembly.signed(op.inputs[0])
    reach = 2 * top * int((positive + negative if signed else np.maximum(positive, negative)).max())
    if reach >= 1 << 31:
        raise UnsupportedError(
            f"{op.label}: graded spikes must keep the sums of Lava's Dense within 32 bits, got {reach}; "
            "use serial spikes or fewer time steps."
        )


def _convolutions(
    assembly: Assembly, op: Any, part: Value, weight: Array, shape: tuple[int, ...], **geometry: Any
) -> Value:
    """Stock Conv Processes for a kernel ``[out, in / groups, k_h, k_w]``; geometry is (width, height)."""
    outputs: Value = []
    batch = assembly.deal.batch
    kind = partial(BatchedConv, batch=batch) if batch > 1 else Conv  # pyright: ignore[reportUnknownVariableType]
    for index, (chunk, exponent) in enumerate(_weights(assembly, weight)):
        process = assembly.add(
            kind(
                weight=np.ascontiguousarray(chunk.transpose(0, 3, 2, 1)[:, ::-1, ::-1, :]),
                weight_exp=exponent,
                input_shape=shape,
                num_message_bits=_message_bits(assembly, op.inputs[0]),
                name=f"{op.name}/{index}" if index else op.name,
                **geometry,
            )
        )
        connect(assembly, part, process.s_in)
        outputs.append(process.a_out)
    return outputs


@rule("conv2d")
def _conv2d(assembly: Assembly, op: Conv2d, parts: list[Value]) -> Value:
    return _convolutions(
        assembly,
        op,
        parts[0],
        op.weight,
        lava_shape(assembly.network.shapes[op.inputs[0]]),
        stride=op.stride[::-1],
        padding=op.padding[::-1],
        dilation=op.dilation[::-1],
        groups=op.groups,
    )


@rule("conv_transpose2d")
def _conv_transpose2d(assembly: Assembly, op: ConvTranspose2d, parts: list[Value]) -> Value:
    """Values spread over a canvas, and a convolution of it with the mirrored kernel."""
    shape, shape_out = assembly.network.shapes[op.inputs[0]], assembly.network.shapes[op.name]
    reach = [d * (k - 1) for d, k in zip(op.dilation, op.weight.shape[2:], strict=True)]
    canvas = (shape[0], shape_out[1] + reach[0], shape_out[2] + reach[1])
    spread = assembly.add(
        Spread(
            shape=assembly.message(shape),
            canvas=assembly.message(canvas),
            stride=op.stride[::-1],
            first=(reach[1] - op.padding[1], reach[0] - op.padding[0]),
            name=f"{op.name}/spread",
        )
    )
    connect(assembly, parts[0], spread.m_in)
    return _convolutions(
        assembly,
        op,
        [spread.m_out],
        op.weight[:, :, ::-1, ::-1],
        lava_shape(canvas),
        dilation=op.dilation[::-1],
        groups=op.groups,
    )


@rule("avg_pool2d")
def _avg_pool2d(assembly: Assembly, op: AvgPool2d, parts: list[Value]) -> Value:
    weight = np.broadcast_to(op.multiplier[:, None, None, None], (len(op.multiplier), 1, *op.kernel))
    return _convolutions(
        assembly,
        op,
        parts[0],
        weight,
        lava_shape(assembly.network.shapes[op.inputs[0]]),
        stride=op.stride[::-1],
        padding=op.padding[::-1],
        groups=len(op.multiplier),
    )


@rule("scale")
def _scale(assembly: Assembly, op: Scale, parts: list[Value]) -> Value:
    """A 1 x 1 depthwise synapse over the channels, whatever the other axes are."""
    shape = assembly.shape(op)
    *axes, channels = lava_shape(assembly.network.shapes[op.name])
    image = (1, int(np.prod(axes, dtype=np.int64)), channels)
    flat = [port.reshape((*assembly.deal.lead, *image)) for port in parts[0]]
    weight = op.multiplier[:, None, None, None]
    outputs = _convolutions(assembly, op, flat, weight, image, groups=channels)
    return [port.reshape(shape) for port in outputs]
