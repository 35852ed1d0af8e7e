"""Delay of a skip branch: it balances the windows of latency that the other branch's nodes add."""

from __future__ import annotations

import torch
from torch import Tensor

from ..spec.errors import ParameterError, ShapeError
from .window import FormModule, States

__all__ = ["SpikeDelay"]


class SpikeDelay(FormModule):
    """Delay by whole windows in serial single-step form; the identity in every other form.

    In window w a node emits the digits of window w - 1. A branch that skips k nodes must therefore wait
    k * T steps before it joins the other branch. Only the pipelined single-step form has this latency, so
    only there does the delay act: before its input is due it emits zeros.

    Args:
        windows: k, windows to wait (>= 0).
        time_steps: T, digits of one code (1..16).
        tau: Base of the digits (kept for a uniform interface; a delay does not depend on it).
        form: ``"packed"`` or ``"serial"``.
        step_mode: ``"s"`` or ``"m"``.

    Shape:
        ``x`` and the output have the same shape.

    Raises:
        ParameterError: ``windows`` is negative or no integer.
        ShapeError: The shape changed within a sequence.
    """

    def __init__(
        self,
        windows: int,
        time_steps: int = 4,
        tau: float = 2.0,
        *,
        form: str = "serial",
        step_mode: str = "s",
    ) -> None:
        super().__init__(time_steps, tau, form=form, step_mode=step_mode)
        if isinstance(windows, bool) or not isinstance(windows, int) or windows < 0:
            raise ParameterError(
                f"SpikeDelay: windows must be an integer >= 0, got {windows!r}; "
                "pass the nodes the branch skips."
            )
        self.windows = windows
        self.window_latency = windows
        self.register_memory("queue", ())

    @property
    def delay_steps(self) -> int:
        """Time steps of delay, ``windows * T``."""
        return self.windows * self.time_steps

    def multi_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_kwargs: object
    ) -> tuple[tuple[Tensor, ...], States]:
        return (inputs[0],), states

    def single_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_kwargs: object
    ) -> tuple[tuple[Tensor, ...], States]:
        x = inputs[0]
        phase, queue = states
        if self.form == "packed" or not self.windows:
            return (x,), states
        assert isinstance(queue, tuple)
        if not queue:
            queue = (torch.zeros_like(x),) * self.delay_steps
        if queue[-1].shape != x.shape:
            raise ShapeError(
                f"SpikeDelay: the input shape must not change within a sequence, got {tuple(x.shape)} after "
                f"{tuple(queue[-1].shape)}; call functional.reset_net(net) between inputs."
            )
        next_phase = (phase + 1) % self.time_steps  # type: ignore[operator]
        return (queue[0],), (next_phase, (*queue[1:], x))

    def extra_repr(self) -> str:
        return f"windows={self.windows}, {super().extra_repr()}"
