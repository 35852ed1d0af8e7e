"""Validated launches. Every function takes a :class:`.Queue` and arrays the caller has allocated.

Nothing is allocated, copied or synchronised here, so launches may be captured in a CUDA graph once each of
their kernels has been launched before (compiling and loading cannot be captured). Empty arrays launch none.
"""

from __future__ import annotations

from .checks import code_dtype
from .codes import decode, pack, unpack
from .neuron import fire, serial
from .step import step

__all__ = ["code_dtype", "decode", "fire", "pack", "serial", "step", "unpack"]
