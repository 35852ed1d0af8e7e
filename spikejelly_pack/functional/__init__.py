"""Explicit-state functions of SpikePack: pure, no module state, every tensor passed in and handed back."""

from __future__ import annotations

from ..spec.parameters import NeuronParameters
from .codes import code_dtype, decode, pack, spikepack_code, unpack
from .readout import decode_output
from .spikepack import (
    SpikePackState,
    membrane_sequence,
    residual_membrane,
    spikepack_multi_step,
    spikepack_packed,
    spikepack_step,
    spikepack_windows,
)

__all__ = [
    "NeuronParameters",
    "SpikePackState",
    "code_dtype",
    "decode",
    "decode_output",
    "membrane_sequence",
    "pack",
    "residual_membrane",
    "spikepack_code",
    "spikepack_multi_step",
    "spikepack_packed",
    "spikepack_step",
    "spikepack_windows",
    "unpack",
]
