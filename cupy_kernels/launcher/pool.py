"""Launch exact max-pooling of codes and of digits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..arrays import Array
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import C_TYPES, THREADS, Variant
from .checks import contiguous, required
from .codes import CODES, DIGITS
from .grid import blocks_for, index_type

__all__ = ["PoolGeometry", "pool_codes", "pool_digits", "pool_step"]


@dataclass(frozen=True)
class PoolGeometry:
    """Pairs (height, width) with the meaning they have in ``torch.nn.MaxPool2d``.

    Attributes:
        kernel_size: Taps of one window.
        stride: Step from window to window.
        padding: Rows and columns around the image that never win.
        dilation: Step from tap to tap.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def taps(self) -> int:
        """Inputs of one window, padding included."""
        return self.kernel_size[0] * self.kernel_size[1]

    @property
    def alive_words(self) -> int:
        """First axis of the uint32 array that holds the "still tied" bits."""
        return -(-self.taps // 32)

    def check(self, image: tuple[int, int], out: tuple[int, int]) -> None:
        """Refuse sizes that make no pooling, and windows that lie in the padding alone."""
        for axis, name in enumerate(("height", "width")):
            k, s, p, d = (v[axis] for v in (self.kernel_size, self.stride, self.padding, self.dilation))
            if min(k, s, d) < 1 or p < 0:
                raise KernelArgumentError(
                    f"geometry: kernel_size, stride and dilation must be positive and padding not negative, "
                    f"got {self}; use the arguments of MaxPool2d."
                )
            for position in range(out[axis]):
                if not any(0 <= position * s - p + tap * d < image[axis] for tap in range(k)):
                    raise KernelArgumentError(
                        f"geometry: every window must hold an input, got none in window {position} of the "
                        f"{name} {image[axis]} with {self}; lower the padding or the output size."
                    )

    def numbers(self, image: tuple[int, int], out: tuple[int, int]) -> dict[str, int]:
        """Arguments of the kernels."""
        values = {"height": image[0], "width": image[1], "out_height": out[0], "out_width": out[1]}
        pairs = {
            "kernel": self.kernel_size, "stride": self.stride, "pad": self.padding, "dilation": self.dilation
        }  # fmt: skip
        for name, (y, x) in pairs.items():
            values |= {f"{name}_y": int(y), f"{name}_x": int(x)}
        return values


def _geometry(
    array: Array, out: Array, leading: int, geometry: PoolGeometry
) -> tuple[int, int, dict[str, int]]:
    """Outputs of one image batch, channels that lie innermost, and the kernel's sizes."""
    shape, pooled = array.shape[leading:], out.shape[leading:]
    if len(shape) != 4 or len(pooled) != 4 or array.shape[: leading + 2] != out.shape[: leading + 2]:
        raise KernelArgumentError(
            f"{out.name}: must be [.., N, C, H', W'] beside {array.name} {list(array.shape)}, got "
            f"{list(out.shape)}; the leading axes must agree."
        )
    layouts = _layouts(array.inner(leading)) & _layouts(out.inner(leading))
    if not layouts:
        raise KernelArgumentError(
            f"{out.name}: must be contiguous or channels last as {array.name}, got strides "
            f"{list(out.strides)} and {list(array.strides)}; allocate it so."
        )
    image, small = (shape[2], shape[3]), (pooled[2], pooled[3])
    if out.size:
        geometry.check(image, small)
    return out.inner(leading).size, min(layouts), geometry.numbers(image, small)


def _layouts(image: Array) -> set[int]:
    """Channels that lie innermost in memory: 1 for contiguous images, C for channels last; both may hold."""
    _, channels, height, width = image.shape
    orders = {
        channels: (channels * height * width, 1, width * channels, channels),
        1: (channels * height * width, height * width, width, 1),
    }
    strides = {inner: replace(image, strides=order) for inner, order in orders.items()}
    return {inner for inner, wanted in strides.items() if image.same_places(wanted)}


def pool_codes(queue: Queue, codes: Any, out: Any, geometry: PoolGeometry) -> None:
    """Maximum of integer codes ``[N, C, H, W]``, contiguous or channels last.

    Args:
        queue: Where to run.
        codes: uint8, uint16, int8, int16 or int32.
        out: Out ``[N, C, H', W']``, dtype and layout of ``codes``; its size fixes floor or ceil mode.
        geometry: Kernel size, stride, padding, dilation.
    """
    words = required(queue, "codes", codes, CODES)
    pooled = required(queue, "out", out, (words.dtype,))
    n, inner, numbers = _geometry(words, pooled, 0, geometry)
    if n == 0:
        return
    variant = Variant("pool_codes", (C_TYPES[words.dtype], index_type(words.size, pooled.size)))
    values = {"codes": words.pointer, "out": pooled.pointer, "n": n, "inner": inner, **numbers}
    queue.launch(variant, blocks_for(n, 1), THREADS, values)


def pool_digits(queue: Queue, digits: Any, out: Any, geometry: PoolGeometry) -> None:
    """Digits of the maximum of serial windows ``[W, T, N, C, H, W]``: those of the code that wins.

    Args:
        queue: Where to run.
        digits: Spikes of one node, most significant digit first, floating point, int8 or uint8.
        out: Out ``[W, T, N, C, H', W']``, dtype and layout of ``digits``.
        geometry: As in :func:`pool_codes`.
    """
    train = contiguous(required(queue, "digits", digits, DIGITS), 2)
    pooled = contiguous(required(queue, "out", out, (train.dtype,)), 2)
    n, inner, numbers = _geometry(train, pooled, 2, geometry)
    windows, steps = train.shape[:2]
    if pooled.size == 0:
        return
    variant = Variant("pool_digits", (C_TYPES[train.dtype], index_type(train.size, pooled.size)))
    values = {
        "digits": train.pointer, "out": pooled.pointer, "n": n, "inner": inner, "image": train.inner(2).size,
        "windows": windows, "steps": steps, **numbers,
    }  # fmt: skip
    queue.launch(variant, blocks_for(n, 1, windows), THREADS, values)


def pool_step(
    queue: Queue, digits: Any, out: Any, alive: Any, geometry: PoolGeometry, *, first: bool
) -> None:
    """One digit of the maximum, most significant first, with the mask of what is still tied.

    Args:
        queue: Where to run.
        digits: This step's spikes ``[N, C, H, W]``, floating point, int8 or uint8.
        out: Out ``[N, C, H', W']``, dtype and layout of ``digits``.
        alive: uint32 or int32 ``[geometry.alive_words, outputs]``: in and out; at the first digit only out.
        geometry: As in :func:`pool_codes`.
        first: Whether this is the most significant digit of a window.
    """
    train = required(queue, "digits", digits, DIGITS)
    pooled = required(queue, "out", out, (train.dtype,))
    mask = contiguous(required(queue, "alive", alive, ("uint32", "int32")), 2)
    n, inner, numbers = _geometry(train, pooled, 0, geometry)
    if mask.shape != (geometry.alive_words, n):
        raise KernelArgumentError(
            f"alive: must be [{geometry.alive_words}, {n}] (words of 32 taps, outputs), got "
            f"{list(mask.shape)}; allocate it so and keep it for a whole window."
        )
    if n == 0:
        return
    variant = Variant("pool_step", (C_TYPES[train.dtype], index_type(train.size, mask.size)))
    values = {
        "digits": train.pointer, "out": pooled.pointer, "alive": mask.pointer, "n": n, "inner": inner,
        "first": int(first), **numbers,
    }  # fmt: skip
    queue.launch(variant, blocks_for(n, 1), THREADS, values)
