"""Codes and decoded values of a membrane potential, without gradients.

A code is held as a float here (exact up to 2^16 in float32), so that NaN stays NaN through every form;
integers are made where they leave the network (:func:`spikejelly_pack.functional.spikepack_code`).
"""

from __future__ import annotations

import torch

from ..spec import equations
from ..spec.parameters import NeuronParameters

__all__ = ["compute_dtype", "decode_code", "signed_code", "split_code"]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype the membrane is computed in: float32 for half precision and integers, else the input's own."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _constant(value: float, like: torch.Tensor) -> torch.Tensor:
    # On CUDA, division by a Python number multiplies by its reciprocal; by a tensor on the device it is IEEE.
    return like.new_full((), value)


def signed_code(start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    """Code ``P`` of the membrane ``v_0`` as a float of the same dtype (signed: with its sign).

    Args:
        start: Membrane potential ``v_0``, any shape.
        theta: Threshold, positive, broadcastable to ``start``, of the same dtype.
        params: Constants of the neuron.
    """
    lsb = equations.least_significant(theta, _constant(params.weight_sum, theta))
    magnitude = start.abs() if params.signed else start
    if params.tau == 2.0:
        # In place: a layer's worth of fresh memory costs more than the arithmetic on it.
        code = equations.nearest_code(
            magnitude, lsb, params.max_code, params.half, torch.Tensor.floor_, torch.Tensor.clip_
        )
    else:
        thresholds = equations.scaled_weights(params.weights, lsb)
        spikes, _ = equations.fire_digits(magnitude + lsb * params.half, thresholds)
        code = equations.charge([spike.to(start.dtype) for spike in spikes], 2.0)
        code = torch.where(start.isnan(), start, code)
    return code.mul_(start.sign()) if params.signed else code


def split_code(code: torch.Tensor, params: NeuronParameters) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Digits of a float code, and its leading digits as codes: two lists of T, most significant first.

    Prefix t is the code with the digits after t set to zero: what has been emitted by step t.
    """
    magnitude = code.abs() if params.signed else code
    prefixes = equations.code_prefixes(magnitude, params.time_steps, torch.floor)
    digits = equations.digits_of_prefixes(prefixes)
    emitted = [prefix * 2.0 ** (params.time_steps - t) for t, prefix in enumerate(prefixes, 1)]
    if not params.signed:
        return digits, emitted
    sign = code.sign()
    return [digit * sign for digit in digits], [prefix * sign for prefix in emitted]


def decode_code(code: torch.Tensor, params: NeuronParameters, spent: bool = False) -> torch.Tensor:
    """Decoded value ``d(s)`` of a float code, in [0, 1] (signed: [-1, 1]); ``spent``: overwrite the code."""
    if params.tau == 2.0:
        weight_sum = _constant(params.weight_sum, code)
        return code.div_(weight_sum) if spent else code / weight_sum
    digits, _ = split_code(code, params)
    return equations.decode_digits(digits, params.weights, _constant(params.weight_sum, code))
