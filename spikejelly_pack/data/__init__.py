"""Data that comes with the package (generated scenes) and folders in the field's formats."""

from __future__ import annotations
