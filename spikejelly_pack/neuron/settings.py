"""What a node's settings are, which of them may change, and when."""

from __future__ import annotations

import dataclasses
from typing import Any

from spikingjelly.activation_based import base

from ..functional import SpikePackState
from ..spec.errors import UnsupportedError
from ..spec.parameters import NeuronParameters, check_choice

__all__ = ["FORMS", "SettingsMixin"]

FORMS = ("packed", "serial")


class SettingsMixin(base.MemoryModule):
    """Parameters, form and step mode of a node; a change between windows drops digits still to come."""

    params: NeuronParameters
    theta: Any
    phase: int
    _form: str
    _step_mode: str
    _number: float
    _memories: dict[str, Any]

    @property
    def time_steps(self) -> int:
        """T, digits of one code."""
        return self.params.time_steps

    @time_steps.setter
    def time_steps(self, value: int) -> None:
        self.check_window_boundary("time_steps")
        self.params = dataclasses.replace(self.params, time_steps=value)
        self._clear_pipeline()

    @property
    def window(self) -> int:
        """L, time steps of one window; longer than T where the code is right-aligned."""
        return self.params.window_steps

    @window.setter
    def window(self, value: int | None) -> None:
        self.check_window_boundary("window")
        self.params = dataclasses.replace(self.params, window=value)
        self._clear_pipeline()

    @property
    def window_gain(self) -> float:
        """``Q_L / Q_T``, which the consumers of its output absorb (:attr:`.NeuronParameters.window_gain`)."""
        return self.params.window_gain

    @property
    def form(self) -> str:
        """``"packed"`` or ``"serial"``."""
        return self._form

    @form.setter
    def form(self, value: str) -> None:
        check_choice("SpikePackNode", "form", value, FORMS)
        if value != self._form:
            self.check_window_boundary("form")
            self._clear_pipeline()
            self._form = value

    @property
    def step_mode(self) -> str:
        """``"s"`` (one step, or one window if packed, per call) or ``"m"`` (a sequence per call)."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        check_choice("SpikePackNode", "step_mode", value, self.supported_step_mode())
        if value != self._step_mode and "phase" in self._memories:
            self.check_window_boundary("step_mode")
            self._clear_pipeline()
        self._step_mode = value

    def check_window_boundary(self, name: str) -> None:
        """Raise if the single-step form stands in mid-window.

        Raises:
            UnsupportedError: Some but not all L steps of the running window are done.
        """
        if self.phase:
            raise UnsupportedError(
                f"SpikePackNode: {name} must not change inside a window, got a change after {self.phase} of "
                f"{self.window} time steps; finish the window or call reset_net."
            )

    def _clear_pipeline(self) -> None:
        # Digits of another form's window must not come out later; the carry belongs to every form.
        kept = {name: self._memories[name] for name in ("v", "carry")}
        self._memories.update(SpikePackState(**kept)._asdict())

    def extra_repr(self) -> str:
        """Parameters that differ between nodes, for ``print(net)``."""
        p = self.params
        threshold = f"{self._number}" if self.theta is None else f"theta{tuple(self.theta.shape)}"
        window = f", window={p.window_steps}" if p.silent_steps else ""
        return (
            f"time_steps={p.time_steps}, tau={p.tau}, v_threshold={threshold}, leak={p.leak}, "
            f"carry={p.carry}, signed={p.signed}, rounding={p.rounding}{window}, "
            f"form={self.form}, step_mode={self.step_mode}"
        )
