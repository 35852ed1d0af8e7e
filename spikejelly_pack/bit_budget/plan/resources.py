"""What a budget can be about: the cost of every choice, by name.

A registry: a new resource is one function and one line in :data:`RESOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...spec.budget import SynapticCost, word_bits
from ...spec.energy import EnergyTable, load_energy_table, synaptic_energy
from .allocate import Layer, Problem
from .structure import Group, Structure

__all__ = ["ENERGY", "MEMORY", "RESOURCES", "SACE", "Resource", "energy_resource", "problem_of"]

SACE, MEMORY, ENERGY = "sace", "memory", "energy"


@dataclass(frozen=True)
class Resource:
    """One kind of budget.

    Attributes:
        unit: For messages.
        operation: Cost of one synaptic operation as given (its bits are those of the choice).
        weights: Cost of a number of weights of so many bits.
        codes: Cost of holding so many values of one group, words of so many bits.
    """

    unit: str
    operation: Callable[[SynapticCost], float]
    weights: Callable[[int, int], float]
    codes: Callable[[int, int], float]


def _nothing(*_: object) -> float:
    return 0.0


def energy_resource(table: EnergyTable, rate: str = "digit") -> Resource:
    """Arithmetic energy, with the spikes counted in the uniform network of the same T."""

    def energy(operation: SynapticCost) -> float:
        return synaptic_energy(operation, table, rate)

    return Resource(f"{table.unit} per inference", energy, _nothing, _nothing)


#: Name -> resource. S-ACE: ``n T b_w b_s``, a sign counted once (:mod:`spikejelly_pack.spec.budget`). Memory:
#: bits of the weights, and of one word for every value that nodes emit. Energy: the table's arithmetic, digit
#: by digit.
RESOURCES: dict[str, Resource] = {
    SACE: Resource("S-ACE per inference", lambda operation: operation.s_ace, _nothing, _nothing),
    MEMORY: Resource("bits of weights and codes", _nothing, lambda n, b: n * b, lambda n, b: n * b),
    ENERGY: energy_resource(load_energy_table()),
}


def problem_of(
    structure: Structure,
    steps: Sequence[int],
    bits: Sequence[int],
    resource: Resource,
    group_loss: np.ndarray,
    layer_loss: Sequence[np.ndarray],
) -> Problem:
    """The allocation problem of one resource.

    Args:
        structure: What can be chosen.
        steps: Values of T on offer.
        bits: Weight widths on offer.
        resource: What is limited.
        group_loss: ``[G, T]``.
        layer_loss: ``[B]`` per layer.
    """
    layers = []
    for place, loss in zip(structure.layers, layer_loss, strict=True):
        cost = np.array(
            [
                [
                    sum(resource.operation(_widened(by_time[t], b)) for by_time in place.operations)
                    + resource.weights(int(np.prod(place.shape)), b)
                    for b in bits
                ]
                for t in (steps if place.group is not None else steps[:1])
            ]
        )
        layers.append(Layer(place.group, loss, cost))
    for group, by_time in structure.others:
        offered = steps if group is not None else steps[:1]
        cost = np.array([[resource.operation(by_time[t])] for t in offered])
        layers.append(Layer(group, np.zeros(1), cost))
    alone = np.array([[_held(resource, group, t) for t in steps] for group in structure.groups])
    return Problem(np.asarray(group_loss, np.float64), tuple(layers), alone)


def _held(resource: Resource, group: Group, t: int) -> float:
    return resource.codes(group.values, word_bits(t, 1, group.signed))


def _widened(operation: SynapticCost, bits: int) -> SynapticCost:
    """The operation with other weight bits; its events stay, they are those of its input."""
    first, weight = operation.operands
    return replace(operation, operands=(first, replace(weight, bits=bits)))
