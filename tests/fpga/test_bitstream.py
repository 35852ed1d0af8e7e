"""``spikepack synth --constraints``: a board's pins, and the bitstream."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from spikejelly_pack.cli import main
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec import graph as g

#: Sites of the packages for the pins of a small design; those of the iCE40's LED drivers are no inputs.
SITES = {
    "ice40-up5k": "35 2 3 4 6 9 10 11 12 13 18 19 20 21 23 25 26 27 28 31 32 34 36 37 38 42 43 44 45 46 47",
    "ecp5-25f": "G2 A10 A11 A12 A13 A14 A16 A17 A18 A19 A2 A3 A4 A5 A6 A7 A8 A9 B1 B10 B11 B12 B13 B15 B16",
}
UNPACK = {"ice40-up5k": "yowasp-iceunpack", "ecp5-25f": "yowasp-ecpunpack"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Its 23 pins fit the iCE40's package."""
    weight = np.array([[3, -2, 1], [0, 5, -7]], np.int32)
    ops: list[g.Op] = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(3,), time_steps=2),
        g.Dense(name="w", inputs=("x",), weight_bits=8, weight=weight),
        g.Readout(name="y", inputs=("w",), scale=np.ones(2), bias=np.zeros(2, np.int32), state_bits=16),
    ]
    exchange.save(g.Network(ops, 2), tmp_path / "small.spk", np.array([[0, 1, 2], [3, 3, 3]]))
    return tmp_path / "small.spk"


def filled(template: Path, path: Path, sites: str) -> Path:
    lines = [line for line in template.read_text("utf-8").splitlines() if not line.startswith("#")]
    pairs = zip(lines, sites.split(), strict=False)
    path.write_text("\n".join(line.replace("?", site) for line, site in pairs) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("device", SITES)
def test_template_names_every_pin(small: Path, tmp_path: Path, device: str) -> None:
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--device", device, "--no-simulate", "--no-synth"]
    assert main(["synth", str(small), *arguments]) == 0
    (template,) = out.glob("pins-template.*")
    pins = re.findall(r"(?:set_io|LOCATE COMP) \"?([\w\[\]]+)", template.read_text("utf-8"))
    header = (out / "spikepack_net.sv").read_text("utf-8").partition(");")[0].partition("`ifdef")[0]
    ports = re.findall(r"(?:in|out)put +wire (?:\[(\d+):0\] )?(\w+)", header)
    wanted = [f"{name}[{bit}]" for top, name in ports if top for bit in range(int(top) + 1)]
    assert sorted(pins) == sorted([*wanted, *(name for top, name in ports if not top)])
    assert json.loads((out / "report.json").read_text("utf-8"))["utilization"]["io"]["used"] == len(pins)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--constraints", "none.pcf"], "must be an existing .pcf file for ice40-up5k, got 'none.pcf'"),
        (["--constraints", "pins.lpf"], "must be an existing .pcf file for ice40-up5k, got 'pins.lpf'"),
        (["--constraints", "pins.pcf", "--no-synth"], "must be placed and routed, is not"),
        (["--constraints", "pins.pcf", "--seeds"], "must be placed and routed, is not"),
    ],
)
def test_constraints_that_make_no_bitstream(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pins.pcf", "pins.lpf"):
        Path(name).write_text("")
    assert main(["synth", str(small), "--out", "out", "--device", "ice40-up5k", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.fpga
@pytest.mark.parametrize("device", SITES)
def test_bitstream(small: Path, tmp_path: Path, device: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Unpacked it is the routed configuration; a file that leaves a pin out is refused."""
    out = tmp_path / "out"
    base = ["synth", str(small), "--device", device, "--fit", "area", "--no-simulate", "--seeds", "1"]
    assert main([*base, "--no-synth", "--out", str(out)]) == 0
    (template,) = out.glob("pins-template.*")
    pins = filled(template, tmp_path / f"board{template.suffix}", SITES[device])
    assert main([*base, "--out", str(out), "--constraints", str(pins)]) == 0
    build = out / "build"
    packed = out / json.loads((out / "report.json").read_text("utf-8"))["bitstream"]
    subprocess.run([UNPACK[device], packed.name, "unpacked"], cwd=build, check=True)
    routed = settings(build / "routed.config")
    assert routed
    assert not routed - settings(build / "unpacked")
    lines = pins.read_text("utf-8").splitlines()
    pins.write_text("\n".join(lines[:-1]) + "\n", "utf-8")
    assert main([*base, "--out", str(out), "--constraints", str(pins)]) == 1
    assert "unconstrained" in capsys.readouterr().err


def settings(path: Path) -> Counter[str]:
    """What a configuration sets: all of an iCE40's, the words of an ECP5 that hold a zero."""
    text = path.read_text("utf-8")
    if ".logic_tile" in text:
        return Counter(
            line for line in text.splitlines() if line and not line.startswith((".comment", ".sym"))
        )
    return Counter(line for line in text.splitlines() if line.startswith("word:") and "0" in line.split()[-1])
