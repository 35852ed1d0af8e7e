"""``spikepack synth``: files, proof, report; what it refuses leaves nothing behind."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, flow, tools
from lava_bridge.fpga.floorplan import floor_plan
from lava_bridge.fpga.performance import performance
from spikejelly_pack.cli import main
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError, RunError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, dense_net: g.Network) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.spk"
    exchange.save(dense_net, path, np.random.default_rng(1).integers(0, 32, (6, 21)))
    return path


def needs(*names: str) -> None:
    for name in names:
        if tools.available(name) is None:
            pytest.skip(f"{name} is not installed: {tools.TOOLS[name].install}")


class Page(html.parser.HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def test_without_any_tool(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SystemVerilog, estimate and page need no tool at all."""
    monkeypatch.setattr(tools, "_search_path", lambda: str(tmp_path))
    out = tmp_path / "out"
    assert main(["synth", str(file), "--out", str(out), "--no-simulate", "--no-synth"]) == 0
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["utilization"]["dsp"]["used"] == 0
    assert 0 < report["utilization"]["lut"]["share"] < 1
    assert "simulation" not in report
    assert (out / "spikepack_net.sv").is_file()
    page = Page((out / "report.html").read_text("utf-8"))
    assert page.addresses == []  # one page, nothing loaded from elsewhere
    assert page.tags.count("table") >= 3


def test_missing_tools_are_named_before_anything_is_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tools, "_search_path", lambda: str(tmp_path))
    assert main(["synth", str(file), "--out", str(tmp_path / "out"), "--no-simulate"]) == 2
    assert "pip install 'spikejelly-pack[fpga]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EnvironmentMissingError):
        flow.synth(exchange.load(file), tmp_path / "out", flow.Plan(simulate=False))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "virtex"], "device: must be one of ice40-up5k, ecp5-25f, ecp5-85f, got 'virtex'"),
        (["--fit", "area", "--lanes", "4"], "--fit must be left out where --lanes or --fire are given"),
        (["--lanes", "0"], "lanes must be an integer"),
        (["--fire", "3"], "fire must be a power of two"),
        (["--seeds", "1", "1"], "--seeds must be different numbers"),
        (["--timeout", "0"], "--timeout must be > 0"),
        (["--samples", "0"], "--samples must be >= 1"),
        (["--input", "missing.npy"], "missing.npy: must be an .npy or .npz file"),
    ],
)
def test_bad_input_is_one_sentence_and_no_folder(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    out = tmp_path / "out"
    assert main(["synth", str(file), "--out", str(out), "--no-synth", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, one = np.random.default_rng(0), np.ones(1, np.float32)
    weight = rng.integers(-127, 128, (16, 4096)).astype(np.int32)
    network = g.Network(
        [
            g.Input(name="x", inputs=(), threshold=one, shape=(4096,), time_steps=4),
            g.Dense(name="w", inputs=("x",), weight_bits=8, weight=weight),
            g.Readout(name="y", inputs=("w",), scale=np.ones(16), bias=np.zeros(16, np.int32)),
        ],
        4,
    )
    exchange.save(network, tmp_path / "big.spk")
    arguments = [
        "synth",
        str(tmp_path / "big.spk"),
        "--out",
        str(tmp_path / "out"),
        "--no-simulate",
        "--no-synth",
    ]
    assert main([*arguments, "--device", "ice40-up5k"]) == 2
    error = capsys.readouterr().err
    assert "must fit ice40-up5k" in error
    assert "take --device ecp5-25f" in error
    assert [path.name for path in tmp_path.iterdir()] == ["big.spk"]


def test_a_foreign_folder_is_not_replaced(file: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["synth", str(file), "--out", str(tmp_path), "--no-simulate", "--no-synth"]) == 2
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_simulated_and_synthesized(file: Path, tmp_path: Path) -> None:
    """Yosys alone: the netlist has no multiplier, and every code was compared."""
    needs("yosys", "c++")
    out = tmp_path / "out"
    arguments = ["--device", "ecp5-25f", "--fit", "area", "--seeds"]
    assert main(["synth", str(file), "--out", str(out), *arguments]) == 0
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["simulation"]["bit_exact"]
    assert report["simulation"]["compared"] == ["n1", "out"]
    assert report["simulation"]["samples"] == 6
    assert report["synthesis"]["used"]["dsp"] == 0
    assert not any("MULT" in name or "ALU" in name for name in report["synthesis"]["cells"])
    assert 0.7 < report["estimate"]["lut"] / report["synthesis"]["used"]["lut"] < 1.6
    assert "place" not in report
    assert (out / "build" / "netlist.json").is_file()
    assert "<td>n1, out</td>" in (out / "report.html").read_text("utf-8")


@pytest.mark.fpga
@pytest.mark.parametrize("device", ["ecp5-25f", "ice40-up5k"])
def test_placed_and_routed(file: Path, tmp_path: Path, device: str) -> None:
    out = tmp_path / "out"
    assert main(["synth", str(file), "--out", str(out), "--device", device, "--fit", "area"]) == 0
    report = json.loads((out / "report.json").read_text("utf-8"))
    runs = report["place"]["runs"]
    assert [run["seed"] for run in runs] == [1, 2, 3]
    assert report["place"]["fmax_mhz"] == sorted(run["fmax"] for run in runs)[1]
    assert report["performance"]["samples_per_second"] > 0
    assert report["utilization"]["dsp"]["used"] == 0
    assert "<svg" in (out / "report.html").read_text("utf-8")
    assert (out / "build" / "routed.config").is_file()


def test_a_dsp_block_is_refused() -> None:
    from lava_bridge.fpga.devices import RESOURCES, device
    from lava_bridge.fpga.synth import Synthesis

    used = dict.fromkeys(RESOURCES, 0) | {"dsp": 1}
    with pytest.raises(RunError, match="must take no DSP block, takes 1"):
        flow._check_synthesis(Synthesis("n.json", {"MULT18X18D": 1}, used, 0.0, ""), device("ecp5-25f"))


def test_performance() -> None:
    found = performance(cycles=200.0, latency=500.0, operations=1000.0, fmax=100.0)
    assert found["samples_per_second"] == 5e5
    assert found["latency_microseconds"] == 5.0
    assert found["synaptic_operations_per_second"] == 5e8
    with pytest.raises(ParameterError, match="cycles must be > 0"):
        performance(0.0, 1.0, 1.0, 1.0)


def test_floor_plan_shows_every_kind() -> None:
    drawn = floor_plan(
        {(0, 0, "io"): 1, (3, 2, "lut"): 4, (3, 2, "ff"): 1, (4, 2, "lut"): 1, (5, 5, "bram"): 1}
    )
    assert drawn.count("<path") == 4  # pads, block memory, and two shades of logic
    assert "M3 2h" in drawn
    assert "M5 5h" in drawn
    assert floor_plan({}) == ""


def test_steady_state_leaves_the_start_out() -> None:
    class Readout:
        name = "y"

    class Network:
        readouts = (Readout(),)

    class Design:
        network = Network()

    class Run:
        first = 5
        cycles = {"y": np.array([[90, 100], [190, 200], [240, 250], [290, 300], [340, 350]])}  # noqa: RUF012

    design: Any = Design()
    run: Any = Run()
    assert flow._steady(design, run) == 50.0
    run.cycles = {"y": np.array([[90, 100]])}
    assert flow._steady(design, run) == 96.0


def test_options_reach_the_design(file: Path, tmp_path: Path) -> None:
    todo = flow.Plan(
        device="ecp5-25f", fit=None, options=Options(lanes=3, fire=1), simulate=False, synthesize=False
    )
    report = flow.synth(exchange.load(file), tmp_path / "out", todo)
    assert report["design"]["n1"]["lanes"] == 3
    assert report["fit"] == {"asked": "as given", "limit": "as given"}
