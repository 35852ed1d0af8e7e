"""Conversion of trained ANNs into SpikePack networks: SpikingJelly recipes and what they are made of."""

from __future__ import annotations

from .calibration import CALIBRATORS
from .report import ConversionReport
from .spikepack import SpikePackRecipe

__all__ = ["CALIBRATORS", "ConversionReport", "SpikePackRecipe"]
