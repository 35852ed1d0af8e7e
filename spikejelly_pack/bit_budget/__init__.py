"""Bit Budget: what a network costs in time steps, weight bits and spike bits."""

from __future__ import annotations

from .counter import BitBudgetCounter
from .measure import measure
from .memory import Memory
from .report import BudgetReport

__all__ = ["BitBudgetCounter", "BudgetReport", "Memory", "measure"]
