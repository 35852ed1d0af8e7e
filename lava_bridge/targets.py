"""Limits of devices and the check of a network against them, under the bridge's name.

The data and the check live in :mod:`spikejelly_pack.spec.targets`, which the exporter reads too.
"""

from __future__ import annotations

from spikejelly_pack.spec.targets import Target, TargetReport, check_target, load_target, target_names

__all__ = ["Target", "TargetReport", "check_target", "load_target", "target_names"]
