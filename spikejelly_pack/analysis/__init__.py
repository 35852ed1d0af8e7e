"""What a network of spiking neurons does with its spikes: the information they carry."""

from __future__ import annotations

from .entropy import gaussian_code_entropy, gaussian_code_probabilities, miller_madow, plugin_entropy, words
from .information import DRIVES, Information, best_operating_point, neuron_information
from .layers import LayerInformation, is_neuron, network_information

__all__ = [
    "DRIVES",
    "Information",
    "LayerInformation",
    "best_operating_point",
    "gaussian_code_entropy",
    "gaussian_code_probabilities",
    "is_neuron",
    "miller_madow",
    "network_information",
    "neuron_information",
    "plugin_entropy",
    "words",
]
