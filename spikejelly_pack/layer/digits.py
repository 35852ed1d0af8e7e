"""The digit-level view that binary tools need, and storage of codes that loses nothing.

SpikingJelly's counters take a tensor for spikes only if every value is 0 or 1: decoded values and codes are
counted as dense. Its bit, boolean and sparse compressors do not check: they turn any other value into 0 or 1.
"""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based.memopt.compress import SpikeCompressor
from torch import Tensor

from ..functional import decode, unpack
from ..functional.codes import code_dtype
from ..spec.errors import DtypeError, UnsupportedError
from ..spec.parameters import NeuronParameters

__all__ = ["CodeCompressor", "binary_required", "digit_view"]


def _codes_of(values: Tensor, code: NeuronParameters, owner: str) -> Tensor:
    """Codes of decoded values ``P / Q``; refuses values that are not, bit for bit."""
    if code.tau != 2.0:
        raise UnsupportedError(
            f"{owner}: values must be codes or decoded with tau = 2, got tau={code.tau}; pass integer codes."
        )
    wide = values.detach().to(torch.float64 if values.dtype == torch.float64 else torch.float32)
    codes = (wide * code.weight_sum).round()
    exact = (codes / codes.new_full((), code.weight_sum)).to(values.dtype) == values
    if not bool((exact & (codes.abs() <= code.max_code)).all()):
        raise DtypeError(
            f"{owner}: values must be decoded values P / {code.max_code} of {code.time_steps} digits, "
            "got others; pass the output of one node with this time_steps (currents and sums are no codes)."
        )
    return codes.to(torch.int32)


def digit_view(values: Tensor, time_steps: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Digits of packed values, for tools that expect binary spikes (counters, plots, statistics).

    Args:
        values: Codes ``[*]`` (integers) or decoded values ``[*]`` (floats, tau = 2) of one node.
        time_steps: T, digits of one code (1..16).
        dtype: Type of the digits; default the type of ``values`` if floating, else torch's default.

    Returns:
        ``[T, *]`` of 0 and 1 (signed codes: -1, 0, 1), most significant digit first.

    Raises:
        DtypeError: ``values`` are no codes of ``time_steps`` digits.
    """
    code = NeuronParameters(time_steps=time_steps)
    target = dtype or (values.dtype if values.is_floating_point() else torch.get_default_dtype())
    codes = _codes_of(values, code, "digit_view") if values.is_floating_point() else values
    return unpack(codes, code.time_steps).to(target)


class CodeCompressor(SpikeCompressor):
    """SpikingJelly memory compressor for packed values: codes in one or two bytes, restored bit for bit.

    Use it in place of the bit, boolean, byte and sparse compressors, which corrupt anything but 0 and 1
    (the byte one beyond 255) without a word.

    Args:
        time_steps: T, digits of one code (1..16).
        signed: Whether the node is signed.

    Raises:
        DtypeError: On ``compress``, of values that are not codes of this node.
    """

    def __init__(self, time_steps: int, *, signed: bool = False) -> None:
        self.code = NeuronParameters(time_steps=time_steps, signed=signed)

    def compress(self, x: Tensor) -> object:
        """Store decoded values (or codes) as integers of the smallest type."""
        integers = x if not x.is_floating_point() else _codes_of(x, self.code, "CodeCompressor")
        wide = integers.to(torch.int32)
        low = -self.code.max_code if self.code.signed else 0
        if x.numel() and (int(wide.min()) < low or int(wide.max()) > self.code.max_code):
            raise DtypeError(
                f"CodeCompressor: codes must be in {low}..{self.code.max_code}, got {int(wide.min())}.."
                f"{int(wide.max())}; set time_steps and signed as the node has them."
            )
        return wide.to(code_dtype(self.code.time_steps, self.code.signed)), x.dtype

    def decompress(self, packed: object) -> Tensor:
        """Restore what was compressed, in its dtype."""
        codes, dtype = packed  # type: ignore[misc]
        if not dtype.is_floating_point:
            result: Tensor = codes.to(dtype)
            return result
        return decode(codes, self.code.time_steps, dtype=dtype)


def binary_required(values: Tensor, consumer: str = "binary_required") -> Tensor:
    """Return ``values`` if a binary tool takes them without loss, else refuse.

    Args:
        values: What is about to go to a bit compressor, a sparse kernel or a counter.
        consumer: Named in the message.

    Raises:
        DtypeError: A value is neither 0 nor 1.
    """
    if values.dtype != torch.bool and not bool(((values == 0) | (values == 1)).all()):
        raise DtypeError(
            f"{consumer}: values must be binary spikes, got others; use set_form(net, 'serial') or "
            "digit_view for counters and CodeCompressor for memory."
        )
    return values


def compressor_of(module: Any) -> SpikeCompressor | None:
    """Compressor of a SpikingJelly checkpointed module, None for other modules."""
    options = getattr(getattr(module, "checkpoint_fn", None), "keywords", {})
    found = options.get("compressor")
    return found if isinstance(found, SpikeCompressor) else None
