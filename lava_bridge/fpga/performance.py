"""From cycles and frequency to speed."""

from __future__ import annotations

from typing import Any

from spikejelly_pack.spec.errors import ParameterError

__all__ = ["performance"]


def performance(cycles: float, latency: float, operations: float, fmax: float) -> dict[str, Any]:
    """Speed of a design.

    Args:
        cycles: Per sample, where samples follow one another without a gap.
        latency: Cycles from the first beat of a lone sample to the last word of its result.
        operations: Synaptic operations per sample: one weight added for one spike.
        fmax: MHz.

    Raises:
        ParameterError: A figure is not positive.
    """
    for name, value in (("cycles", cycles), ("latency", latency), ("fmax", fmax)):
        if not value > 0:
            raise ParameterError(f"performance: {name} must be > 0, got {value}; measure it again.")
    rate = fmax * 1e6 / cycles
    return {
        "fmax_mhz": fmax,
        "cycles_per_sample": cycles,
        "samples_per_second": rate,
        "latency_cycles": latency,
        "latency_microseconds": latency / fmax,
        "synaptic_operations": operations,
        "synaptic_operations_per_second": operations * rate,
    }
