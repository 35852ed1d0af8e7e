"""Time steps per layer: as given, or chosen greedily under an error bound."""

from __future__ import annotations

import difflib
import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from ..spec.errors import ParameterError
from ..spec.parameters import NeuronParameters
from .coded import CodedNetwork, Site

__all__ = ["AUTO", "AUTO_START", "OTHERS", "TimeSteps", "choose_time_steps", "first_time_steps"]

TimeSteps = int | str | Mapping[str, int]

#: Chooses T per layer under ``error_bound``.
AUTO = "auto"
#: T of every layer when the choice begins.
AUTO_START = 8
#: Key for the layers a mapping does not name.
OTHERS = "*"


def first_time_steps(time_steps: TimeSteps, error_bound: float | None) -> int:
    """Check the arguments; returns the largest T that any layer starts with.

    Raises:
        ParameterError: A T outside 1..16, an unknown word, or ``error_bound`` missing or out of place.
    """
    if (time_steps == AUTO) != (error_bound is not None):
        raise ParameterError(
            f"conversion: error_bound belongs to time_steps='auto', got time_steps={time_steps!r} with "
            f"error_bound={error_bound!r}; give both or neither."
        )
    if error_bound is not None:
        number = isinstance(error_bound, (int, float)) and not isinstance(error_bound, bool)
        if not number or not 0.0 < error_bound < math.inf:
            raise ParameterError(
                f"conversion: error_bound must be a positive number, got {error_bound!r}; it bounds the "
                "relative error of the logits, 0.05 is a start."
            )
        return AUTO_START
    if not isinstance(time_steps, Mapping):
        return NeuronParameters(time_steps=time_steps).time_steps  # type: ignore[arg-type]
    if OTHERS not in time_steps:
        raise ParameterError(
            f"conversion: time_steps must have an entry '*' for the layers it does not name, got "
            f"{sorted(map(str, time_steps))}; add '*': 8."
        )
    return max(NeuronParameters(time_steps=steps).time_steps for steps in time_steps.values())


def assign_time_steps(time_steps: TimeSteps, sites: Sequence[Site]) -> None:
    """Give every site the T that a mapping names for it, by any of its names.

    Raises:
        ParameterError: A name fits no layer.
    """
    if not isinstance(time_steps, Mapping):
        return
    names = {name for site in sites for name in site.names}
    if unknown := sorted(set(map(str, time_steps)) - names - {OTHERS}):
        known = sorted(names)
        near = [name for wrong in unknown for name in difflib.get_close_matches(wrong, known, 4)] or known[
            :12
        ]
        raise ParameterError(
            f"conversion: time_steps must name nodes or what they stand for, got {unknown}; this network has "
            f"{len(known)} names, such as {near}; report.layers lists them."
        )
    for site in sites:
        site.time_steps = next(
            (time_steps[name] for name in site.names if name in time_steps), time_steps[OTHERS]
        )


def choose_time_steps(network: CodedNetwork, error_bound: float, progress: bool) -> None:
    """Lower T layer by layer while the relative error of the outputs stays within ``error_bound``.

    Each round lowers by one digit the layer whose lowering leaves the least error. An error measured in an
    earlier round counts as a lower bound of what it would be now, so that most layers need no new pass
    over the data; a layer that once broke the bound is not tried again.

    Raises:
        ParameterError: The bound is already broken with ``AUTO_START`` time steps everywhere.
    """
    error = network.error()
    if error > error_bound:
        raise ParameterError(
            f"conversion: error_bound must be at least {error:.3g}, the relative error of the logits "
            f"with {AUTO_START} time steps everywhere, got {error_bound}; raise it."
        )
    queue: list[tuple[float, int, int]] = [(0.0, index, -1) for index in range(len(network.sites))]
    rounds = 0
    with tqdm(desc="choosing time steps", unit="trial", disable=not progress, leave=False) as bar:
        while queue:
            cost, index, measured_in = heapq.heappop(queue)
            site = network.sites[index]
            if measured_in == rounds:
                site.time_steps -= 1
                rounds += 1
                bar.set_postfix(error=f"{cost:.3g}")
                measured_in = -1
            if site.time_steps > 1 and (trial := _lowered(network, site)) <= error_bound:
                heapq.heappush(queue, (trial, index, rounds))
            bar.update()


def _lowered(network: CodedNetwork, site: Any) -> float:
    """Error with one digit less at ``site``."""
    site.time_steps -= 1
    try:
        return network.error()
    finally:
        site.time_steps += 1
