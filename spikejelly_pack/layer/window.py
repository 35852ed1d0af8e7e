"""Modules that see whole windows: the shared form, state and layout of every layer in this folder.

Layouts (T time steps per window, W windows):

===================  ======================  =====================================================
form                 ``step_mode``           tensor
===================  ======================  =====================================================
packed               ``"s"`` / ``"m"``       ``[N, *]`` / ``[W, N, *]`` decoded values
serial               ``"m"``                 ``[T * W, N, *]``, digits most significant first
serial               ``"s"``                 ``[N, *]`` per call, T calls make a window
===================  ======================  =====================================================

:class:`FormModule` is the protocol that ``set_form`` relies on: a module with a ``form`` property.
:class:`WindowModule` turns any function of decoded values into a layer that is exact in every form:
because the charge weights sum to 1, handing the same current to all T steps of a window charges to
that current, so ``decode -> function -> repeat`` commutes with whatever affine layer follows.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from ..functional import decode_output
from ..spec.equations import charge_step
from ..spec.errors import ParameterError, ShapeError, UnsupportedError
from ..spec.parameters import NeuronParameters, check_choice

__all__ = ["FORMS", "FormModule", "WindowModule", "repeat_windows"]

FORMS = ("packed", "serial")
States = tuple[object, ...]


def repeat_windows(values: Tensor, time_steps: int) -> Tensor:
    """Hand the value of every window to all its steps: ``[W, *] -> [T * W, *]``."""
    return values.repeat_interleave(time_steps, dim=0)


class FormModule(base.MemoryModule):
    """A SpikingJelly module that knows its form and its window.

    Args:
        time_steps: Time steps of one window (1..16): T of the codes, of the longest where they differ.
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        form: ``"packed"`` or ``"serial"``; ``set_form(net, form)`` sets it.
        step_mode: ``"s"`` or ``"m"``; ``functional.set_step_mode`` sets it.

    The memory ``phase`` counts the digits of the running window seen in serial single-step form.
    """

    #: Windows of latency in serial single-step form; 0 for layers that answer within the step.
    window_latency = 0

    def __init__(
        self, time_steps: int = 4, tau: float = 2.0, *, form: str = "serial", step_mode: str = "s"
    ) -> None:
        super().__init__()
        self.parameters_of_code = NeuronParameters(time_steps=time_steps, tau=tau)
        self.step_mode = step_mode
        self.register_memory("phase", 0)
        self._form = check_choice(self._get_name(), "form", form, FORMS)

    @property
    def time_steps(self) -> int:
        """Time steps of one window: digits of the longest code. It may change between windows."""
        return self.parameters_of_code.time_steps

    @time_steps.setter
    def time_steps(self, value: int) -> None:
        self._check_between_windows("time_steps", value)
        self.parameters_of_code = NeuronParameters(time_steps=value, tau=self.tau)

    @property
    def tau(self) -> float:
        """Base of the digits."""
        return self.parameters_of_code.tau

    @property
    def form(self) -> str:
        """``"packed"`` or ``"serial"``; refuses to change within a window."""
        return self._form

    @form.setter
    def form(self, value: str) -> None:
        check_choice(self._get_name(), "form", value, FORMS)
        if value != self._form:
            self._check_between_windows("form", value)
        self._form = value

    def _check_between_windows(self, name: str, value: object) -> None:
        if self.phase:
            raise ParameterError(
                f"{self._get_name()}: {name} must change between windows, got {name}={value!r} after "
                f"{self.phase} of {self.time_steps} time steps; finish the window "
                "or call functional.reset_net(net) first."
            )

    def check_window_start(self, phase: object) -> None:
        """Refuse a multi-step call after an unfinished single-step window."""
        if phase:
            raise UnsupportedError(
                f"{self._get_name()}: step_mode must change between windows, got a multi-step call after "
                f"{phase} of {self.time_steps} single steps; finish the "
                "window or call functional.reset_net(net) first."
            )

    def extra_repr(self) -> str:
        return f"time_steps={self.time_steps}, tau={self.tau}, form={self.form}, step_mode={self.step_mode}"


class WindowModule(FormModule):
    """A function of decoded values, exact in every form (see the module's text).

    Serial multi-step: decodes each operand over the window, applies :meth:`compute`, hands the result to
    all T steps. Serial single-step: charges the operands through window w and emits the result of
    window w - 1 in each of its steps; before the first window is complete it emits zeros. Its latency is
    one window, as that of a node, and its output is a current, not spikes.

    Subclasses set ``operands`` and write :meth:`compute`.
    """

    window_latency = 1
    operands = 1

    def __init__(
        self, time_steps: int = 4, tau: float = 2.0, *, form: str = "serial", step_mode: str = "s"
    ) -> None:
        super().__init__(time_steps, tau, form=form, step_mode=step_mode)
        for index in range(self.operands):
            self.register_memory(f"charge_{index}", None)
        self.register_memory("held", None)

    def compute(self, *values: Tensor) -> Tensor:
        """Function of the decoded values ``[N, *]`` or ``[W, N, *]``; leading axes are batch axes."""
        raise TypeError(f"{self._get_name()} must define compute")

    def multi_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_kwargs: object
    ) -> tuple[tuple[Tensor, ...], States]:
        if self.form == "packed":
            return (self.compute(*inputs),), states
        self.check_window_start(states[0])
        decoded = [decode_output(x, self.time_steps, self.tau) for x in inputs]
        return (repeat_windows(self.compute(*decoded), self.time_steps),), states

    def single_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_kwargs: object
    ) -> tuple[tuple[Tensor, ...], States]:
        if self.form == "packed":
            return (self.compute(*inputs),), states
        phase, *charges, held = states
        charges = [self._charged(x, a, phase) for x, a in zip(inputs, charges, strict=True)]
        if held is None:
            held = torch.zeros_like(self.compute(*(torch.zeros_like(x) for x in inputs)))
        output = held
        phase = phase + 1  # type: ignore[operator]
        if phase == self.time_steps:
            phase = 0
            held = self.compute(*(a / a.new_full((), self.parameters_of_code.weight_sum) for a in charges))
        return (output,), (phase, *charges, held)  # type: ignore[return-value]

    def _charged(self, x: Tensor, charge: object, phase: object) -> Tensor:
        if not phase:
            return x
        if not isinstance(charge, Tensor) or charge.shape != x.shape:
            shape = tuple(charge.shape) if isinstance(charge, Tensor) else None
            raise ShapeError(
                f"{self._get_name()}: the input shape must not change within a window, got {tuple(x.shape)} "
                f"after {shape}; call functional.reset_net(net) between inputs."
            )
        result: Tensor = charge_step(charge, x, self.tau)
        return result
