"""Conversion of trained ANNs into SpikePack networks: SpikingJelly recipes and what they are made of."""

from __future__ import annotations

from .calibration import CALIBRATORS
from .quantized import QuantizedReport, SpikePackQuantizedRecipe
from .quantizers import QUANTIZERS, LSQActivation, QCFSActivation, QuantizerSpec
from .convert import convert
from .report import ConversionReport
from .spikepack import SpikePackRecipe
from .tree import ModuleReport, SpikePackModuleRecipe, SpikePackNetwork, SynapseRule

__all__ = [
    "CALIBRATORS",
    "ConversionReport",
    "LSQActivation",
    "ModuleReport",
    "QCFSActivation",
    "QUANTIZERS",
    "QuantizedReport",
    "QuantizerSpec",
    "SpikePackModuleRecipe",
    "SpikePackNetwork",
    "SpikePackQuantizedRecipe",
    "SpikePackRecipe",
    "SynapseRule",
    "convert",
]
