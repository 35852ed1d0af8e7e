"""What a simulation returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from spikejelly_pack.spec.bits import unpack
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.spec.graph.base import Array

from .overflow import Overflows

__all__ = ["Simulation"]


@dataclass(frozen=True)
class Simulation:
    """Everything one run of a network in Lava produced.

    Arrays are ``[N, *]``, or ``[W, N, *]`` where a sample of the network has W windows.

    Attributes:
        membranes: Membranes ``[N, *]`` (int64) at the end of the window, bias included, of every readout and
            every recorded neuron (what it fires from), by name.
        codes: Codes ``[N, *]`` of the recorded inputs and neurons, by name, in the caller's layout.
        outputs: Real outputs ``[N, *]`` (float64), ``membrane * scale``, by readout.
        samples: N.
        time_steps: T, digits of a window.
        steps: Time steps of the Lava run, filling and draining of the pipeline included.
        processes: Lava Processes of the network.
        seconds: Wall time of the time steps alone.
        total_seconds: Wall time of the call: interpreter, import, compilation, run and clean-up.
        engine: Name of the engine.
        spikes: ``"serial"`` or ``"graded"``.
        model: Tag of the ProcessModels.
        batch: Samples that ran side by side.
        overflows: Values that did not fit a register of the target (model ``fpga``), in order of samples.
        python: Interpreter that ran Lava.
        lava: Version of lava-nc.
    """

    membranes: dict[str, Array]
    codes: dict[str, Array]
    outputs: dict[str, Array] = field(repr=False)
    samples: int
    time_steps: int
    steps: int
    processes: int
    seconds: float
    total_seconds: float
    engine: str
    spikes: str
    model: str
    batch: int
    overflows: Overflows = field(repr=False)
    python: str
    lava: str

    def spike_train(self, name: str) -> Array:
        """Digits ``[T, N, *]`` or ``[T, W, N, *]`` (int8) of a recorded input or neuron, in order of time.

        Raises:
            ParameterError: ``name`` was not recorded.
        """
        if name not in self.codes:
            raise ParameterError(
                f"spike_train: name must be a recorded input or neuron out of {sorted(self.codes)}, got "
                f"{name!r}; pass it to simulate(record=...)."
            )
        return unpack(self.codes[name], self.time_steps)

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
