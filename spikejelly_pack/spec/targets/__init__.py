"""Targets: the limits of one device per file, as data, and the check of a network against them.

They live in this leaf because the exporter (beside torch) and the Lava side both read them. To add a device,
put one JSON file into ``devices/``; its name is the target's name.
"""

from __future__ import annotations

from .check import TargetReport, check_target
from .target import Target, load_target, target_names

__all__ = ["Target", "TargetReport", "check_target", "load_target", "target_names"]
