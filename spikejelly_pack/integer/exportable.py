"""Which SpikePack nodes have an integer form, and what their leak is there."""

from __future__ import annotations

from ..spec.errors import UnsupportedError
from ..spec.graph.neuron import MAX_SHIFT
from ..spec.parameters import NeuronParameters

__all__ = ["check_exportable", "leak_shift"]


def check_exportable(name: str, parameters: NeuronParameters) -> None:
    """Raise unless a node has an integer form.

    Raises:
        UnsupportedError: tau or leak.
    """
    if parameters.tau != 2.0:
        raise UnsupportedError(
            f"neuron {name!r}: the integer form needs tau = 2, got {parameters.tau}; train or convert "
            "with it."
        )
    leak_shift(name, parameters)


def leak_shift(name: str, parameters: NeuronParameters) -> int | None:
    """K of a leak ``2^-k``; None without a leak.

    Raises:
        UnsupportedError: The leak is no such power of two; the message names the nearest.
    """
    if not parameters.leak:
        return None
    powers = {shift: 2.0**-shift for shift in range(MAX_SHIFT + 1)}
    nearest = min(powers, key=lambda shift: abs(powers[shift] - parameters.leak))
    if powers[nearest] != parameters.leak:
        raise UnsupportedError(
            f"neuron {name!r}: leak must be 2^-k in the integer form, a shift, got {parameters.leak}; train "
            f"with the nearest, {powers[nearest]:g} (k = {nearest})."
        )
    return nearest
