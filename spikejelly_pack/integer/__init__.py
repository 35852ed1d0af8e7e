"""From a converted network to its integer form, its exchange file, and exact execution in torch."""

from __future__ import annotations

from .accelerate import AcceleratedModel, AcceleratedNetwork, accelerate
from .export import build_integer, export
from .torch_network import IntegerNetwork

__all__ = [
    "AcceleratedModel",
    "AcceleratedNetwork",
    "IntegerNetwork",
    "accelerate",
    "build_integer",
    "export",
]
