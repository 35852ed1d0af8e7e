"""What a product of integer weights and codes is, and what a route that computes it provides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Fire", "FusedRoute", "Kernel", "Product", "Route", "Window", "layout", "rows_of", "storage_dtype"]

Kernel = Callable[[Tensor], Tensor]


def storage_dtype(low: int, high: int) -> torch.dtype:
    """Smallest torch dtype with arithmetic that holds codes in ``low..high``."""
    if low >= 0 and high <= 255:
        return torch.uint8
    if low >= -128 and high <= 127:
        return torch.int8
    return torch.int32


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Product:
    """Integer weights, and the codes they will meet.

    Attributes:
        weight: int64 ``[out, in]`` or ``[out, in / groups, k_h, k_w]``, on the CPU.
        low, high: Range of the codes; they arrive in ``storage_dtype(low, high)``.
        window: Geometry of a convolution; None for a dense product.
        refusals: Why routes were refused, by device and name: filled when first asked.
    """

    weight: Tensor
    low: int
    high: int
    window: Window | None = None
    refusals: dict[str, dict[str, str | None]] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """Largest magnitude of a code."""
        return max(-self.low, self.high)

    @cached_property
    def largest_weight(self) -> int:
        """Largest magnitude of a weight."""
        return int(self.weight.abs().max())

    @cached_property
    def magnitude(self) -> int:
        """Bound of every partial sum, in whatever order it is taken: the sum's ends hold for every subset."""
        return max(-self.sums[0], self.sums[1])

    @cached_property
    def sums(self) -> tuple[int, int]:
        """Smallest and largest sum any codes can give, zero included (padding, part of the terms)."""
        rows = self.weight.flatten(1)
        positive, negative = rows.clamp(min=0).sum(1), rows.clamp(max=0).sum(1)
        low, high = min(self.low, 0), max(self.high, 0)
        return int((low * positive + high * negative).min()), int((high * positive + low * negative).max())

    @cached_property
    def weight_sum(self) -> int:
        """Largest sum of the magnitudes of one output's weights."""
        return int(self.weight.abs().flatten(1).sum(1).max())

    @property
    def kind(self) -> str:
        """``"dense"``, ``"conv"`` or ``"grouped conv"``."""
        if self.window is None:
            return "dense"
        return "conv" if self.window.groups == 1 else "grouped conv"

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What decides the speed and exactness of a route, besides device and input shape."""
        return (tuple(self.weight.shape), self.window, self.low, self.high, self.largest_weight.bit_length(),
                self.magnitude.bit_length())  # fmt: skip


@dataclass(frozen=True, eq=False)
class Fire:
    """Neurons behind a product.

    Attributes:
        theta: int64 ``[C]``, positive.
        bias: int64 ``[C]``.
        time_steps: T.
        signed: Fire on the absolute value.
        half: ``round_half_up``, else floor.
        refusals: Why fused routes were refused, by device and name: filled when first asked.
    """

    theta: Tensor
    bias: Tensor
    time_steps: int
    signed: bool
    half: bool
    refusals: dict[str, dict[str, str | None]] = field(default_factory=dict)


class Route(Protocol):
    """One way to compute a product exactly."""

    @property
    def name(self) -> str:
        """For the record."""
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """Device types it is for."""
        ...

    def refuses(self, product: Product, device: torch.device) -> str | None:
        """Why the route is not exact for, or cannot run, the product there; None where it is proven exact."""
        ...

    def prepare(self, product: Product, device: torch.device) -> Kernel:
        """A function from codes to sums: float32, float64 or int32, every value exact."""
        ...


class FusedRoute(Protocol):
    """One way to compute a product and the codes of the neurons behind it exactly."""

    @property
    def name(self) -> str:
        """For the record."""
        ...

    @property
    def provider(self) -> str:
        """Whose code it is: ``"torch"`` or ``"cupy"``."""
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """Device types it is for."""
        ...

    def refuses(self, product: Product, fire: Fire, device: torch.device) -> str | None:
        """As :meth:`Route.refuses`."""
        ...

    def prepare(self, product: Product, device: torch.device, fire: Fire) -> Kernel:
        """A function from codes to codes."""
        ...


def layout(codes: Tensor) -> Tensor:
    """Convolutions keep codes and sums channels last."""
    return codes.contiguous(memory_format=torch.channels_last) if codes.dim() == 4 else codes.contiguous()


def rows_of(
    codes: Tensor, kernel: tuple[int, int], window: Window, zero: int = 0
) -> tuple[Tensor, tuple[int, int, int]]:
    """Unfold channels-last codes ``[N, C, H, W]`` into rows ``[N * H_out * W_out, k_h * k_w * C]``.

    Args:
        codes: Any dtype.
        kernel: Height and width of the kernel.
        window: Geometry.
        zero: How the code 0 is stored, what padding holds.

    Returns:
        Rows, and ``(N, H_out, W_out)``.
    """
    image = layout(codes).permute(0, 2, 3, 1)
    (pad_h, pad_w), (high, wide) = window.padding, kernel
    if pad_h or pad_w:
        image = F.pad(image, (0, 0, pad_w, pad_w, pad_h, pad_h), value=zero)
    samples, height, width, channels = image.shape
    out_h = (height - window.dilation[0] * (high - 1) - 1) // window.stride[0] + 1
    out_w = (width - window.dilation[1] * (wide - 1) - 1) // window.stride[1] + 1
    n, h, w, c = image.stride()
    strides = (
        n,
        h * window.stride[0],
        w * window.stride[1],
        h * window.dilation[0],
        w * window.dilation[1],
        c,
    )
    view = image.as_strided((samples, out_h, out_w, high, wide, channels), strides)
    rows = view.reshape(samples * out_h * out_w, high * wide * channels)
    # windows as wide as the map stay a view whose rows overlap, which oneDNN refuses with a warning
    return rows.contiguous(), (samples, out_h, out_w)
