"""Conversion of trained ANNs into SpikePack networks: SpikingJelly recipes and what they are made of."""

from __future__ import annotations

from .calibration import CALIBRATORS
from .convert import convert
from .finetune import FinetuneEpoch, finetune
from .improve import IMPROVERS
from .quantized import QuantizedReport, SpikePackQuantizedRecipe
from .quantizers import QUANTIZERS, LSQActivation, QCFSActivation, QuantizerSpec
from .report import ConversionReport
from .spikepack import SpikePackRecipe
from .stored_graph import load_graph, save_graph
from .tree import ModuleReport, SpikePackModuleRecipe, SpikePackNetwork, SynapseRule

__all__ = [
    "CALIBRATORS",
    "IMPROVERS",
    "QUANTIZERS",
    "ConversionReport",
    "FinetuneEpoch",
    "LSQActivation",
    "ModuleReport",
    "QCFSActivation",
    "QuantizedReport",
    "QuantizerSpec",
    "SpikePackModuleRecipe",
    "SpikePackNetwork",
    "SpikePackQuantizedRecipe",
    "SpikePackRecipe",
    "SynapseRule",
    "convert",
    "finetune",
    "load_graph",
    "save_graph",
]
