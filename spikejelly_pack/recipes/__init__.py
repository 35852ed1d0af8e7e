"""Conversion of trained ANNs into SpikePack networks: SpikingJelly recipes and what they are made of."""

from .calibration import CALIBRATORS
from .report import ConversionReport
from .spikepack import SpikePackRecipe

__all__ = ["CALIBRATORS", "ConversionReport", "SpikePackRecipe"]
