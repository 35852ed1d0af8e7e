"""BatchNorm re-estimation: statistics of the activations with coding, not as they were trained."""

from __future__ import annotations

import torch
from tqdm import tqdm

from ..coded import CodedNetwork
from .moments import adjust, moments_of

__all__ = ["reestimate_batchnorm"]

_EPSILON = 1e-5  # BatchNorm's own default; a channel of no variance keeps its gain


def reestimate_batchnorm(network: CodedNetwork, normalized: list[str], progress: bool) -> None:
    """Give every normalized channel the mean and variance it has in the source, layer by layer.

    Running the BatchNorm of a layer on new statistics brings its output to the mean and variance it was
    trained to have. A folded one does it by a gain and a shift of the synapse. The target is measured in
    the source on the same data, so that a difference between calibration and training data changes nothing.
    Each layer is measured with the layers before it repaired already: one pass over the data per layer.
    """
    wanted = moments_of(network.source, network.source, network, normalized)
    for path in tqdm(normalized, desc="BatchNorm", unit="layer", disable=not progress, leave=False):
        got = moments_of(network.model, network.coded, network, [path])[path]
        target = wanted[path]
        floor = _EPSILON * target.variance.mean()
        gain = ((target.variance + floor) / (got.variance + floor)).sqrt()
        gain = torch.where(target.variance > 0, gain, torch.ones_like(gain))
        adjust(network.model.get_submodule(path), gain, target.mean - gain * got.mean)
