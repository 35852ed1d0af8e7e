"""Tables of ``spikepack bench fpga``: what designs take, their speed, how many lanes fill the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["table"]

FILL = 0.85  # of the LUTs, as the explorer of spikepack synth allows
_NAMES = {
    "spikepack4_csd": "SpikePack, T = 4",
    "lif_t4": "LIF, 4 time steps",
    "lif_t15": "LIF, 15 time steps (as many levels)",
    "mac4_skip_lut": "integer MAC, zeros skipped, LUTs",
    "mac4_skip_dsp": "integer MAC, zeros skipped, DSP blocks",
    "mac4_all_lut": "integer MAC, LUTs",
    "mac4_all_dsp": "integer MAC, DSP blocks",
}


def table(result: Mapping[str, Any]) -> str:
    """The three tables as Markdown, of one size after the other."""
    sizes = sorted({entry["size"]["fire"] for entry in result["designs"].values()}, reverse=True)
    parts = [_costs(result)]
    for fire in sizes:
        chosen = {k: e for k, e in result["designs"].items() if e["size"]["fire"] == fire}
        parts += [_speed(chosen, fire), _filled(chosen, fire, result["capacity"])]
    return "\n\n".join(parts)


def _lines(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _name(entry: Mapping[str, Any]) -> str:
    return _NAMES.get(entry["layer"], entry["layer"])


def _costs(result: Mapping[str, Any]) -> str:
    rows = []
    for entry in result["designs"].values():
        size, used = entry["size"], entry["used"]
        low, high = entry["fmax_spread_mhz"]
        shape = f"{size['n_in']} x {size['n_out']}, {size['fire']}"
        counts = [str(used[name]) for name in ("lut", "ff", "bram", "dsp")]
        rows.append([_name(entry), shape, *counts, f"{entry['fmax_mhz']:.1f} ({low:.1f} to {high:.1f})"])
    return _lines(["design", "size, fire", "LUT", "FF", "BRAM", "DSP", "Fmax, MHz"], rows)


def _rate(entry: Mapping[str, Any], stimulus: str) -> float:
    """Samples per second."""
    return 1e6 * entry["fmax_mhz"] / entry["cycles"][stimulus]


def _speed(designs: Mapping[str, Any], fire: int) -> str:
    """Cycles, and throughput and throughput per LUT as multiples of the other design."""
    ours = next(entry for entry in designs.values() if entry["layer"].startswith("spikepack"))
    stimuli = list(ours["cycles"])
    rows = []
    for entry in designs.values():
        cells = []
        for name in stimuli:
            cycles = f"{entry['cycles'][name]:.0f} cycles"
            if entry is not ours:
                ratio = _rate(ours, name) / _rate(entry, name)
                area = ratio * entry["used"]["lut"] / ours["used"]["lut"]
                cycles += f"; {ratio:.2f}, {area:.2f}"
            cells.append(cycles)
        rows.append([_name(entry), *cells])
    return _lines([f"fire {fire}: cycles per sample; SpikePack's throughput, per LUT", *stimuli], rows)


def _lanes(entry: Mapping[str, Any], capacity: Mapping[str, int]) -> int:
    """Neurons that fit the device if each takes what one of the measured ones takes."""
    lanes, used = entry["size"]["n_out"], entry["used"]
    room = {"lut": FILL * capacity["lut"], "bram": capacity["bram"], "dsp": capacity["dsp"]}
    return int(min(room[name] * lanes / used[name] for name in room if used[name]))


def _filled(designs: Mapping[str, Any], fire: int, capacity: Mapping[str, int]) -> str:
    """Neuron results per second of a full device, in millions."""
    ours = next(entry for entry in designs.values() if entry["layer"].startswith("spikepack"))
    rows = []
    for entry in designs.values():
        lanes = _lanes(entry, capacity)
        results = [f"{lanes * _rate(entry, name) / 1e6:.0f}" for name in ours["cycles"]]
        rows.append([_name(entry), str(lanes), *results])
    mixed = _mixed(designs, capacity)
    if mixed:
        lanes, rate = mixed
        rows.append(
            [
                "integer MAC, DSP blocks first, then LUTs",
                str(lanes),
                *(f"{rate(n):.0f}" for n in ours["cycles"]),
            ]
        )
    return _lines([f"fire {fire}: device filled, extrapolated", "lanes", *ours["cycles"]], rows)


def _mixed(designs: Mapping[str, Any], capacity: Mapping[str, int]) -> Any:
    """Lanes on DSP blocks while there are any, then on LUTs, at the slower of the two clocks."""
    named = {entry["layer"]: entry for entry in designs.values()}
    if not {"mac4_skip_lut", "mac4_skip_dsp"} <= set(named):
        return None
    first, second = named["mac4_skip_dsp"], named["mac4_skip_lut"]
    on_dsp = _lanes(first, capacity)
    per_dsp, per_lut = (e["used"]["lut"] / e["size"]["n_out"] for e in (first, second))
    lanes = on_dsp + int((FILL * capacity["lut"] - on_dsp * per_dsp) / per_lut)
    clock = min(first["fmax_mhz"], second["fmax_mhz"])
    return lanes, lambda name: lanes * clock / second["cycles"][name]
