"""Codes of the demo's trained digits network, as stimulus of the layers of ``spikepack bench fpga``."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikingjelly.activation_based import ann2snn

from spikejelly_pack import SpikePackRecipe, build_integer
from spikejelly_pack.cli.demo.digits import load, train
from spikejelly_pack.spec.execute import encode, run_packed

from .fpga_trains import Array

__all__ = ["digits_codes"]


def digits_codes(bits: int, n_in: int, samples: int, epochs: int = 8) -> dict[str, Array]:
    """Codes ``[samples, n_in]`` of every hidden layer on test images, by layer and density of set bits.

    Args:
        bits: T.
        n_in: Codes taken of a layer, evenly spaced.
        samples: Test images.
        epochs: Of training.
    """
    data = load()
    used = data.train_inputs[:512]
    ann = train(data, seed=0, epochs=epochs)
    recipe = SpikePackRecipe(used.split(128), time_steps=bits, progress=False)
    network = build_integer(ann2snn.Converter(recipe).convert(ann), used)
    (entry,) = network.inputs
    images: Any = data.test_inputs[:samples].numpy()
    values = run_packed(network, encode(entry, images))
    found: dict[str, Array] = {}
    for op in network.neurons:
        codes = values[op.name].reshape(samples, -1)
        if codes.shape[1] >= n_in:
            codes = codes[:, np.linspace(0, codes.shape[1] - 1, n_in).astype(int)]
            density = float(((codes[..., None].astype(int) >> np.arange(bits)) & 1).mean())
            found[f"digits, {op.name} ({density:.0%})"] = codes
    return found
