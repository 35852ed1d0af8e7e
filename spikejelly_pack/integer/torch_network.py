"""The integer network in torch: the same codes on any device, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spec.equations import clamp_symmetric, integer_code, residual, shifted_start
from ..spec.errors import UnsupportedError
from ..spec.execute import as_stream, visible
from ..spec.graph import Network, Neuron, Op
from ..spec.windows import by_window, windows_of

__all__ = ["KERNELS", "IntegerNetwork", "fire_windows", "inputs_first"]

Kernel = Callable[[Any, dict[str, Tensor], list[Tensor]], Tensor]
KERNELS: dict[str, Kernel] = {}


def _kernel(*kinds: str) -> Callable[[Kernel], Kernel]:
    def enter(function: Kernel) -> Kernel:
        KERNELS.update(dict.fromkeys(kinds, function))
        return function

    return enter


def _real(x: Tensor) -> Tensor:
    # float64 products of integers below 2^53 are exact in any order; integer matmul is not everywhere
    return x.to(torch.float64)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 2))


@_kernel("dense")
def _dense(_op: Any, tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return F.linear(_real(parts[0]), _real(tensors["weight"])).to(torch.int64)


@_kernel("conv2d")
def _conv2d(op: Any, tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    weight = _real(tensors["weight"])
    out = F.conv2d(_real(parts[0]), weight, None, op.stride, op.padding, op.dilation, op.groups)
    return out.to(torch.int64)


@_kernel("conv_transpose2d")
def _conv_transpose2d(op: Any, tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    weight = inputs_first(_real(tensors["weight"]), op.groups)
    geometry = (op.stride, op.padding, op.output_padding, op.groups, op.dilation)
    return F.conv_transpose2d(_real(parts[0]), weight, None, *geometry).to(torch.int64)


def inputs_first(weight: Tensor, groups: int) -> Tensor:
    """``[out, in / groups, k_h, k_w]`` as PyTorch keeps it, ``[in, out / groups, k_h, k_w]``."""
    out, depth, *kernel = weight.shape
    split = weight.view(groups, out // groups, depth, *kernel).transpose(1, 2)
    return split.reshape(groups * depth, out // groups, *kernel)


@_kernel("avg_pool2d")
def _avg_pool2d(op: Any, tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    high, side = op.padding  # torch pads a pool by at most half its kernel
    padded = F.pad(_real(parts[0]), (side, side, high, high))
    total = F.avg_pool2d(padded, op.kernel, op.stride, divisor_override=1)
    return total.to(torch.int64) * _per_channel(tensors["multiplier"], total)


@_kernel("scale")
def _scale(_op: Any, tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return parts[0] * _per_channel(tensors["multiplier"], parts[0])


@_kernel("add")
def _add(_op: Any, _tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)


@_kernel("concat")
def _concat(_op: Any, _tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, dim=1)


@_kernel("flatten")
def _flatten(_op: Any, _tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return parts[0].flatten(1)


@_kernel("max_pool2d")
def _max_pool2d(op: Any, _tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    # As floats, which hold every code exactly: not every device pools integers.
    geometry = (op.kernel, op.stride, op.padding, op.dilation, op.ceil_mode)
    return F.max_pool2d(_real(parts[0]), *geometry).to(torch.int64)


@_kernel("upsample2d")
def _upsample2d(op: Any, _tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return parts[0].repeat_interleave(op.factor[0], -2).repeat_interleave(op.factor[1], -1)


@_kernel("delay")
def _delay(_op: Any, _tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return parts[0]


@_kernel("neuron")
def _neuron(op: Any, tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    membrane = parts[0] + _per_channel(tensors["bias"], parts[0])
    return _fire(op, _per_channel(tensors["threshold"], membrane), membrane)


def _fire(op: Neuron, theta: Tensor, start: Tensor) -> Tensor:
    magnitude = start.abs() if op.signed else start
    code: Tensor = integer_code(magnitude, theta, op.max_code, op.half)
    return code * start.sign() if op.signed else code


def fire_windows(op: Neuron, bias: Tensor, threshold: Tensor, sums: Tensor, windows: int) -> Tensor:
    """Codes of a stream ``[N * W, *]`` of neurons that carry from window to window of a sample.

    Args:
        op: The population, with a leak.
        bias: int64 ``[C]``.
        threshold: int64 ``[C]``.
        sums: int64, what it charged in every window.
        windows: W, windows of one sample.
    """
    membranes = sums + _per_channel(bias, sums)
    theta = _per_channel(threshold, sums)
    ordered = membranes.reshape(len(sums) // windows, windows, *sums.shape[1:])
    carry, codes = torch.zeros_like(ordered[:, 0]), []
    for start in ordered.unbind(1):
        start = shifted_start(start, carry, op.leak_shift or 0)
        codes.append(_fire(op, theta, start))
        left = start if op.carry == "membrane" else residual(start, theta, codes[-1])
        carry = clamp_symmetric(left, theta * op.max_code)
    return torch.stack(codes, 1).reshape(sums.shape)


@_kernel("readout")
def _readout(_op: Any, tensors: dict[str, Tensor], parts: list[Tensor]) -> Tensor:
    return parts[0] + _per_channel(tensors["bias"], parts[0])


class IntegerNetwork(nn.Module):
    """Run an integer network packed, in torch, bit for bit as :func:`.spec.execute.run_packed`.

    Args:
        network: Integer network, for example from :func:`spikejelly_pack.spec.exchange.load`.

    Raises:
        UnsupportedError: An operation has no torch kernel.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        for op in network.ops.values():
            if op.kind != "input" and op.kind not in KERNELS:
                raise UnsupportedError(
                    f"IntegerNetwork: {op.label} has no torch kernel; run it with spec.execute.run_packed."
                )
            for item in op.tensor_fields():
                tensor = torch.from_numpy(np.array(getattr(op, item.name)))
                if not tensor.is_floating_point():
                    tensor = tensor.to(torch.int64)
                self.register_buffer(self._buffer(op, item.name), tensor, persistent=False)

    def _buffer(self, op: Op, field: str) -> str:
        return f"{list(self.network.ops).index(op.name)}_{field}"

    def forward(self, codes: Mapping[str, Any] | Tensor, windows: int | None = None) -> dict[str, Tensor]:
        """Codes of every neuron and membranes of every readout (int64), by name, from input codes.

        Args:
            codes: ``[N, *shape]``, or ``[W, N, *shape]`` where a sample has several windows; by input name
                where there are several.
            windows: W, as :func:`.spec.execute.run_packed` takes it.
        """
        device = next(self.buffers()).device
        given = codes.cpu().numpy() if isinstance(codes, Tensor) else codes
        count = windows_of(self.network, windows)
        arrays = as_stream(self.network, given, count)
        values = {name: torch.from_numpy(array.astype(np.int64)).to(device) for name, array in arrays.items()}
        for op in self.network.ops.values():
            if op.kind == "input":
                continue
            tensors = {item.name: getattr(self, self._buffer(op, item.name)) for item in op.tensor_fields()}
            parts = [values[name] for name in op.inputs]
            if isinstance(op, Neuron) and op.carries:
                values[op.name] = fire_windows(op, tensors["bias"], tensors["threshold"], parts[0], count)
            else:
                values[op.name] = KERNELS[op.kind](op, tensors, parts)
        return {name: by_window(values[name], count) for name in visible(self.network)}
