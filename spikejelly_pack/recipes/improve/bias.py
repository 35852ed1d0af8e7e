"""Bias correction: coding shifts the mean of what a synapse puts out; its bias takes the shift back."""

from __future__ import annotations

import torch
from tqdm import tqdm

from ..coded import CodedNetwork

__all__ = ["correct_bias"]


def correct_bias(network: CodedNetwork, progress: bool) -> None:
    """Give every output channel of every synapse the source's mean, layer by layer.

    Each layer is measured with the layers before it corrected already: one pass over the data per layer.
    Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction (ICCV 2019, arXiv
    1906.04721), section 4.2, here with data and for the coding of the activations.
    """
    wanted = network.moments(network.synapses, coded=False)
    for path in tqdm(
        network.synapses, desc="bias correction", unit="layer", disable=not progress, leave=False
    ):
        got = network.moments([path], coded=True)[path]
        shift = wanted[path].mean - got.mean
        network.adjust(path, torch.ones_like(shift), shift)
