"""Improvers: repairs of weights and biases that make the coded network err less.

A registry: a new improver is one file and one line here. ``prepare`` changes the canonical network before
it is calibrated and must not change its function; ``repair`` changes it once thresholds and T are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx

from ...spec.errors import ParameterError
from ..coded import CodedNetwork
from .batchnorm import reestimate_batchnorm
from .bias import correct_bias
from .equalization import equalize

__all__ = ["IMPROVERS", "Improver", "check_improvers"]

Repair = Callable[[CodedNetwork, bool], None]


@dataclass(frozen=True)
class Improver:
    """One registered improver.

    Attributes:
        prepare: ``prepare(model)`` on the canonical graph, or None; for networks that torch.fx traces only.
        repair: ``repair(network, progress)`` on the calibrated network, or None.
    """

    prepare: Callable[[fx.GraphModule], None] | None = None
    repair: Repair | None = None


#: In the order in which they run, whatever the order of the names.
IMPROVERS: dict[str, Improver] = {
    "equalization": Improver(prepare=equalize),
    "batchnorm": Improver(repair=reestimate_batchnorm),
    "bias_correction": Improver(repair=correct_bias),
}


def check_improvers(names: Any) -> list[str]:
    """The chosen improvers in the order in which they run.

    Raises:
        ParameterError: A name is not registered, or a string was given instead of several.
    """
    given = [] if isinstance(names, str) else list(names)
    unknown = [name for name in given if name not in IMPROVERS]
    if isinstance(names, str) or unknown:
        raise ParameterError(
            f"conversion: improve must be a tuple of {sorted(IMPROVERS)}, got "
            f"{names if isinstance(names, str) else unknown!r}; choose among these, or () for none."
        )
    return [name for name in IMPROVERS if name in given]
