"""What is read out of the tools' reports, and the devices; the reports are stored, no tool runs."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lava_bridge.fpga import place, synth, tools
from lava_bridge.fpga.devices import DEVICES, RESOURCES, device
from spikejelly_pack.spec.errors import ParameterError, RunError

DATA = Path(__file__).parent / "data"
STORED = {"ecp5": "ecp5-25f", "ice40": "ice40-up5k"}


@pytest.fixture
def stored() -> Callable[[str], Any]:
    return lambda name: json.loads((DATA / f"{name}.json").read_text("utf-8"))


def test_cells_of_a_netlist(stored: Callable[[str], Any]) -> None:
    cells = synth.cells_of(stored("yosys-ecp5"), "lif_dense")
    assert cells == {"CCU2C": 72, "L6MUX21": 64, "LUT4": 502, "PFUMX": 225, "TRELLIS_FF": 290}
    assert synth.resources(cells, device("ecp5-25f")) == {
        "lut": 502 + 2 * 72,
        "ff": 290,
        "bram": 0,
        "dsp": 0,
        "io": 0,
    }
    ice = synth.cells_of(stored("yosys-ice40"), "lif_dense")
    flip_flops = sum(count for name, count in ice.items() if name.startswith("SB_DFF"))
    assert synth.resources(ice, device("ice40-up5k"))["ff"] == flip_flops == 290


def test_dsp_blocks_are_counted() -> None:
    assert synth.resources({"MULT18X18D": 3, "ALU54B": 1, "DP16KD": 2}, device("ecp5-85f"))["dsp"] == 4
    assert synth.resources({"SB_MAC16": 2}, device("ice40-up5k"))["dsp"] == 2


def test_count_of_an_old_yosys_without_a_design_total() -> None:
    old = {"modules": {"\\top": {"num_cells_by_type": {"LUT4": 3, "$scopeinfo": 1}}}}
    assert synth.cells_of(old, "top") == {"LUT4": 3}
    with pytest.raises(RunError, match="must count its cells"):
        synth.cells_of({"modules": {}}, "top")


def test_frequency_is_that_of_the_slowest_clock_after_routing(stored: Callable[[str], Any]) -> None:
    report = stored("nextpnr-ecp5")
    assert place.frequency(report) == pytest.approx(204.248, abs=1e-3)  # 194.55 was the figure before routing
    report["fmax"]["other"] = {"achieved": 77.5, "constraint": 12}
    assert place.frequency(report) == 77.5
    with pytest.raises(RunError, match="must hold a clock"):
        place.frequency({"fmax": {}})


@pytest.mark.parametrize("family", STORED)
def test_resources_of_a_report(stored: Callable[[str], Any], family: str) -> None:
    used = place.used_resources(stored(f"nextpnr-{family}"), device(STORED[family]))
    wanted = {"ecp5": {"lut": 712, "ff": 290, "bram": 0, "dsp": 0, "io": 17},
              "ice40": {"lut": 880, "bram": 0, "dsp": 0, "io": 17}}  # fmt: skip
    assert used == wanted[family]


@pytest.mark.parametrize("family", STORED)
def test_capacities_are_those_the_tools_report(stored: Callable[[str], Any], family: str) -> None:
    one = device(STORED[family])
    available = stored(f"nextpnr-{family}")["utilization"]
    for name, resource in one.family.used.items():
        if resource != "io":  # pins of the package are fewer than pads of the die
            assert one.capacity[resource] == available[name]["available"], name


@pytest.mark.parametrize("family", STORED)
def test_tiles_of_a_placement(stored: Callable[[str], Any], family: str) -> None:
    found = place.tiles(stored(f"placed-{family}"), "lif_dense")
    assert sum(count for (_, _, kind), count in found.items() if kind == "lut") == 3
    assert sum(count for (_, _, kind), count in found.items() if kind == "io") == 3
    if family == "ecp5":
        assert found[9, 4, "lut"] == 2
        assert found[12, 4, "ff"] == 1


def test_devices() -> None:
    assert list(DEVICES) == ["ice40-up5k", "ecp5-25f", "ecp5-85f"]
    assert all(set(one.capacity) == set(RESOURCES) for one in DEVICES.values())
    sizes = [one.capacity["lut"] for one in DEVICES.values()]
    assert sizes == sorted(sizes)
    with pytest.raises(ParameterError, match=r"must be one of ice40-up5k.*got 'zynq'"):
        device("zynq")


def _fake_nextpnr(folder: Path, report: Path) -> tools.Tool:
    """A tool that reports a clock which depends on the seed: 101, 102, ... MHz."""
    path = folder / "nextpnr"
    path.write_text(
        "#!/bin/sh\n"
        'while [ $# -gt 0 ]; do case $1 in --seed) s=$2;; --report) r=$2;; esac; shift; done\n'
        f'sed "s/204.2483673095703/10$s/" {report} > $r\n'
    )  # fmt: skip
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tools.Tool("nextpnr-ecp5", str(path), "0.0", "native")


def test_median_of_the_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = _fake_nextpnr(tmp_path, DATA / "nextpnr-ecp5.json")
    monkeypatch.setattr(tools, "find", lambda _: tool)
    netlist = synth.Synthesis("netlist.json", {}, dict.fromkeys(RESOURCES, 0), 1.0, "0.0")
    shown: list[str] = []
    placed = place.place(netlist, device("ecp5-25f"), tmp_path, seeds=(5, 1, 3), progress=shown.append)
    assert (placed.fmax, placed.design) == (103.0, "placed-3.json")
    assert placed.to_json()["fmax_spread_mhz"] == [101.0, 105.0]
    assert placed.used == {"lut": 712, "ff": 290, "bram": 0, "dsp": 0, "io": 17}
    assert shown
    assert all(
        re.fullmatch(r"place and route \(nextpnr-ecp5 0.0\), seeds? [135, ]+, [012] of 3 done, \d+ s", line)
        for line in shown
    )
    with pytest.raises(ParameterError, match="must be different numbers"):
        place.place(netlist, device("ecp5-25f"), tmp_path, seeds=(1, 1))
