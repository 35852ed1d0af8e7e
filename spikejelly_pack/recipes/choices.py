"""What a recipe decides once the statistics are there: T per layer, searched thresholds, repairs.

The same for both routes: they differ in the :class:`.CodedNetwork` they pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from ..spec.errors import ParameterError
from .calibration import Calibrator, make_calibrator
from .coded import CodedNetwork
from .improve import IMPROVERS, check_improvers
from .report import ConversionReport
from .time_steps import TimeSteps, assign_time_steps, choose_time_steps, first_time_steps

__all__ = ["Choices"]


class Choices:
    """Checked settings, and the order in which they are carried out.

    Args:
        owner: Name for messages.
        time_steps: T, T by name, or ``"auto"``.
        error_bound: For ``"auto"``.
        calibrator: Name of the calibrator.
        improve: Names of improvers.

    Attributes:
        window: Largest T that any layer starts with.

    Raises:
        ParameterError: One is outside its range.
    """

    def __init__(
        self,
        owner: str,
        time_steps: TimeSteps,
        error_bound: float | None,
        calibrator: str,
        improve: Sequence[str],
    ) -> None:
        self.owner, self.time_steps, self.error_bound = owner, time_steps, error_bound
        self.window = first_time_steps(time_steps, error_bound)
        self.calibrator = calibrator
        self.improve = check_improvers(improve)
        self._finish = make_calibrator(calibrator, channel_wise=False).finish

    def make_calibrator(self, channel_wise: bool) -> Calibrator:
        """A fresh one."""
        return make_calibrator(self.calibrator, channel_wise)

    @property
    def rereads(self) -> bool:
        """Whether the calibration data is read more than once."""
        return self.error_bound is not None or self._finish is not None or bool(self.improve)

    def check_data(self, data: Any) -> None:
        """Refuse what cannot be read, or not as often as needed.

        Raises:
            ParameterError: It is so.
        """
        if not isinstance(data, Iterable) or isinstance(data, (Tensor, str, dict)):
            raise ParameterError(
                f"{self.owner}: dataloader must yield batches, got {type(data).__name__}; "
                "pass a DataLoader or a list of batches."
            )
        if self.rereads and isinstance(data, Iterator):
            raise ParameterError(
                f"{self.owner}: dataloader must yield its batches again for a search or an improver, got "
                f"{type(data).__name__}; pass a DataLoader or a list of batches."
            )

    def settle(self, network: CodedNetwork, report: ConversionReport, progress: bool) -> int:
        """Decide T, thresholds and repairs; returns the window, the largest T of a layer."""
        assign_time_steps(self.time_steps, network.sites)
        if self.error_bound is not None:
            choose_time_steps(network, self.error_bound, progress)
        if self._finish is not None:
            self._finish(network, progress)
        for name in self.improve:
            if (repair := IMPROVERS[name].repair) is not None:
                repair(network, progress)
        if self.rereads:
            report.improved = self.improve
            report.output_error = network.error()
        # Sites may all have fewer digits than the search or the mapping's rest began with.
        report.time_steps = max((site.time_steps for site in network.sites), default=self.window)
        return report.time_steps
