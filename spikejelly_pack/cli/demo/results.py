"""What the demo finds out: the content of ``results.json``."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Picture", "Results"]


@dataclass
class Picture:
    """One neuron over one image, for the report.

    Attributes:
        layer: Name of the population.
        raster: Spikes ``[T, neurons]`` of a part of the layer.
        neuron: Which of them is drawn.
        charging: Accumulator after each of the T time steps of the charging window, in units of the weights.
        firing: Firing register before the first comparison and after each of the T time steps after it.
        thresholds: ``theta * 2^(T-t)`` for t = 1..T.
        code: Its code.
    """

    layer: str
    raster: list[list[int]]
    neuron: int
    charging: list[int]
    firing: list[int]
    thresholds: list[int]
    code: int


@dataclass
class Results:
    """All figures of one run; ``*_accuracy`` are shares of the test images, errors relative norms."""

    time_steps: int
    seed: int
    test_images: int = 0
    ann_accuracy: float = 0.0
    accuracy: dict[int, float] = field(default_factory=dict)
    rate_coding_accuracy: dict[int, float] = field(default_factory=dict)
    rate_coding_tuned_accuracy: dict[int, float] = field(default_factory=dict)
    integer_accuracy: dict[int, float] = field(default_factory=dict)
    float_flip_rate: float = 0.0
    float_flip_rates: dict[int, float] = field(default_factory=dict)
    prediction_agreement: dict[int, float] = field(default_factory=dict)
    integer_logit_error: dict[int, float] = field(default_factory=dict)
    integer_code_difference: dict[int, dict[str, float]] = field(default_factory=dict)
    firing_rate: dict[str, dict[str, float]] = field(default_factory=dict)
    bit_exact: dict[str, bool] = field(default_factory=dict)
    lava: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every equality that must hold was computed and holds."""
        needed = {"serial_multi_step", "serial_single_step", "torch", "lava"}
        return set(self.bit_exact) == needed and all(self.bit_exact.values())

    @contextmanager
    def timed(self, stage: str) -> Generator[None]:
        """Add the wall time of a block to ``seconds[stage]``."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def to_json(self) -> dict[str, Any]:
        """The results as JSON values (time steps become text keys)."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {"ok": self.ok, **{name: _text_keys(value) for name, value in plain.items()}}


def _text_keys(value: Any) -> Any:
    return {str(key): _text_keys(item) for key, item in value.items()} if isinstance(value, dict) else value
