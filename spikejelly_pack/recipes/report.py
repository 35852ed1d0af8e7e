"""What a conversion did: every node, every synaptic operation, and the share that runs on spikes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

__all__ = ["ConversionReport", "NodeEntry", "SynapseEntry"]


@dataclass(frozen=True)
class NodeEntry:
    """One SpikePack node.

    Attributes:
        path: Where it stands in the converted network.
        stands_for: Path of the rectifier it replaced, or of the value it encodes.
        time_steps: T.
        signed: Whether it fires on the absolute value.
        channels: Thresholds it has (1 = per tensor).
        threshold: Smallest, mean and largest threshold, in units of the activation.
        error: ``||x - theta d|| / ||x||`` on the last calibration batch.
        saturation: Share of values above the threshold there.
        cap: Value above which the source cuts off too (6 behind a ReLU6), or None.
    """

    path: str
    stands_for: str
    time_steps: int
    signed: bool
    channels: int
    threshold: tuple[float, float, float]
    error: float
    saturation: float
    cap: float | None = None


@dataclass(frozen=True)
class SynapseEntry:
    """One synaptic operation: its kind, multiply-accumulates per sample, and whether spikes drive it."""

    path: str
    kind: str
    macs: int
    on_spikes: bool


@dataclass
class ConversionReport:
    """Result of a conversion, readable and serializable.

    Attributes:
        time_steps: T of the window, the largest of the layers'.
        calibrator: Name of what set the thresholds.
        folded_batchnorms: Paths of BatchNorms whose scale is in the layer before.
        layers: One entry per node.
        synapses: One entry per synaptic operation.
        output_error: ``||y_coded - y|| / ||y||`` of the outputs on the calibration data; None unless a search
            or an improver measured it.
        improved: Improvers that ran.
    """

    time_steps: int
    calibrator: str
    folded_batchnorms: list[str] = field(default_factory=list)
    layers: list[NodeEntry] = field(default_factory=list)
    synapses: list[SynapseEntry] = field(default_factory=list)
    improved: list[str] = field(default_factory=list)
    output_error: float | None = None

    @property
    def coverage(self) -> float:
        """Share of multiply-accumulates that spikes drive, 0..1."""
        total = sum(entry.macs for entry in self.synapses)
        return sum(entry.macs for entry in self.synapses if entry.on_spikes) / total if total else 1.0

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps({**asdict(self), "coverage": self.coverage}, indent=2)

    def __str__(self) -> str:
        head = f"{'node':32} {'T':>2} {'sign':>4} {'theta':>10} {'error':>7} {'saturated':>9}"
        rows = [
            f"{e.path[:32]:32} {e.time_steps:2d} {'+-' if e.signed else '+':>4} {e.threshold[1]:10.4g} "
            f"{e.error:7.4f} {e.saturation:9.2%}"
            for e in self.layers
        ]
        return "\n".join([head, *rows, f"multiply-accumulates on spikes: {self.coverage:.1%}"])
