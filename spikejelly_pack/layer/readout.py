"""Readout of a network: the weighted mean that ``.mean(0)`` is not."""

from __future__ import annotations

from torch import Tensor

from ..functional import decode_output
from .window import States, WindowModule

__all__ = ["DecodeOutput", "decode_output"]


class DecodeOutput(WindowModule):
    """:func:`spikejelly_pack.decode_output` as the last layer of a network.

    Averaging the T steps equally weighs the least significant digit like the most significant one.

    Serial multi-step ``[T * W, N, *] -> [N, *]``: the weighted mean of every window, averaged over the W
    windows (real time). Packed multi-step ``[W, N, *] -> [N, *]``. Packed single-step leaves ``[N, *]`` as it
    is. Serial single-step emits the decoded value of the last complete window (one window of latency).
    """

    def compute(self, *values: Tensor) -> Tensor:
        return values[0]

    def multi_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_: object
    ) -> tuple[tuple[Tensor, ...], States]:
        if self.form == "packed":
            return (inputs[0].mean(0),), states
        self.check_window_start(states[0])
        return (decode_output(inputs[0], self.time_steps, self.tau).mean(0),), states
