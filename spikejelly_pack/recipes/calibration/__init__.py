"""Calibrators: from the activations a layer saw, the threshold of the node that takes its place.

A registry: a new calibrator is one file and one line here.
"""

from __future__ import annotations

from ...spec.errors import ParameterError
from .base import Calibrator
from .divergence import DivergenceCalibrator
from .maximum import MaximumCalibrator
from .mse import SquaredErrorCalibrator
from .percentile import PercentileCalibrator

__all__ = ["CALIBRATORS", "Calibrator", "make_calibrator"]

CALIBRATORS: dict[str, type[Calibrator]] = {
    "max": MaximumCalibrator,
    "percentile": PercentileCalibrator,
    "mse": SquaredErrorCalibrator,
    "divergence": DivergenceCalibrator,
}


def make_calibrator(name: str, channel_wise: bool, search: bool = False) -> Calibrator:
    """A fresh calibrator from a name in :data:`CALIBRATORS` or a percentile such as ``"99.9%"``.

    Args:
        name: Which.
        channel_wise: As in :class:`.Calibrator`.
        search: Whether the caller finishes the thresholds of one with ``needs_search``.

    Raises:
        ParameterError: The name is not registered, the percentile is outside (0, 100], or it needs a search.
    """
    if isinstance(name, str) and name.endswith("%"):
        return PercentileCalibrator(channel_wise, percentile=name[:-1])
    if name not in CALIBRATORS:
        raise ParameterError(
            f"SpikePackRecipe: calibrator must be one of {sorted(CALIBRATORS)} or a percentile such as "
            "'99.9%', "
            f"got {name!r}; choose one of these."
        )
    if CALIBRATORS[name].needs_search and not search:
        raise ParameterError(
            f"calibrator {name!r}: a search over the running network must finish it, got a recipe without "
            "one; use SpikePackRecipe (networks that torch.fx traces), or 'mse'."
        )
    return CALIBRATORS[name](channel_wise)
