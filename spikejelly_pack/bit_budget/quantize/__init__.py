"""Weight quantization for 1 to 16 bits: symmetric per channel, post-training or learned (LSQ)."""

from __future__ import annotations

from .network import OTHERS, bake_weights, quantize_weights, quantized_layers, quantizer_of
from .quantizers import (
    EXPORTABLE_BITS,
    MAX_BITS,
    WEIGHT_QUANTIZERS,
    BinaryWeight,
    SymmetricWeight,
    TernaryWeight,
    WeightQuantizer,
    check_bits,
)

__all__ = [
    "EXPORTABLE_BITS",
    "MAX_BITS",
    "OTHERS",
    "WEIGHT_QUANTIZERS",
    "BinaryWeight",
    "SymmetricWeight",
    "TernaryWeight",
    "WeightQuantizer",
    "bake_weights",
    "check_bits",
    "quantize_weights",
    "quantized_layers",
    "quantizer_of",
]
