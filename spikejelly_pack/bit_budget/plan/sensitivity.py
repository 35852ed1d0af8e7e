"""What every single change of a choice does to the loss, measured on data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .trial import Choice, Measured, Trial, measured

__all__ = ["Tables", "sensitivities"]

FloatArray = npt.NDArray[np.float64]
#: ``[G, T]`` and ``[B]`` per layer: loss with this one change less the loss without.
Tables = tuple[FloatArray, list[FloatArray]]


def sensitivities(
    trial: Trial, data: Measured, at: Choice, tick: Callable[[], object] = lambda: None
) -> Tables:
    """Change of the loss for every T of every group and every width of every layer, one at a time.

    Args:
        trial: The network.
        data: What it is measured on.
        at: The choice that all single changes start from.
        tick: Called after each measurement.
    """
    steps, widths = at
    base = measured(trial, data, at)
    groups = np.zeros((len(steps), len(trial.steps)))
    for group in range(len(steps)):
        for t in range(len(trial.steps)):
            if t != steps[group]:
                groups[group, t] = measured(trial, data, (_with(steps, group, t), widths)) - base
                tick()
    layers = [np.zeros(len(trial.bits)) for _ in widths]
    for layer in range(len(widths)):
        for b in range(len(trial.bits)):
            if b != widths[layer]:
                layers[layer][b] = measured(trial, data, (steps, _with(widths, layer, b))) - base
                tick()
    return groups, layers


def _with(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])
