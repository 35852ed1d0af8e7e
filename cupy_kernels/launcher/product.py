"""Launch products of codes and 8-bit weights on the tensor cores, the integer fire fused behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arrays import Array
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import C_TYPES, THREADS, Variant
from .checks import code_dtype, optional, required
from .grid import index_type

__all__ = ["MAX_DEPTH", "conv2d", "linear"]

TILE_ROWS, _MAX_BLOCKS_Y = 128, 65535
# Outputs of a block's row: the wide tile reads less from shared memory for every product, but many are needed
# to keep a large card busy.
_NARROW, _WIDE, _BUSY = 64, 128, 256
#: Terms of a sum that cannot leave 32 bits: 255 * 128 * MAX_DEPTH < 2^31.
MAX_DEPTH = (2**31 - 1) // (255 * 128)
_I32, _INPUTS = ("int32",), ("uint8", "int8")
_NO_IMAGE = {
    "channels": 1, "height": 1, "width": 1, "out_height": 1, "out_width": 1, "kernel_x": 1, "stride_y": 1,
    "stride_x": 1, "pad_y": 0, "pad_x": 0, "dilation_y": 1, "dilation_x": 1,
}  # fmt: skip


@dataclass(frozen=True)
class _Epilogue:
    """What becomes of the sums."""

    bias: Array | None
    theta: Array | None
    time_steps: int
    signed: bool
    half: bool

    @classmethod
    def of(
        cls, queue: Queue, columns: int, bias: Any, theta: Any, time_steps: int, signed: bool, half: bool
    ) -> _Epilogue:
        offset = optional(queue, "bias", bias, _I32)
        threshold = optional(queue, "theta", theta, _I32)
        for array, sizes in ((offset, (columns,)), (threshold, (1, columns))):
            if array is not None and (len(array.shape) > 1 or array.size not in sizes):
                raise KernelArgumentError(
                    f"{array.name}: must have {' or '.join(map(str, sizes))} elements for {columns} output "
                    f"channels, got shape {list(array.shape)}; pass one per channel."
                )
        if threshold is not None and not 1 <= time_steps <= 16:
            raise KernelArgumentError(
                f"time_steps: must be in 1..16, got {time_steps}; a code has 1..16 digits."
            )
        return cls(offset, threshold, time_steps, signed, half)

    @property
    def out_dtype(self) -> str:
        return "int32" if self.theta is None else code_dtype(self.time_steps, self.signed)

    @property
    def values(self) -> dict[str, object]:
        return {
            "bias": 0 if self.bias is None else self.bias.pointer,
            "theta": 0 if self.theta is None else self.theta.pointer,
            "theta_step": int(self.theta is not None and self.theta.size > 1),
            "half": int(self.half),
            "max_code": (1 << self.time_steps) - 1 if self.theta is not None else 0,
        }


def _plain(array: Array, shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """Require a shape, and the axes in memory in ``order`` (outermost first)."""
    count, strides = 1, [0] * len(shape)
    for axis in reversed(order):
        strides[axis], count = count, count * shape[axis]
    wanted = Array(array.name, array.pointer, shape, tuple(strides), array.dtype, array.device)
    if not array.same_places(wanted):
        raise KernelArgumentError(
            f"{array.name}: must have shape {list(shape)} and strides {strides}, got {list(array.shape)} and "
            f"{list(array.strides)}; lay images out channels last, matrices contiguous."
        )
    return array


def _is_wide(rows: int, columns: int) -> bool:
    filled = columns % _WIDE == 0 or columns % _WIDE > _NARROW
    return filled and -(-rows // TILE_ROWS) * -(-columns // _WIDE) >= _BUSY


def _launch(
    queue: Queue, codes: Array, weight: Array, out: Array, end: _Epilogue, sizes: tuple[int, int, int],
    image: dict[str, int], convolution: bool,
) -> None:  # fmt: skip
    rows, columns, depth = sizes
    if depth > MAX_DEPTH:
        raise KernelArgumentError(
            f"weight: at most {MAX_DEPTH} terms a sum fit 32 bits, got {depth}; split the layer."
        )
    if rows == 0 or columns == 0:
        return
    run = image["channels"] if convolution else depth
    together = run % 16 == 0 and codes.pointer % 16 == 0 and weight.pointer % 16 == 0
    types = (C_TYPES[codes.dtype], C_TYPES[out.dtype], end.theta is not None, bool(end.signed), convolution)
    index = index_type(codes.size, out.size, weight.size, rows + TILE_ROWS)
    wide = index == "u32" and _is_wide(rows, columns)  # wide tiles with long indices would spill on Turing
    variant = Variant("product", (*types, 16 if together else 1, wide, index))
    blocks = (-(-rows // TILE_ROWS), -(-columns // (_WIDE if wide else _NARROW)), 1)
    if blocks[1] > _MAX_BLOCKS_Y:
        raise KernelArgumentError(
            f"weight: at most {_MAX_BLOCKS_Y * _NARROW} outputs, got {columns}; split it."
        )
    pointers = {"codes": codes.pointer, "weight": weight.pointer, "out": out.pointer}
    numbers = {"rows": rows, "columns": columns, "depth": depth, **image}
    queue.launch(variant, blocks, THREADS, pointers | numbers | end.values)


def linear(
    queue: Queue,
    codes: Any,
    weight: Any,
    out: Any,
    *,
    theta: Any = None,
    time_steps: int = 8,
    bias: Any = None,
    signed: bool = False,
    half: bool = True,
) -> None:
    """``out = fire(codes @ weight.T + bias)`` in integers, exact.

    Args:
        queue: Where to run.
        codes: uint8 (or int8 of a signed node) ``[M, K]``, contiguous.
        weight: int8 ``[N, K]``, contiguous.
        out: Out ``[M, N]``: codes in the dtype of :func:`.code_dtype`; int32 sums where ``theta`` is None.
        theta: Integer thresholds, positive, int32 ``[1]`` or ``[N]``; None: no fire, the sums come out.
        time_steps: T of the output codes.
        bias: int32 ``[N]``; None is zero.
        signed: Whether the output node is signed.
        half: Whether to round half up (else floor).
    """
    left = required(queue, "codes", codes, _INPUTS)
    right = required(queue, "weight", weight, ("int8",))
    if len(left.shape) != 2 or len(right.shape) != 2 or left.shape[1] != right.shape[1]:
        raise KernelArgumentError(
            f"weight: must be [N, K] beside codes [M, K], got {list(right.shape)} and {list(left.shape)}."
        )
    (rows, depth), columns = left.shape, right.shape[0]
    end = _Epilogue.of(queue, columns, bias, theta, time_steps, signed, half)
    result = required(queue, "out", out, (end.out_dtype,))
    for array, shape in ((left, (rows, depth)), (right, (columns, depth)), (result, (rows, columns))):
        _plain(array, shape, (0, 1))
    _launch(queue, left, right, result, end, (rows, columns, depth), dict(_NO_IMAGE), False)


def conv2d(
    queue: Queue,
    codes: Any,
    weight: Any,
    out: Any,
    *,
    theta: Any = None,
    time_steps: int = 8,
    bias: Any = None,
    signed: bool = False,
    half: bool = True,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> None:
    """Convolution of codes with 8-bit weights, then integer fire; images and weights channels last.

    Args:
        queue: Where to run.
        codes: uint8 or int8 ``[B, C, H, W]``, channels last; what lies in the padding is code 0.
        weight: int8 ``[N, C, kh, kw]``, channels last; one group.
        out: Out ``[B, N, H', W']``, channels last; dtype as in :func:`linear`.
        theta: As in :func:`linear`.
        time_steps: As in :func:`linear`.
        bias: As in :func:`linear`.
        signed: As in :func:`linear`.
        half: As in :func:`linear`.
        stride: Step from patch to patch (height, width).
        padding: Rows and columns of code 0 around the image.
        dilation: Step from tap to tap.
    """
    images = required(queue, "codes", codes, _INPUTS)
    filters = required(queue, "weight", weight, ("int8",))
    if len(images.shape) != 4 or len(filters.shape) != 4 or images.shape[1] != filters.shape[1]:
        raise KernelArgumentError(
            f"weight: must be [N, C, kh, kw] beside codes [B, C, H, W], got {list(filters.shape)} and "
            f"{list(images.shape)}; grouped convolutions have no kernel."
        )
    (batch, channels, *image), (columns, _, *kernel) = images.shape, filters.shape
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise KernelArgumentError(
            f"stride: strides and dilations must be positive and paddings not negative, got {stride}, "
            f"{dilation}, {padding}; use the arguments of Conv2d."
        )
    end = _Epilogue.of(queue, columns, bias, theta, time_steps, signed, half)
    result = required(queue, "out", out, (end.out_dtype,))
    small = [
        (size + 2 * pad - step * (taps - 1) - 1) // jump + 1
        for size, pad, step, taps, jump in zip(image, padding, dilation, kernel, stride, strict=True)
    ]
    nhwc = (0, 2, 3, 1)
    shapes = (images, images.shape), (filters, filters.shape), (result, (batch, columns, *small))
    for array, shape in shapes:
        _plain(array, shape, nhwc)
    numbers = {
        "channels": channels, "height": image[0], "width": image[1], "out_height": small[0],
        "out_width": small[1], "kernel_x": kernel[1], "stride_y": stride[0], "stride_x": stride[1],
        "pad_y": padding[0], "pad_x": padding[1], "dilation_y": dilation[0], "dilation_x": dilation[1],
    }  # fmt: skip
    sizes = (batch * small[0] * small[1], columns, kernel[0] * kernel[1] * channels)
    # One tap on every pixel: the image is the left matrix, and no patch need be looked for.
    dense = kernel == [1, 1] and tuple(stride) == (1, 1) and tuple(padding) == (0, 0)
    _launch(queue, images, filters, result, end, sizes, dict(_NO_IMAGE) if dense else numbers, not dense)
