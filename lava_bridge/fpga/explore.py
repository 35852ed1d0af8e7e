"""Chooses lanes and fire parallelism of every population so that a network fits, or fills, a device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spikejelly_pack.spec.errors import ParameterError, UnsupportedError
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array

from .activity import busy, slowest
from .design import Design
from .devices import DEVICES, RESOURCES, Device
from .estimate import estimate
from .options import Options, PopulationOptions
from .planning import plan

__all__ = ["FILL", "FITS", "Choice", "check_fits", "explore", "over", "smallest_device"]

# Share of a device that a design may take by estimate: place-and-route needs room for logic and wires.
FILL: dict[str, float] = {"lut": 0.85, "ff": 0.9, "bram": 1.0, "dsp": 1.0, "io": 1.0}
FITS = ("speed", "area")
_LADDER = tuple(1 << k for k in range(13))


@dataclass(frozen=True, eq=False)
class Choice:
    """A design that was chosen.

    Attributes:
        options: Its parallelism.
        design: What follows from them.
        used: Estimated resources.
        cycles: Estimated cycles per sample of the slowest part.
        limit: What stopped the search.
    """

    options: Options
    design: Design
    used: dict[str, int]
    cycles: float
    limit: str


def over(used: Mapping[str, int], device: Device) -> dict[str, float]:
    """Share of the capacity that may be used, of every resource that is exceeded."""
    shares = {name: used[name] / (FILL[name] * device.capacity[name]) for name in RESOURCES}
    return {name: share for name, share in shares.items() if share > 1}


def explore(
    network: Network,
    device: Device,
    codes: Mapping[str, Array],
    fit: str = "speed",
    base: Options | None = None,
    progress: Callable[[str], Any] = str,
) -> Choice:
    """Choose the parallelism.

    Args:
        network: Integer network.
        device: Where it must fit.
        codes: Input codes ``[N, *shape]`` by name: how busy each population is.
        fit: ``speed`` fills the device, the slowest population first; ``area`` takes the fewest LUTs.
        base: Choices that stay: memories, digits, and how convolutions are computed unless that is ``auto``.
        progress: Gets a word on what is tried.

    Raises:
        ParameterError: Unknown ``fit``.
        UnsupportedError: The smallest folding does not fit; the sentence says by how much, and what does.
    """
    if fit not in FITS:
        raise ParameterError(f"fit: must be one of {', '.join(FITS)}, got {fit!r}; choose one.")
    smallest = _smallest(network, device, codes, base or Options())
    if over(smallest.used, device):
        raise UnsupportedError(_refusal(network, device, smallest.used, codes, base))
    if fit == "area":
        return replace(smallest, limit="the fewest LUTs")
    free = _free(network, base or Options())
    return _trimmed(_grow(smallest, network, device, codes, free, progress), network, device, codes, free)


def _chosen(network: Network, device: Device, codes: Mapping[str, Array], options: Options) -> Choice:
    """The design of some options; memories move to LUTs where the blocks do not suffice and LUTs do."""
    choice = _estimated(network, device, codes, options)
    if "bram" not in over(choice.used, device):
        return choice
    for relieved in _relieved(choice.design, device):
        other = _estimated(network, device, codes, relieved)
        exceeded = over(other.used, device)
        if not exceeded:
            return other
        if "bram" not in exceeded:
            break  # what moves next only takes more LUTs
    return choice


def _estimated(network: Network, device: Device, codes: Mapping[str, Array], options: Options) -> Choice:
    design = plan(network, options)
    return Choice(options, design, estimate(design, device), slowest(design, codes)[2], "")


def _relieved(design: Design, device: Device) -> Iterator[Options]:
    """Options with ever less in block memories: membranes if LUTs can hold them, then small weights."""
    options = design.options
    if device.family.lut_memory:
        options = replace(options, membrane_memory="distributed")
        yield options
    for population in sorted(design.populations.values(), key=lambda p: sum(q.memory_bits for q in p.inputs)):
        options = _with(options, population.name, weight_memory="distributed")
        yield options


def _with(options: Options, name: str, **changes: Any) -> Options:
    own = replace(options.per.get(name, PopulationOptions()), **changes)
    return replace(options, per={**options.per, name: own})


def _size(choice: Choice, device: Device) -> tuple[float, int]:
    """What a small design has little of: the most exceeded share, then LUTs."""
    return max(over(choice.used, device).values(), default=0.0), choice.used["lut"]


def _smallest(network: Network, device: Device, codes: Mapping[str, Array], base: Options) -> Choice:
    free = _free(network, base)
    for name in free:
        base = _with(base, name, convolution="event")
    most = max(p.grid[0] for p in plan(network, base).populations.values())
    tried = [
        _chosen(network, device, codes, replace(base, lanes=lanes, fire=1))
        for lanes in _LADDER
        if lanes < 2 * most
    ]
    best = min(tried, key=lambda choice: _size(choice, device))
    for name in free:
        other = _chosen(network, device, codes, _with(best.options, name, convolution="line"))
        best = min(best, other, key=lambda choice: _size(choice, device))
    return best


def _free(network: Network, base: Options) -> list[str]:
    """Populations whose convolution may be computed in either form, the search decides."""
    return [
        name
        for name, population in plan(network, base).populations.items()
        if base.of(name, "convolution") == "auto" and population.form in ("event", "line")
    ]


def _grow(
    choice: Choice,
    network: Network,
    device: Device,
    codes: Mapping[str, Array],
    free: Collection[str],
    progress: Callable[[str], Any],
) -> Choice:
    """Raise the parallelism of whatever is slowest until it cannot rise or the device is full."""
    while True:
        name, part, cycles = slowest(choice.design, codes)
        progress(f"exploring: {cycles:.0f} cycles per sample, {choice.used['lut']} LUTs")
        wider = _wider(choice, name, part)
        if name in free:
            other = "event" if choice.design.populations[name].line else "line"
            wider.insert(0, _with(choice.options, name, convolution=other))
        better = None
        for options in wider:
            found = _chosen(network, device, codes, options)
            faster = busy(found.design, codes)[name][part] < cycles and found.cycles <= choice.cycles
            if faster and not over(found.used, device):
                better = found
                break
        if better is None:
            full = any(over(estimate(plan(network, options), device), device) for options in wider)
            why = f"the device is full: {name} cannot {part} faster" if full else f"{name} is fully parallel"
            return replace(choice, limit=why)
        choice = better


def _trimmed(
    choice: Choice, network: Network, device: Device, codes: Mapping[str, Array], free: Collection[str]
) -> Choice:
    """The other form of a convolution wherever that takes fewer LUTs and no more cycles."""
    for name in free:
        other = "event" if choice.design.populations[name].line else "line"
        found = _chosen(network, device, codes, _with(choice.options, name, convolution=other))
        if _size(found, device) < _size(choice, device) and found.cycles <= choice.cycles:
            choice = replace(found, limit=choice.limit)
    return choice


def _wider(choice: Choice, name: str, part: str) -> list[Options]:
    """Options that make a part of a population faster, the smallest step first."""
    population = choice.design.populations[name]
    channels = population.grid[0]
    fires = [f for f in _LADDER if population.fire < f <= channels]
    if part == "fire":
        return [_with(choice.options, name, fire=fire) for fire in fires]
    # Fewer membrane words per position; an event then reaches more neurons at once.
    widths = sorted({-(-channels // chunks) for chunks in range(1, population.chunks)})
    found = [_with(choice.options, name, lanes=lanes) for lanes in widths] if part == "add" else []
    # Depthwise links, empty beats and line buffers cost cycles a beat: more codes in one take fewer.
    for reader in population.inputs:
        stream = choice.design.streams[reader.link.source]
        more = [f for f in _LADDER if stream.fire < f <= stream.grid[0]]
        found += [_with(choice.options, _origin(choice.design, stream.name), fire=fire) for fire in more[:1]]
    return found


def _origin(design: Design, name: str) -> str:
    """The input or neuron whose beats a stream passes on: pools have no parallelism of their own."""
    while name in design.pools:
        name = design.pools[name].source
    return name


def _described(used: Mapping[str, int], device: Device) -> str:
    parts: list[str] = []
    for name in over(used, device):
        limit = FILL[name] * device.capacity[name]
        parts.append(f"{used[name]} {name.upper()} where {limit:.0f} may be used")
    return " and ".join(parts)


def smallest_device(network: Network, codes: Mapping[str, Array], base: Options | None = None) -> str | None:
    """Name of the smallest device that some folding fits by estimate, None if there is none."""
    for name, device in DEVICES.items():
        if not over(_smallest(network, device, codes, base or Options()).used, device):
            return name
    return None


def _refusal(
    network: Network,
    device: Device,
    used: Mapping[str, int],
    codes: Mapping[str, Array],
    base: Options | None,
) -> str:
    other = smallest_device(network, codes, base)
    remedy = (
        f"take --device {other}, the smallest that holds it"
        if other
        else "none known holds it: make it smaller"
    )
    return (
        f"network: must fit {device.name}, its smallest folding takes an estimated "
        f"{_described(used, device)}; {remedy}."
    )


def check_fits(design: Design, device: Device, codes: Mapping[str, Array]) -> dict[str, int]:
    """Estimated resources of a design with given options.

    Raises:
        UnsupportedError: It does not fit; the sentence says by how much, and the folding or device that does.
    """
    used = estimate(design, device)
    if not over(used, device):
        return used
    network, options = design.network, design.options
    folded = _smallest(network, device, codes, replace(options, per={}))
    if over(folded.used, device):
        raise UnsupportedError(_refusal(network, device, folded.used, codes, options))
    fitting = explore(network, device, codes, "speed", replace(options, per={}))
    lanes = max(p.lanes for p in fitting.design.populations.values())
    raise UnsupportedError(
        f"network: must fit {device.name}, with lanes {options.lanes} and fire {options.fire} it takes an "
        f"estimated {_described(used, device)}; use --fit speed, which fits with at most {lanes} lanes."
    )
