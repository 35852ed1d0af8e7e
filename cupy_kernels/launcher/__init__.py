"""Validated launches. Every function takes a :class:`.Queue` and arrays the caller has allocated.

Nothing is allocated, copied or synchronised here, so launches may be captured in a CUDA graph once each of
their kernels has been launched before (compiling and loading cannot be captured). Empty arrays launch none.
"""

from __future__ import annotations

from .backward import fire_backward, scratch_rows, serial_backward
from .checks import code_dtype
from .codes import decode, pack, unpack
from .integer import integer_fire
from .neuron import fire, serial
from .pool import PoolGeometry, pool_codes, pool_digits, pool_step
from .product import conv2d, linear
from .step import step

__all__ = [
    "PoolGeometry",
    "code_dtype",
    "conv2d",
    "decode",
    "fire",
    "fire_backward",
    "integer_fire",
    "linear",
    "pack",
    "pool_codes",
    "pool_digits",
    "pool_step",
    "scratch_rows",
    "serial",
    "serial_backward",
    "step",
    "unpack",
]
