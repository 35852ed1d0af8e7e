"""SpikePack as a SpikingJelly neuron. Importing this registers it in SpikingJelly's neuron registry."""

from __future__ import annotations

from spikingjelly.activation_based.distributed.vision import register_neuron_class

from .form import set_form
from .spikepack import SpikePackNode

__all__ = ["SpikePackNode", "set_form"]

register_neuron_class(SpikePackNode)
