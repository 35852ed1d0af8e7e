"""BatchNorm re-estimation: statistics of the activations with coding, not as they were trained."""

from __future__ import annotations

import torch
from tqdm import tqdm

from ..coded import CodedNetwork

__all__ = ["reestimate_batchnorm"]

_EPSILON = 1e-5  # BatchNorm's own default; a channel of no variance keeps its gain


def reestimate_batchnorm(network: CodedNetwork, progress: bool) -> None:
    """Give every normalized channel the mean and variance it has in the source, layer by layer.

    Running the BatchNorm of a layer on new statistics brings its output to the mean and variance it was
    trained to have. A folded one does it by a gain and a shift of the synapse. The target is measured in
    the source on the same data, so that a difference between calibration and training data changes nothing.
    Each layer is measured with the layers before it repaired already: one pass over the data per layer. New
    statistics after quantization: Hubara et al., arXiv 2006.10518.
    """
    wanted = network.moments(network.normalized, coded=False)
    for path in tqdm(network.normalized, desc="BatchNorm", unit="layer", disable=not progress, leave=False):
        got = network.moments([path], coded=True)[path]
        target = wanted[path]
        floor = _EPSILON * target.variance.mean()
        gain = ((target.variance + floor) / (got.variance + floor)).sqrt()
        gain = torch.where(target.variance > 0, gain, torch.ones_like(gain))
        network.adjust(path, gain, target.mean - gain * got.mean)
