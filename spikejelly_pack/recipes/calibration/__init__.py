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


def make_calibrator(name: str, channel_wise: bool) -> Calibrator:
    """A fresh calibrator from a name in :data:`CALIBRATORS` or a percentile such as ``"99.9%"``.

    Args:
        name: Which.
        channel_wise: As in :class:`.Calibrator`.

    Raises:
        ParameterError: The name is not registered, or the percentile is outside (0, 100].
    """
    if isinstance(name, str) and name.endswith("%"):
        return PercentileCalibrator(channel_wise, percentile=name[:-1])
    if name not in CALIBRATORS:
        raise ParameterError(
            f"SpikePackRecipe: calibrator must be one of {sorted(CALIBRATORS)} or a percentile such as "
            f"'99.9%', got {name!r}; choose one of these."
        )
    return CALIBRATORS[name](channel_wise)
