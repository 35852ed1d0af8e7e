"""Max-pooling that is exact on codes.

The maximum of codes is not the digit-wise maximum: max(0b10, 0b01) = 0b10, while the digits' maxima make
0b11. Comparing most significant digits first and remembering which inputs are still tied gives the code of
the winner, digit by digit, within the same time step. For signed digits (-1 < 0 < 1) and for the greedy
digits of tau < 2 the order of the digit sequences is the order of the values too, so the same lines do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..functional.readout import split_windows
from ..spec.errors import DtypeError, ParameterError, ShapeError
from .window import FormModule, States, WindowModule

__all__ = ["SpikePackMaxPool2d", "SpikePackValueMaxPool2d", "digit_max_step", "pool_patches"]

Pair = tuple[int, int]
#: Stands for "no input here" among the digits {-1, 0, 1}: below each of them, never 0.
NOT_ALIVE = -2


def _pair(value: int | tuple[int, ...]) -> Pair:
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


class _PoolGeometry(FormModule):
    """Geometry shared by both pools; the arguments are those of ``torch.nn.MaxPool2d``."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool

    def set_geometry(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None,
        padding: int | Pair,
        dilation: int | Pair,
        ceil_mode: bool,
    ) -> None:
        self.kernel_size = _pair(kernel_size)
        self.stride = self.kernel_size if stride is None else _pair(stride)
        self.padding, self.dilation = _pair(padding), _pair(dilation)
        self.ceil_mode = bool(ceil_mode)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ParameterError(
                f"{self._get_name()}: padding must be at most half of kernel_size, got padding="
                f"{self.padding} with kernel_size={self.kernel_size}; padding has no maximum."
            )

    def max_pool(self, x: Tensor, indices: bool = False) -> tuple[Tensor, Tensor | None]:
        """Plain maximum of ``[.., C, H, W]`` values or codes (padding is -inf or the dtype's minimum)."""
        if x.ndim < 3:
            raise ShapeError(
                f"{self._get_name()}: input must be [N, C, H, W] with any leading axes, got shape "
                f"{tuple(x.shape)}; add the missing axes."
            )
        batch = x.reshape(-1, *x.shape[-3:]) if x.ndim != 4 else x
        pooled, index = F.max_pool2d(
            batch,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            return_indices=True,
        )
        shape = x.shape[:-3] + pooled.shape[-3:]
        return pooled.reshape(shape), index.reshape(shape) if indices else None

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}, {super().extra_repr()}"
        )


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-span // stride) if ceil_mode else span // stride
    if ceil_mode and count * stride >= size + padding:
        count -= 1  # PyTorch: a window must start inside the input or its left padding
    return count + 1


def pool_patches(x: Tensor, geometry: _PoolGeometry) -> Tensor:
    """Inputs of every pooling window, ``[N, C, H, W] -> [k * k, N, C, H', W']``; padding ``NOT_ALIVE``."""
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel_size, geometry.stride, geometry.dilation
    sizes = [
        _output_size(x.shape[axis - 2], *values, geometry.ceil_mode)
        for axis, values in enumerate(
            zip(geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation, strict=True)
        )
    ]
    spans = [(sizes[0] - 1) * sh + dh * (kh - 1) + 1, (sizes[1] - 1) * sw + dw * (kw - 1) + 1]
    (top, left) = geometry.padding
    bottom, right = (max(0, spans[0] - x.shape[-2] - top), max(0, spans[1] - x.shape[-1] - left))
    padded = F.pad(x, (left, right, top, bottom), value=NOT_ALIVE)
    slices = [
        padded[
            ...,
            dy * dh : dy * dh + (sizes[0] - 1) * sh + 1 : sh,
            dx * dw : dx * dw + (sizes[1] - 1) * sw + 1 : sw,
        ]
        for dy in range(kh)
        for dx in range(kw)
    ]
    return torch.stack(slices)


def digit_max_step(digits: Tensor, alive: Tensor | None) -> tuple[Tensor, Tensor]:
    """One digit of the maximum of several codes.

    Args:
        digits: This step's digits ``[k, *]`` of k codes; ``NOT_ALIVE`` marks padding.
        alive: Codes still tied for the maximum ``[k, *]``; None at the first, most significant digit.

    Returns:
        The maximum's digit ``[*]`` and who is still tied; NaN wins and stays, as in a plain maximum.
    """
    candidates = digits if alive is None else digits.masked_fill(~alive, NOT_ALIVE)
    winner = candidates.amax(0)
    return winner, (candidates == winner) | candidates.isnan()


class SpikePackMaxPool2d(_PoolGeometry):
    """Exact maximum of node outputs, in place of ``MaxPool2d`` on spikes.

    Packed: the maximum of decoded values or codes. Serial single-step: digit-serial maximum, most
    significant digit first, with a "still tied" mask per pooling window; causal, no latency. Serial
    multi-step: the same digits, gathered from the code that wins its window, so that gradients reach the
    winner's digits as they reach the winner's value in packed form. Signed digits too. Padding never wins.

    It takes node outputs (spikes), not sums of trains or currents: use :class:`SpikePackValueMaxPool2d`
    there.

    Args:
        kernel_size: As ``torch.nn.MaxPool2d``, like the next four.
        stride: As there.
        padding: As there.
        dilation: As there.
        ceil_mode: As there.
        time_steps: T, digits of one code (1..16).
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        form: ``"packed"`` or ``"serial"``.
        step_mode: ``"s"`` or ``"m"``.

    Shape:
        Packed ``[N, C, H, W]`` or ``[W, N, C, H, W]``; serial ``[N, C, H, W]`` per step or
        ``[T * W, N, C, H, W]``.

    Raises:
        DtypeError: Serial input that is not made of the digits -1, 0, 1.
        ShapeError: A sequence that does not hold whole windows, or a shape that changes within one.
        ParameterError: ``form`` changed within a window.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        *,
        ceil_mode: bool = False,
        time_steps: int = 4,
        tau: float = 2.0,
        form: str = "serial",
        step_mode: str = "s",
    ) -> None:
        super().__init__(time_steps, tau, form=form, step_mode=step_mode)
        self.set_geometry(kernel_size, stride, padding, dilation, ceil_mode)
        self.register_memory("alive", None)

    def multi_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_kwargs: object
    ) -> tuple[tuple[Tensor, ...], States]:
        x_seq = inputs[0]
        if self.form == "packed":
            return (self.max_pool(x_seq)[0],), states
        self.check_window_start(states[0])
        self._check_digits(x_seq)
        windows = split_windows(x_seq, self.time_steps, self._get_name())
        # The word of the digits orders the codes whatever tau is; float32 holds 16 digits exactly.
        powers = torch.tensor(
            [2.0 ** (self.time_steps - 1 - t) for t in range(self.time_steps)], device=x_seq.device
        )
        words = torch.einsum("wt...,t->w...", windows.detach().float(), powers)
        _, winners = self.max_pool(words, indices=True)
        assert winners is not None
        per_digit = winners.unsqueeze(1).expand(-1, self.time_steps, *winners.shape[1:])
        pooled = windows.flatten(-2).gather(-1, per_digit.flatten(-2)).reshape(per_digit.shape)
        return (pooled.flatten(0, 1),), states

    def single_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: States, **_kwargs: object
    ) -> tuple[tuple[Tensor, ...], States]:
        x = inputs[0]
        if self.form == "packed":
            return (self.max_pool(x)[0],), states
        self._check_digits(x)
        phase, alive = states
        digits = pool_patches(x, self)
        if not phase:
            alive = None
        elif not isinstance(alive, Tensor) or alive.shape != digits.shape:
            raise ShapeError(
                f"{self._get_name()}: the input shape must not change within a window, got {tuple(x.shape)} "
                f"at time step {phase}; call functional.reset_net(net) between inputs."
            )
        winner, alive = digit_max_step(digits, alive)
        return (winner,), ((phase + 1) % self.time_steps, alive)  # type: ignore[operator]

    def _check_digits(self, x: Tensor) -> None:
        if torch.compiler.is_compiling():
            return
        if not bool(((x == 0) | (x.abs() == 1) | x.isnan()).all()):
            raise DtypeError(
                f"{self._get_name()}: serial input must be node outputs (digits -1, 0, 1), got other values; "
                "use SpikePackValueMaxPool2d on sums of spike trains and on currents."
            )


class SpikePackValueMaxPool2d(WindowModule, _PoolGeometry):
    """Exact maximum of currents or sums of trains: the window is decoded first.

    The maximum of T currents is another function than the maximum of what they charge to, so this pool
    needs the whole window and hands the same maximum to each of its steps: one window of latency in serial
    single-step form, and its output is a current, not spikes. On node outputs prefer
    :class:`SpikePackMaxPool2d`.

    Args:
        kernel_size: As there, like all others.
        stride: As there.
        padding: As there.
        dilation: As there.
        ceil_mode: As there.
        time_steps: As there.
        tau: As there.
        form: As there.
        step_mode: As there.

    Shape:
        As there: ``[N, C, H, W]`` per window or step, in multi-step mode with a leading axis.

    Raises:
        ShapeError: A sequence that does not hold whole windows, or a shape that changes within one.
        ParameterError: ``form`` changed within a window.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        *,
        ceil_mode: bool = False,
        time_steps: int = 4,
        tau: float = 2.0,
        form: str = "serial",
        step_mode: str = "s",
    ) -> None:
        super().__init__(time_steps, tau, form=form, step_mode=step_mode)
        self.set_geometry(kernel_size, stride, padding, dilation, ceil_mode)

    def compute(self, *values: Tensor) -> Tensor:
        return self.max_pool(values[0])[0]
