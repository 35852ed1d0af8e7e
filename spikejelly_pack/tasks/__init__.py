"""Tasks: models by name, data folders, metrics, saved conversions and plots of them."""

from __future__ import annotations
