"""Integer codes of torch tensors: encode a membrane, pack and unpack digits, decode."""

from __future__ import annotations

import torch

from .. import ops
from ..spec import bits, equations
from ..spec.errors import DtypeError, ShapeError
from ..spec.parameters import MAX_TIME_STEPS, NeuronParameters, check_time_steps

__all__ = ["code_dtype", "decode", "pack", "spikepack_code", "unpack"]

_INTEGERS = (torch.uint8, torch.uint16, torch.int8, torch.int16, torch.int32, torch.int64)


def code_dtype(time_steps: int, signed: bool = False) -> torch.dtype:
    """Smallest torch dtype of a code: uint8 / uint16, signed int8 / int16 / int32."""
    return getattr(torch, bits.code_dtype(time_steps, signed).name)


def spikepack_code(
    start: torch.Tensor, theta: torch.Tensor | float, params: NeuronParameters
) -> torch.Tensor:
    """Integer code ``P`` of each membrane: T digits in one word, most significant first.

    Args:
        start: Membrane potential ``v_0`` (without leak: ``U``), any shape, floating point.
        theta: Positive threshold, broadcastable to ``start``.
        params: Constants of the neuron.

    Returns:
        Codes of the same shape in :func:`code_dtype`. For tau < 2 the word holds the greedy digits;
        its value as a number is not proportional to the decoded value.

    Raises:
        DtypeError: ``start`` is not floating point or holds NaN, which no integer can express.
    """
    if not start.is_floating_point():
        raise DtypeError(
            f"spikepack_code: start must be floating point, got {start.dtype}; convert it first."
        )
    start = start.detach().to(ops.compute_dtype(start.dtype))
    threshold = torch.as_tensor(theta, dtype=start.dtype, device=start.device).detach()
    code = ops.signed_code(start, threshold, params)
    if not torch.compiler.is_compiling() and bool(code.isnan().any()):
        raise DtypeError("spikepack_code: start must not hold NaN, got some; no integer code stands for NaN.")
    return code.to(torch.int32).to(code_dtype(params.time_steps, params.signed))


def pack(digits: torch.Tensor, signed: bool = False) -> torch.Tensor:
    """Pack digits ``[T, *]`` into codes ``[*]``, most significant first.

    Args:
        digits: 0 and 1 (signed: -1, 0, 1 with one sign per code), any dtype.
        signed: Whether digits may be negative.

    Raises:
        ShapeError: The first axis is not 1..16 long.
        DtypeError: A value is no digit.
    """
    if digits.ndim == 0 or not 1 <= digits.shape[0] <= MAX_TIME_STEPS:
        raise ShapeError(
            f"pack: digits must have 1..{MAX_TIME_STEPS} time steps on the first axis, "
            f"got shape {tuple(digits.shape)}; pack one window at a time."
        )
    wide = digits.to(torch.int32)
    low = -1 if signed else 0
    if bool(((wide < low) | (wide > 1) | (wide != digits)).any()):
        allowed = "-1, 0 or 1" if signed else "0 or 1"
        raise DtypeError(f"pack: digits must be {allowed}, got other values; pass the spikes of one node.")
    code = equations.charge(wide.unbind(0), 2)
    return code.to(code_dtype(digits.shape[0], signed))


def _wide(codes: torch.Tensor, steps: int, owner: str) -> torch.Tensor:
    if codes.dtype not in _INTEGERS:
        raise DtypeError(f"{owner}: codes must be integers, got {codes.dtype}; encode the membrane first.")
    wide = codes.to(torch.int64)
    # Python's integers: int64 does not hold the magnitude of its smallest value.
    largest = max(-int(wide.min()), int(wide.max())) if wide.numel() else 0
    if largest >= 1 << steps:
        raise DtypeError(f"{owner}: codes must fit {steps} digits, got {largest}; raise time_steps.")
    return wide


def unpack(codes: torch.Tensor, time_steps: int) -> torch.Tensor:
    """Unpack codes ``[*]`` into digits ``[T, *]`` (int8), most significant first; a sign goes to every digit.

    Raises:
        DtypeError: ``codes`` are no integers or do not fit ``time_steps`` digits.
    """
    steps = check_time_steps(time_steps, "unpack")
    wide = _wide(codes, steps, "unpack")
    magnitude, sign = wide.abs(), wide.sign()
    digits = [((magnitude >> shift) & 1) * sign for shift in range(steps - 1, -1, -1)]
    return torch.stack(digits).to(torch.int8)


def decode(
    codes: torch.Tensor, time_steps: int, tau: float = 2.0, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Decoded value ``d(s)`` of integer codes, in [0, 1] (signed: [-1, 1]).

    Args:
        codes: Integer codes, any shape.
        time_steps: T, digits of each code.
        tau: Base of the digits.
        dtype: Floating dtype of the result; the default dtype of torch when None.
    """
    params = NeuronParameters(time_steps, tau, signed=True)
    wide = _wide(codes, params.time_steps, "decode")
    target = dtype or torch.get_default_dtype()
    return ops.decode_code(wide.to(ops.compute_dtype(target)), params).to(target)
