"""Direct training: networks with a neuron chosen by its class path, a plain loop, and the Lightning side.

What needs no Lightning: :func:`build_network` (network by name, neuron by class path), :func:`train_epochs`
and :func:`evaluate` (a plain torch loop for benchmarks). ``spikepack train`` runs the Lightning side.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module that holds it; one line per name.
EXPORTS: dict[str, str] = {
    "NETWORKS": "spikejelly_pack.train.networks",
    "Classifier": "spikejelly_pack.train.classifier",
    "NeuronFactory": "spikejelly_pack.train.neurons",
    "build_network": "spikejelly_pack.train.networks",
    "count_spikes": "spikejelly_pack.train.firing",
    "evaluate": "spikejelly_pack.train.loop",
    "load_network": "spikejelly_pack.train.saved",
    "save_network": "spikejelly_pack.train.saved",
    "train_epochs": "spikejelly_pack.train.loop",
}

__all__ = sorted(EXPORTS)


def __getattr__(name: str) -> Any:
    module = EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
