"""Layers that are exact in every form, and ``adapt``, which puts them where a network needs them."""

from __future__ import annotations

from .adapt import AdaptReport, Replacement, adapt
from .balance import Delay, latency
from .dataflow import Finding
from .delay import SpikeDelay
from .digits import CodeCompressor, binary_required, digit_view
from .handlers import handles
from .max_pool import SpikePackMaxPool2d, SpikePackValueMaxPool2d
from .product import SpikePackMatmul, SpikePackProduct
from .readout import DecodeOutput, decode_output
from .temporal import SpikePackWindow, TemporalWindow
from .window import FormModule, WindowModule

__all__ = [
    "AdaptReport",
    "CodeCompressor",
    "DecodeOutput",
    "Delay",
    "Finding",
    "FormModule",
    "Replacement",
    "SpikeDelay",
    "SpikePackMatmul",
    "SpikePackMaxPool2d",
    "SpikePackProduct",
    "SpikePackValueMaxPool2d",
    "SpikePackWindow",
    "TemporalWindow",
    "WindowModule",
    "adapt",
    "binary_required",
    "decode_output",
    "digit_view",
    "handles",
    "latency",
]
