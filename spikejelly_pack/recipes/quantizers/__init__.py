"""Activation quantizers that become SpikePack nodes: one file per family.

A registry: a new family is one file and one line here. A module may also describe itself with a method
``spikepack_quantizer(path, nonnegative) -> QuantizerSpec``.
"""

from __future__ import annotations

from .base import HasQuantizerSpec, QuantizerSpec, Reader, describe, is_quantizer, rounding_quantizer
from .fake_quantize import FAKE_QUANTIZERS, fake_quantize_spec, is_frozen
from .lsq import LSQActivation
from .qcfs import QCFSActivation, qcfs_spec

__all__ = [
    "QUANTIZERS",
    "HasQuantizerSpec",
    "LSQActivation",
    "QCFSActivation",
    "QuantizerSpec",
    "Reader",
    "describe",
    "is_frozen",
    "is_quantizer",
    "qcfs_spec",
    "rounding_quantizer",
]

#: Type of a module that does not describe itself -> how to read it.
QUANTIZERS: dict[type, Reader] = {
    **dict.fromkeys(FAKE_QUANTIZERS, fake_quantize_spec),
}
