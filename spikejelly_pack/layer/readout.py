"""Readout of a network: the weighted mean that ``.mean(0)`` is not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..functional import decode_output
from .window import States, WindowModule

__all__ = ["DecodeOutput", "WeightedReadout", "decode_output"]


class DecodeOutput(WindowModule):
    """:func:`spikejelly_pack.decode_output` as the last layer of a network.

    Averaging the T steps equally weighs the least significant digit like the most significant one.

    Serial multi-step ``[T * W, N, *] -> [N, *]``: the weighted mean of every window, averaged over the W
    windows (real time). Packed multi-step ``[W, N, *] -> [N, *]``. Packed single-step leaves ``[N, *]`` as it
    is. Serial single-step emits the decoded value of the last complete window (one window of latency).

    Args:
        time_steps: T, digits of one code (1..16).
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        form: ``"packed"`` or ``"serial"``.
        step_mode: ``"s"`` or ``"m"``.
    """

    def compute(self, *values: Tensor) -> Tensor:
        return values[0]

    def multi_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_kwargs: object
    ) -> tuple[tuple[Tensor, ...], States]:
        if self.form == "packed":
            return (inputs[0].mean(0),), states
        self.check_window_start(states[0])
        return (decode_output(inputs[0], self.time_steps, self.tau).mean(0),), states


class _WeightedMean(TorchFunctionMode):
    """Sends ``mean(0)`` to the readout while a builder's own forward runs."""

    def __init__(self, readout: DecodeOutput) -> None:
        super().__init__()
        self.readout = readout

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        over_time = func in (Tensor.mean, torch.mean) and (args[1:2] == (0,) or kwargs.get("dim") == 0)
        return self.readout(args[0]) if over_time else func(*args, **kwargs)


class WeightedReadout(nn.Module):
    """A builder's network whose ``.mean(0)`` over the time axis is the weighted readout in serial form."""

    exact_readout: DecodeOutput

    def forward(self, x: Tensor) -> Tensor:
        if self.exact_readout.form == "packed":
            result: Tensor = super().forward(x)
            return result
        with _WeightedMean(self.exact_readout):
            return super().forward(x)
