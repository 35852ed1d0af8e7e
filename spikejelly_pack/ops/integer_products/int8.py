"""int8 x int8 matrix products with int32 sums: ``torch._int_mm``.

Codes of up to 7 digits (and signed ones) are int8 as they stand. Codes of 8 digits are uint8; where signed
bytes only are multiplied (on CUDA, and on CPUs by older releases of torch) they are stored as
``P ^ 0x80 = P - 128``, the sum is raised by ``128 * sum_k w``, and padding holds the stored code 0, which is
-128. Longer codes are split to base 128, one product per piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..exactness import int8_pairs_saturate
from .base import Kernel, Product, rows_of

__all__ = ["Int8Route", "saturation"]

_INT32 = 2**31 - 1


def saturation(product: Product, device: torch.device) -> str | None:
    """Why a CPU's int8 product may saturate: without VNNI, pairs of products are added in int16."""
    if device.type != "cpu":
        return None
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", None)
    if has_vnni is not None and has_vnni():
        return None
    if int8_pairs_saturate(255, product.largest_weight):
        return (
            f"this CPU adds int8 products in int16, which saturates for weights of {product.largest_weight}"
        )
    return None


@cache
def _takes_unsigned_bytes() -> bool:
    """Whether this torch multiplies uint8 codes on a CPU."""
    codes, weight = torch.full((1, 2), 255, dtype=torch.uint8), torch.ones(2, 1, dtype=torch.int8)
    try:
        return int(torch.ops.aten._int_mm(codes, weight)) == 510
    except RuntimeError:
        return False


@dataclass(frozen=True)
class Piece:
    """One int8 (or uint8) factor of the codes: ``P = sum 128^i piece_i``, or the whole code."""

    take: Callable[[Tensor], Tensor]
    factor: int
    zero: int = 0


def _whole(codes: Tensor, dtype: torch.dtype) -> Tensor:
    return codes if codes.dtype is dtype else codes.view(dtype)


def _offset(codes: Tensor) -> Tensor:
    return (codes ^ 0x80).view(torch.int8)


def _digits(codes: Tensor, shift: int, last: bool) -> Tensor:
    # The last piece keeps the sign: an arithmetic shift rounds down, and the other pieces are never negative.
    return (codes >> shift if last else (codes >> shift) & 127).to(torch.int8)


def _pieces(product: Product, unsigned_bytes: bool) -> list[Piece]:
    low, high = product.low, product.high
    if low >= -128 and high <= 127:
        return [Piece(partial(_whole, dtype=torch.int8), 1)]
    if low >= 0 and high <= 255:
        return [Piece(partial(_whole, dtype=torch.uint8), 1) if unsigned_bytes else Piece(_offset, 1, -128)]
    count = 1
    while product.most >= 128**count:
        count += 1
    return [Piece(partial(_digits, shift=7 * i, last=i == count - 1), 128**i) for i in range(count)]


def _multiple(size: int, unit: int) -> int:
    return -size % unit


@dataclass(frozen=True)
class Int8Route:
    """``torch._int_mm``.

    Attributes:
        unsigned_bytes: Whether a CPU is given uint8 codes as they are, if torch takes them; CUDA never is.
    """

    name: str = "int8"
    unsigned_bytes: bool = True
    devices: tuple[str, ...] = ("cpu", "cuda")

    def refuses(self, product: Product, device: torch.device) -> str | None:
        if product.kind == "grouped conv":
            return "groups need one product each"
        if int(product.weight.min()) < -128 or int(product.weight.max()) > 127:
            return f"weights reach {product.largest_weight}, beyond int8"
        if product.weight_sum * max(product.most, 128) > _INT32:
            return f"sums reach {product.magnitude}, beyond int32"
        if device.type == "cpu" and product.weight[0].numel() == 1:
            # Older releases return without having written such sums.
            return "sums of one term are no matrix product to every torch"
        return saturation(product, device)

    def prepare(self, product: Product, device: torch.device) -> Kernel:
        weight = product.weight
        size = None if product.window is None else (int(weight.shape[2]), int(weight.shape[3]))
        flat = weight if size is None else weight.permute(0, 2, 3, 1).flatten(1)
        cuda = device.type == "cuda"
        pieces = _pieces(product, self.unsigned_bytes and not cuda and _takes_unsigned_bytes())
        outputs, inner = flat.shape
        padded = (0, _multiple(inner, 8), 0, _multiple(outputs, 8)) if cuda else (0, 0, 0, 0)
        stored = F.pad(flat, padded).to(torch.int8).to(device)
        # cuBLASLt wants the right factor column by column, oneDNN row by row.
        matrix = stored.t() if cuda else stored.t().contiguous()
        lift = (128 * flat.sum(1)).to(torch.int32).to(device)

        def multiply(rows: Tensor, piece: Piece) -> Tensor:
            count = rows.shape[0]
            if cuda:
                rows = F.pad(rows, (0, padded[1], 0, max(_multiple(count, 8), 17 - count)))
            out = torch.ops.aten._int_mm(rows, matrix)[:count, :outputs]
            return out + lift if piece.zero else out

        def compute(codes: Tensor) -> Tensor:
            total: Tensor | None = None
            grid = (0, 0, 0)
            for piece in pieces:
                part = piece.take(codes)
                if size is not None and product.window is not None:
                    part, grid = rows_of(part, size, product.window, piece.zero)
                sums = multiply(part, piece)
                total = sums if total is None else total + sums * piece.factor
            assert total is not None
            return total if size is None else total.reshape(*grid, outputs).permute(0, 3, 1, 2)

        return compute
