"""Proof before a run that a network keeps the limits of a target, whatever its input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from ..bounds import Bound, accumulator_bounds
from ..errors import BoundError
from ..execute import Codes
from ..graph import Delay, Network, Neuron, Synapse
from ..graph.base import Array
from ..parameters import check_choice
from .measure import fan_in, observed_magnitudes, synapses_per_weight, width_of_weights
from .target import Target, load_target

__all__ = ["SPIKES", "Finding", "Population", "TargetReport", "check_target"]

SPIKES = ("serial", "graded")


@dataclass(frozen=True)
class Population:
    """What one population of neurons asks of the target.

    Attributes:
        name: Neuron or readout.
        magnitude: Largest absolute value of its registers over all inputs there are.
        neuron: Index of the neuron that can reach it, in C order.
        bits: Width it needs, sign included.
        state_bits: Width the target has: its own, or ``bits`` where it sets none.
        observed: Largest absolute value that the given samples cause; None without samples.
        observed_bits: Width that needs.
        fan_in: Synapses of its most connected neuron.
        payload_bits: Width of the messages it sends; 0 for a readout, which sends none.
    """

    name: str
    magnitude: int
    neuron: int
    bits: int
    state_bits: int
    observed: int | None
    observed_bits: int | None
    fan_in: int
    payload_bits: int


@dataclass(frozen=True)
class Finding:
    """A limit that does not hold: the layer, the target's entry, what it needs and has, and one sentence."""

    layer: str
    limit: str
    needed: int
    allowed: int
    advisory: bool
    text: str


@dataclass(frozen=True)
class TargetReport:
    """Result of :func:`check_target`.

    Attributes:
        target: The target.
        populations: One entry per neuron population and readout.
        findings: Limits that do not hold, advice included.
    """

    target: Target
    populations: tuple[Population, ...]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        """Findings that forbid a run."""
        return [finding for finding in self.findings if not finding.advisory]

    @property
    def advice(self) -> list[Finding]:
        """Findings that the target only warns of."""
        return [finding for finding in self.findings if finding.advisory]

    @property
    def fits(self) -> bool:
        """Whether the network keeps every limit that is not advice."""
        return not self.problems

    def require(self) -> TargetReport:
        """Return the report, or raise :class:`BoundError` with the first problem and the number of others."""
        if self.fits:
            return self
        first, *others = self.problems
        more = (
            f" ({len(others)} more: {', '.join(sorted({item.layer for item in others}))})" if others else ""
        )
        raise BoundError(first.text[:-1] + more + ".")

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "target": self.target.name,
            "fits": self.fits,
            "populations": [asdict(item) for item in self.populations],
            "findings": [asdict(item) for item in self.findings],
        }

    def __str__(self) -> str:
        lines = [
            f"{self.target.label}: {'fits' if self.fits else 'does not fit'}, worst case over all inputs",
            f"{'population':24} {'worst case':>12} {'bits':>5} {'of':>4} {'observed':>12} {'fan-in':>7}",
        ]
        for item in self.populations:
            seen = "-" if item.observed is None else item.observed
            bits = f"{item.bits:5} {item.state_bits:4}"
            lines.append(f"{item.name:24} {item.magnitude:12} {bits} {seen:>12} {item.fan_in:7}")
        return "\n".join([*lines, *(finding.text for finding in self.findings)])


def check_target(
    network: Network,
    target: str | PathLike[str] | Target,
    codes: Codes | Array | None = None,
    *,
    spikes: str = "serial",
) -> TargetReport:
    """Check a network against the limits of a device, for every input there is.

    Args:
        network: Integer network; delays that balance its branches are counted in.
        target: Name of a device, path of a target file, or a target.
        codes: Input codes ``[N, *]`` (by input name where there are several): adds the largest values that
            these samples cause, at any time step, to the worst case.
        spikes: ``"serial"``, one digit per message, or ``"graded"``, the whole code as payload.

    Raises:
        ParameterError: The target file is wrong.
        ShapeError, DtypeError: The codes do not fit the network.
    """
    check_choice("check_target", "spikes", spikes, SPIKES)
    target, network = load_target(target), network.balanced()
    observed = {} if codes is None else observed_magnitudes(network, codes)

    def per_weight(op: Synapse) -> int:
        return synapses_per_weight(op, target.weight_bits) if target.combine_weights else 1

    most = fan_in(network, per_weight)
    populations = tuple(
        _population(network, bound, target, observed.get(bound.name), most[bound.name][0], spikes)
        for bound in accumulator_bounds(network)
    )
    findings = [*_weights(network, target), *_delays(network, target)]
    for item in populations:
        findings += _population_findings(network, item, target, most[item.name][1])
    return TargetReport(target, populations, tuple(findings))


def _population(
    network: Network, bound: Bound, target: Target, seen: tuple[int, int] | None, synapses: int, spikes: str
) -> Population:
    op = network.ops[bound.name]
    payload = 0
    if isinstance(op, Neuron):
        payload = (op.time_steps if spikes == "graded" else 1) + int(op.signed)
    return Population(
        name=bound.name,
        magnitude=bound.magnitude,
        neuron=bound.neuron,
        bits=bound.bits,
        state_bits=bound.bits if target.state_bits is None else target.state_bits,
        observed=None if seen is None else seen[0],
        observed_bits=None if seen is None else seen[0].bit_length() + 1,
        fan_in=synapses,
        payload_bits=payload,
    )


def _finding(target: Target, layer: str, limit: str, needed: int, text: str) -> Finding:
    return Finding(layer, limit, needed, getattr(target, limit), limit in target.advisory, text)


def _beyond(target: Target, limit: str, needed: int) -> bool:
    allowed = getattr(target, limit)
    return allowed is not None and needed > allowed


def _weights(network: Network, target: Target) -> Iterator[Finding]:
    for op in network.synapses:
        bits = width_of_weights(op)
        if _beyond(target, "weight_bits", bits) and not target.combine_weights:
            text = (
                f"{op.label}: its widest weight needs {bits} bits, but {target.label} has "
                f"{target.weight_bits}-bit "
                f"weights; export with weight_bits={target.weight_bits} and skip_bits={target.weight_bits}."
            )
            yield _finding(target, op.name, "weight_bits", bits, text)


def _delays(network: Network, target: Target) -> Iterator[Finding]:
    for op in network.ops.values():
        steps = op.windows * network.time_steps if isinstance(op, Delay) else 0
        if _beyond(target, "max_delay", steps):
            text = (
                f"{op.label}: the branch waits {steps} time steps, but {target.label} delays by at most "
                f"{target.max_delay}; use fewer time steps or a skip over fewer layers."
            )
            yield _finding(target, op.name, "max_delay", steps, text)


def _population_findings(
    network: Network, item: Population, target: Target, connected: int
) -> Iterator[Finding]:
    op = network.ops[item.name]
    if _beyond(target, "state_bits", item.bits):
        yield _finding(target, item.name, "state_bits", item.bits, _state_text(network, item, target))
    if isinstance(op, Neuron):
        highest = int(op.threshold.max()) << (op.time_steps - 1)
        bits = highest.bit_length() + 1
        if _beyond(target, "state_bits", bits):
            text = (
                f"{op.label}: channel {int(op.threshold.argmax())} compares with theta * 2^(T-1) = "
                f"{highest}, which needs {bits} bits, but {target.label} has {target.state_bits}-bit state; "
                f"export with state_bits={target.state_bits} or use fewer time steps."
            )
            yield _finding(target, item.name, "state_bits", bits, text)
    if _beyond(target, "payload_bits", item.payload_bits):
        text = (
            f"{op.label}: a message needs {item.payload_bits} bits, but {target.label} carries "
            f"{target.payload_bits}; use fewer time steps or serial spikes."
        )
        yield _finding(target, item.name, "payload_bits", item.payload_bits, text)
    if _beyond(target, "max_fan_in", item.fan_in):
        text = (
            f"{op.label}: neuron {connected} has {item.fan_in} synapses, but {target.label} allows "
            f"{target.max_fan_in}; use fewer input channels, groups or narrower weights."
        )
        yield _finding(target, item.name, "max_fan_in", item.fan_in, text)


def _state_text(network: Network, item: Population, target: Target) -> str:
    assert target.state_bits is not None
    # Codes of k digits fewer are below 2^-k of what they were, and so is every sum of them.
    steps = network.time_steps - (item.bits - target.state_bits)
    remedy = f"try {steps} time steps" if steps > 0 else "use fewer time steps"
    seen = "" if item.observed is None else f" (observed: {item.observed}, {item.observed_bits} bits)"
    return (
        f"{network.ops[item.name].label}: neuron {item.neuron} can reach {item.magnitude}{seen}, which needs "
        f"{item.bits} bits, but {target.label} has {target.state_bits}-bit state; {remedy}, narrower weights "
        "or a target with wider state."
    )
