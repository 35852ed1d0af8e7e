"""Bit Budget: what a network costs in time steps, weight bits and spike bits."""

from __future__ import annotations

from .compare import Comparison, compare, lif_twin
from .counter import BitBudgetCounter
from .integer import measure_integer
from .measure import measure
from .memory import Memory
from .report import BudgetReport

__all__ = [
    "BitBudgetCounter",
    "BudgetReport",
    "Comparison",
    "Memory",
    "compare",
    "lif_twin",
    "measure",
    "measure_integer",
]
