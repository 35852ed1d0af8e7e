"""SpikePack for SpikingJelly: a spiking neuron whose T-step spike train is a T-digit number.

Importing this package imports nothing heavy: names are looked up in :data:`EXPORTS` on first use, so
that the numpy side (``spikejelly_pack.spec``) works where torch is not installed.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module that holds it; one line per name.
EXPORTS: dict[str, str] = {
    "BitBudgetCounter": "spikejelly_pack.bit_budget",
    "CodeCompressor": "spikejelly_pack.layer",
    "ConversionReport": "spikejelly_pack.recipes",
    "DecodeOutput": "spikejelly_pack.layer",
    "IntegerNetwork": "spikejelly_pack.integer",
    "LSQActivation": "spikejelly_pack.recipes",
    "NeuronParameters": "spikejelly_pack.spec.parameters",
    "QCFSActivation": "spikejelly_pack.recipes",
    "SpikeDelay": "spikejelly_pack.layer",
    "SpikePackError": "spikejelly_pack.spec.errors",
    "SpikePackMatmul": "spikejelly_pack.layer",
    "SpikePackMaxPool2d": "spikejelly_pack.layer",
    "SpikePackModuleRecipe": "spikejelly_pack.recipes",
    "SpikePackNetwork": "spikejelly_pack.recipes",
    "SpikePackNode": "spikejelly_pack.neuron",
    "SpikePackProduct": "spikejelly_pack.layer",
    "SpikePackQuantizedRecipe": "spikejelly_pack.recipes",
    "SpikePackRecipe": "spikejelly_pack.recipes",
    "SpikePackValueMaxPool2d": "spikejelly_pack.layer",
    "SpikePackWindow": "spikejelly_pack.layer",
    "SynapseRule": "spikejelly_pack.recipes",
    "accelerate": "spikejelly_pack.integer",
    "adapt": "spikejelly_pack.layer",
    "build_integer": "spikejelly_pack.integer",
    "convert": "spikejelly_pack.recipes",
    "decode_output": "spikejelly_pack.functional",
    "digit_view": "spikejelly_pack.layer",
    "export": "spikejelly_pack.integer",
    "finetune": "spikejelly_pack.recipes",
    "latency": "spikejelly_pack.layer",
    "read_nir": "spikejelly_pack.nir_exchange",
    "set_form": "spikejelly_pack.neuron",
    "write_nir": "spikejelly_pack.nir_exchange",
}

__all__ = sorted(EXPORTS)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # late: it costs more than all the rest of this import

        return version("spikejelly-pack")
    module = EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
