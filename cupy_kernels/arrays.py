"""Arrays as the launcher sees them: a pointer and what must be known about the memory behind it.

torch tensors, CuPy and numpy arrays are read by duck typing, so no library is imported. No DLPack: in older
CuPy it knows no bfloat16, and it synchronises streams; a pointer does neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .errors import KernelArgumentError

__all__ = ["FLOATS", "ITEM_SIZE", "Address", "Array", "Layout", "channel_layout"]

ITEM_SIZE = {
    "float32": 4, "float16": 2, "bfloat16": 2,
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
}  # fmt: skip
FLOATS = ("float32", "float16", "bfloat16")


class Address(int):
    """Address of an argument's first element, which knows the argument: :mod:`.replay` puts new ones in.

    Attributes:
        argument: Name of the argument.
    """

    argument: str

    @classmethod
    def of(cls, argument: str, value: int) -> Address:
        """Address ``value`` of ``argument``."""
        address = cls(value)
        address.argument = argument
        return address


@dataclass(frozen=True)
class Array:
    """One argument of a kernel.

    Attributes:
        name: The argument's name, for messages.
        pointer: Address of the first element.
        shape: Sizes of the axes.
        strides: Elements, not bytes, from one index of an axis to the next.
        dtype: Name of the element type, a key of :data:`ITEM_SIZE`.
        device: CUDA ordinal; None for host memory.
    """

    name: str
    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    device: int | None

    @classmethod
    def of(cls, name: str, value: Any) -> Array:
        """Read a torch tensor, a CuPy array or a numpy array.

        Raises:
            KernelArgumentError: ``value`` is none of these, or its dtype has no kernel.
        """
        dtype = str(getattr(value, "dtype", type(value).__name__)).rpartition(".")[2]
        if dtype not in ITEM_SIZE:
            raise KernelArgumentError(
                f"{name}: dtype must be one of {', '.join(ITEM_SIZE)}, got {dtype}; convert it first."
            )
        shape = tuple(int(size) for size in value.shape)
        if callable(getattr(value, "data_ptr", None)):
            device = value.device.index if value.device.type == "cuda" else None
            if value.device.type not in ("cuda", "cpu"):
                raise KernelArgumentError(
                    f"{name}: the device must be CUDA or host memory, got {value.device}; move it there."
                )
            return cls(name, Address.of(name, value.data_ptr()), shape, tuple(value.stride()), dtype, device)
        strides = tuple(int(step) // ITEM_SIZE[dtype] for step in value.strides)
        if hasattr(value, "__cuda_array_interface__"):
            pointer = Address.of(name, int(value.data.ptr))
            return cls(name, pointer, shape, strides, dtype, int(value.device.id))
        return cls(name, Address.of(name, int(value.ctypes.data)), shape, strides, dtype, None)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def item_size(self) -> int:
        """Bytes of one element."""
        return ITEM_SIZE[self.dtype]

    def aligned(self, elements: int) -> bool:
        """Whether groups of ``elements`` can be moved by accesses of at most 16 bytes."""
        return self.pointer % min(16, elements * self.item_size) == 0

    @property
    def dense(self) -> bool:
        """Whether the elements fill their memory without gap or overlap, in any order of the axes."""
        if self.size == 0:
            return True
        expected = 1
        for stride, size in sorted(zip(self.strides, self.shape, strict=True)):
            if size != 1:
                if stride != expected:
                    return False
                expected *= size
        return True

    def same_places(self, other: Array, leading: int = 0) -> bool:
        """Whether equal indices are equal places in memory, the first ``leading`` axes left aside."""
        if self.shape[leading:] != other.shape[leading:]:
            return False
        if self.size == 0:
            return True
        places = zip(self.shape[leading:], self.strides[leading:], other.strides[leading:], strict=True)
        return all(size == 1 or mine == theirs for size, mine, theirs in places)

    def inner(self, leading: int) -> Array:
        """The array at index 0 of its first ``leading`` axes."""
        return Array(
            self.name, self.pointer, self.shape[leading:], self.strides[leading:], self.dtype, self.device
        )


@dataclass(frozen=True)
class Layout:
    """Where the threshold of element i lies: ``theta[i // inner % channels]``; one channel: one threshold."""

    channels: int
    inner: int


def channel_layout(like: Array, theta: Array, axis: int | None, leading: int = 0) -> Layout:
    """Layout of the channels of a dense array, whatever the order of its axes in memory.

    Args:
        like: The array the thresholds belong to.
        theta: One threshold (shape ``[]`` or ``[1]``) or one per channel ``[C]``.
        axis: Axis of the channels; needed where ``theta`` has more than one element.
        leading: Leading axes (windows, time steps) that cannot be the channels.

    Raises:
        KernelArgumentError: The number of thresholds is neither 1 nor that of the channels.
    """
    if len(theta.shape) > 1 or not theta.dense:
        raise KernelArgumentError(
            f"{theta.name}: shape must be [] or [C] and contiguous, got {list(theta.shape)}; flatten it."
        )
    if theta.size == 1:
        return Layout(1, max(1, like.size))
    dims = len(like.shape)
    if axis is None or not leading <= (axis + dims if axis < 0 else axis) < dims:
        raise KernelArgumentError(
            f"channel_axis: must be an axis of {like.name} with shape {list(like.shape)} where {theta.name} "
            f"has {theta.size} elements, got {axis}; name the axis of the channels."
        )
    if like.shape[axis] != theta.size:
        raise KernelArgumentError(
            f"{theta.name}: must have 1 or {like.shape[axis]} elements (channels of {like.name}), got "
            f"{theta.size}; pass one threshold per channel."
        )
    return Layout(theta.size, max(1, like.strides[axis]))
