"""Codes to plan with, and the part of the hardware that holds the rest up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array

from .cycles import loads
from .design import Design
from .forms import DENSITY

__all__ = ["DENSITY", "assumed", "busy", "slowest"]


def assumed(network: Network) -> dict[str, Array]:
    """Input codes ``[N, *shape]`` to plan with where there are none: digits set at random."""
    chance = np.random.default_rng(0)
    codes: dict[str, Array] = {}
    for op in network.inputs:
        bits = chance.random((4, op.time_steps, *op.shape)) < DENSITY
        places = 1 << np.arange(op.time_steps)
        codes[op.name] = np.einsum("nt...,t->n...", bits.astype(np.int64), places)
    return codes


def busy(design: Design, codes: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Mean cycles per sample of each population by what takes them.

    Args:
        design: The hardware.
        codes: Input codes ``[N, *shape]`` by name.

    Returns:
        ``add`` (operations on membranes), ``scan`` (events found) and ``fire`` (beats of the output) by name.
    """
    return {
        name: {
            "add": float(load.operations.mean()),
            "scan": float(load.slots.mean()),
            "fire": float(load.firing.mean()),
        }
        for name, load in loads(design, codes).items()
    }


def slowest(design: Design, codes: Mapping[str, Array]) -> tuple[str, str, float]:
    """Population and part of it that takes the most cycles per sample, and how many."""
    parts = [
        (cycles, name, part) for name, entry in busy(design, codes).items() for part, cycles in entry.items()
    ]
    cycles, name, part = max(parts, key=lambda one: one[0])
    return name, part, cycles
