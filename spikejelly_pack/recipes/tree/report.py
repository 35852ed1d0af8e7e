"""Report of a module-tree conversion."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..report import ConversionReport, SynapseEntry

__all__ = ["ModuleReport", "SiteEntry"]


@dataclass(frozen=True)
class SiteEntry(SynapseEntry):
    """One synaptic operation; ``macs`` are those of the first calibration batch.

    Attributes:
        nodes: Nodes at its inputs.
        weight: Parameter it reads, or None.
    """

    nodes: tuple[str, ...] = ()
    weight: str | None = None


@dataclass
class ModuleReport(ConversionReport):
    """Result of :func:`.convert`.

    Attributes:
        route: ``"fx"`` or ``"module"``.
        reason: Why this one.
        soma: Operations that stay functions of decoded values, each with the modules that run it.
        affine: Sums, averages and other operations that commute with the charge, likewise.
        unused: Layers with weights that calibration never ran; running them later is an error.
        silent: Nodes that saw zeros only; their threshold is 1.
    """

    route: str = "module"
    reason: str = ""
    soma: dict[str, list[str]] = field(default_factory=dict)
    affine: dict[str, list[str]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    @property
    def analog(self) -> list[str]:
        """Synaptic operations that spikes do not drive."""
        return [entry.path for entry in self.synapses if not entry.on_spikes]

    def __str__(self) -> str:
        lines = [f"route: {self.route} ({self.reason})", super().__str__()]
        if self.analog:
            lines.append(f"not on spikes: {', '.join(self.analog)}")
        for title, found in (("soma", self.soma), ("affine", self.affine)):
            if found:
                lines.append(
                    f"{title}: " + ", ".join(f"{name} x{len(at)}" for name, at in sorted(found.items()))
                )
        if self.unused:
            lines.append(f"never ran: {', '.join(self.unused)}")
        if self.silent:
            lines.append(f"saw only zeros: {', '.join(self.silent)}")
        return "\n".join(lines)
