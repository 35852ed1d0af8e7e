"""From a converted network to its integer form, its exchange file, and exact execution in torch."""

from __future__ import annotations

from .export import build_integer, export
from .torch_network import IntegerNetwork

__all__ = ["IntegerNetwork", "build_integer", "export"]
