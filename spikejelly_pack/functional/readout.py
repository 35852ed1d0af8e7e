"""Readout of a serial network: the weighted mean of the T steps of each window."""

from __future__ import annotations

import torch

from .. import ops
from ..spec.errors import DtypeError, ShapeError
from ..spec.parameters import NeuronParameters

__all__ = ["decode_output", "split_windows"]


def split_windows(sequence: torch.Tensor, time_steps: int, owner: str) -> torch.Tensor:
    """View ``[T*W, *]`` as ``[W, T, *]``.

    Raises:
        DtypeError: ``sequence`` is no tensor.
        ShapeError: The first axis is no multiple of T.
    """
    if not hasattr(sequence, "unflatten"):  # not isinstance: a tracer's stand-in has to get through
        raise DtypeError(
            f"{owner}: the sequence must be a torch tensor, got {type(sequence).__name__}; convert it first."
        )
    if sequence.ndim == 0 or sequence.shape[0] % time_steps or sequence.shape[0] == 0:
        length = sequence.shape[0] if sequence.ndim else None
        raise ShapeError(
            f"{owner}: the first axis must be a multiple of time_steps = {time_steps}, got {length} "
            f"(shape {tuple(sequence.shape)}); pass whole windows of T time steps."
        )
    return sequence.unflatten(0, (sequence.shape[0] // time_steps, time_steps))


def decode_output(sequence: torch.Tensor, time_steps: int, tau: float = 2.0) -> torch.Tensor:
    """Decode a serial output ``[T*W, *]`` to ``[W, *]``: ``sum_t q_t y[t] / Q`` of each window.

    The plain mean over the T steps weighs all digits alike and is wrong for codes. Equation: *decode* of
    SpikePack, arXiv 2501.14484.

    Args:
        sequence: Spikes or affine functions of them, ``[T*W, *]``.
        time_steps: T; where codes differ in length, the window L.
        tau: Base of the digits, dimensionless, 1 < tau <= 2.

    Returns:
        Decoded values ``[W, *]`` (one window: take ``[0]``), in the type of ``sequence`` if that
            is floating.

    Raises:
        DtypeError: ``sequence`` is no tensor.
        ShapeError: The first axis is no multiple of T.
    """
    params = NeuronParameters(time_steps, tau)
    windows = split_windows(sequence, params.time_steps, "decode_output")
    computed = windows.to(ops.compute_dtype(sequence.dtype))
    value = ops.charge_windows(computed, params)
    return value.to(sequence.dtype) if sequence.is_floating_point() else value
