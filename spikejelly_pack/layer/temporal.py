"""Functions that see the time axis themselves (temporal attention), made exact in every form."""

from __future__ import annotations

from torch import Tensor, nn

from ..functional import decode_output
from .window import WindowModule, repeat_windows

__all__ = ["SpikePackWindow", "TemporalWindow"]


class SpikePackWindow(WindowModule):
    """Any function of decoded values as a layer that is exact in every form (activations, other pools).

    Serial form decodes the window, applies ``function``, hands the result to every step.

    Args:
        function: Module of one tensor that treats the leading axes as batch axes.
        time_steps: T, digits of one code (1..16).
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        form: ``"packed"`` or ``"serial"``.
        step_mode: ``"s"`` or ``"m"``.

    Shape:
        Packed ``[N, *]`` or ``[W, N, *]``; serial ``[N, *]`` per step or ``[T * W, N, *]``.
    """

    def __init__(
        self,
        function: nn.Module,
        time_steps: int = 4,
        tau: float = 2.0,
        *,
        form: str = "serial",
        step_mode: str = "s",
    ) -> None:
        super().__init__(time_steps, tau, form=form, step_mode=step_mode)
        self.function = function

    def compute(self, *values: Tensor) -> Tensor:
        result: Tensor = self.function(values[0])
        return result


class TemporalWindow(WindowModule):
    """A module over a whole sequence ``[T, N, *]`` of T steps, such as temporal attention, on decoded values.

    Such a module scales the T steps of a window differently: a function of the train, not of the code. Here
    every window is decoded, shown to the module as T equal steps, and its output decoded: one
    well-defined function of the decoded value, the same in packed and serial form. It needs
    ``step_mode="m"``.

    Args:
        original: The module; its children are taken over under their names, so ``state_dict`` keys stay.
        time_steps: T, digits of one code (1..16); the number of steps ``original`` was built for.
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        form: ``"packed"`` or ``"serial"``.
    """

    def __init__(
        self, original: nn.Module, time_steps: int = 4, tau: float = 2.0, *, form: str = "serial"
    ) -> None:
        super().__init__(time_steps, tau, form=form, step_mode="m")
        self.original_type = type(original)
        for name in ("ta", "ca", "sa"):  # absent axes are None, which named_children leaves out
            if hasattr(original, name):
                self.register_module(name, None)
        for name, child in original.named_children():
            self.add_module(name, child)
        self.training = original.training

    def compute(self, *values: Tensor) -> Tensor:
        windows = values[0]
        flat = windows.flatten(0, 1).unsqueeze(0)  # windows are independent samples: [1, W * N, *]
        steps = self.original_type.forward(self, repeat_windows(flat, self.time_steps))
        decoded = decode_output(steps, self.time_steps, self.tau)[0]
        result: Tensor = decoded.unflatten(0, windows.shape[:2])
        return result

    def supported_step_mode(self) -> tuple[str]:
        return ("m",)

    def extra_repr(self) -> str:
        return f"{self.original_type.__name__}, {super().extra_repr()}"
