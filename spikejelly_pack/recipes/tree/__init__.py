"""Conversion of a module tree that runs as it is: spikes are put at the inputs of its synaptic operations.

No tracing: while the network runs, a torch function mode sees every operation. ``session`` calls them,
``calibrating`` decides once which inputs need a node, ``network`` runs the result, ``rules`` knows the
operations.
"""

from __future__ import annotations

from .network import SpikePackNetwork
from .recipe import SpikePackModuleRecipe
from .report import ModuleReport, SiteEntry
from .rules import SOMA, SynapseRule

__all__ = ["SOMA", "ModuleReport", "SiteEntry", "SpikePackModuleRecipe", "SpikePackNetwork", "SynapseRule"]
