"""What a simulation returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from spikejelly_pack.spec.graph.base import Array

__all__ = ["Simulation"]


@dataclass(frozen=True)
class Simulation:
    """Everything one run of a network in Lava produced.

    Attributes:
        membranes: Membranes ``[N, *]`` (int64) of every readout, by name.
        codes: Codes ``[N, *]`` of the recorded inputs and neurons, by name, in the caller's layout.
        outputs: Real outputs ``[N, *]`` (float64), ``membrane * scale``, by readout.
        samples: N.
        steps: Time steps of the Lava run, filling and draining of the pipeline included.
        processes: Lava Processes of the network.
        seconds: Wall time of the time steps alone.
        total_seconds: Wall time of the call: interpreter, import, compilation, run and clean-up.
        engine: Name of the engine.
        python: Interpreter that ran Lava.
        lava: Version of lava-nc.
    """

    membranes: dict[str, Array]
    codes: dict[str, Array]
    outputs: dict[str, Array] = field(repr=False)
    samples: int
    steps: int
    processes: int
    seconds: float
    total_seconds: float
    engine: str
    python: str
    lava: str

    @property
    def seconds_per_sample(self) -> float:
        """Wall time of the time steps, per sample."""
        return self.seconds / self.samples

    @property
    def timing(self) -> dict[str, float | int]:
        """The measured times as one flat table, for reports."""
        return {
            "seconds": self.seconds,
            "seconds_per_sample": self.seconds_per_sample,
            "total_seconds": self.total_seconds,
            "steps": self.steps,
        }
