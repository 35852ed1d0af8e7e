"""The generated folder, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lava_bridge
from lava_bridge.fpga import Options, PopulationOptions, plan, tools
from lava_bridge.fpga.cycles import source_codes
from lava_bridge.fpga.generate import replacing_folder, rtl_sources
from lava_bridge.fpga.simulators import choose
from lava_bridge.fpga.streams import beats_of_codes, codes_of_beats
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.bounds import accumulator_widths
from spikejelly_pack.spec.errors import OutputError, ParameterError, SpikePackError


def test_a_file_becomes_a_folder(residual_net: Any, tmp_path: Path) -> None:
    exchange.save(residual_net, tmp_path / "net.spk")
    design = lava_bridge.fpga.build(tmp_path / "net.spk", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "design.json").read_text("utf-8"))
    assert manifest["top"] == design.top
    for name in manifest["sources"]:
        assert (tmp_path / "out" / name).is_file()
    top = (tmp_path / "out" / f"{design.top}.sv").read_text("utf-8")
    for name in re.findall(r'"(\w+\.mem)"', top):
        assert (tmp_path / "out" / name).stat().st_size > 0
    lava_bridge.fpga.build(residual_net, tmp_path / "out")  # its own folder is replaced
    assert not list(tmp_path.glob(".*"))


def test_a_folder_of_others_is_left_alone(residual_net: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match="must be a new folder"):
        lava_bridge.fpga.build(residual_net, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_folder_has_the_usual_permissions(residual_net: Any, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        lava_bridge.fpga.build(residual_net, tmp_path / "out")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def test_a_full_disk_leaves_nothing(residual_net: Any, tmp_path: Path) -> None:
    def write() -> None:
        with replacing_folder(tmp_path / "out") as folder:
            (folder / "design.json").write_text("half", "utf-8")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match="out: the disk must hold the folder, got No space left on device;"):
        write()
    assert os.listdir(tmp_path) == []


def test_registers_are_exactly_as_wide_as_the_worst_case(residual_net: Any, pool_net: Any) -> None:
    for network in (residual_net, pool_net):
        widths = accumulator_widths(network)
        design = plan(network)
        assert {name: p.acc_bits for name, p in design.populations.items()} == widths


def test_no_multiplier_anywhere() -> None:
    for name, text in rtl_sources().items():
        code = re.sub(r"//.*", "", text)
        products = re.findall(r"\w+\s*\*\s*\w+", code)
        # what remains are widths, indices and loop constants: all are known when the design is elaborated
        known = re.compile(r"[A-Z0-9_]+|[fgijlmnpqtdb]|index", re.ASCII)
        for product in products:
            assert all(known.fullmatch(side.strip()) for side in product.split("*")), f"{name}: {product}"


def test_codes_travel_and_come_back(pool_net: Any, corner_codes: Callable[..., Any]) -> None:
    design = plan(pool_net)
    values = source_codes(design, corner_codes(pool_net, 9))
    for name, stream in design.streams.items():
        beats = beats_of_codes(stream, values[name])
        assert len(beats) == 9 * stream.beats
        assert np.array_equal(codes_of_beats(stream, beats, values[name].shape[1:]), values[name])


def test_single_bits_of_a_map_travel_and_come_back() -> None:
    """T = 1 without a sign, a single sample: its map may come as a transposed view."""
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(4, 3, 2), time_steps=1),
        g.Scale(name="s", inputs=("x",), weight_bits=8, multiplier=np.ones(4, np.int32)),
        g.Readout(name="out", inputs=("s",), scale=np.ones(4), bias=np.zeros(4, np.int32)),
    ]
    stream = plan(g.Network(ops, 1), Options(fire=4)).streams["x"]
    codes = np.random.default_rng(0).integers(0, 2, size=(1, 4, 3, 2))
    beats = beats_of_codes(stream, codes)
    expected = np.moveaxis(codes, 1, -1).reshape(-1, 4) @ [1, 2, 4, 8]  # first channel in the lowest bit
    assert np.array_equal(beats[:, 0], expected)
    assert np.array_equal(codes_of_beats(stream, beats, codes.shape[1:]), codes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lanes": 0}, "lanes must be an integer in 1..4096, got 0"),
        ({"fire": 3}, "fire must be a power of two"),
        ({"weight_memory": "tape"}, "weight_memory must be one of auto, block, distributed, got 'tape'"),
        ({"digits": "ternary"}, "digits must be one of csd, binary"),
    ],
)
def test_options_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Options(**options)


def test_refusals_name_what_is_wrong(residual_net: Any) -> None:
    with pytest.raises(ParameterError, match=r"per must name .* got 'nobody'"):
        plan(residual_net, Options(per={"nobody": PopulationOptions(lanes=2)}))
    with pytest.raises(ParameterError, match="engine must be auto or one of"):
        choose("modelsim")


def test_an_operation_without_hardware_is_refused() -> None:
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2, 2, 2)),
        g.Scale(name="s", inputs=("x",), weight_bits=8, multiplier=np.ones(2, np.int32)),
        g.Upsample2d(name="up", inputs=("s",)),
        g.Readout(name="out", inputs=("up",), scale=np.ones(2), bias=np.zeros(2, np.int32)),
    ]
    with pytest.raises(SpikePackError, match="upsample2d 'up': has no hardware for currents"):
        plan(g.Network(ops, 4))


def test_memory_between_windows_is_refused(dense_net: Any) -> None:
    ops = list(dense_net.ops.values())
    leaky = [replace(op, leak_shift=2) if isinstance(op, g.Neuron) else op for op in ops]
    with pytest.raises(SpikePackError, match=r"neuron 'n1' must have no leak here, got leak_shift = 2; "):
        plan(g.Network(leaky, 5))
    with pytest.raises(SpikePackError, match="a sample must be one window here, got windows = 3; "):
        plan(g.Network(ops, 5, windows=3))


def test_the_folder_checks_itself(residual_net: Any, tmp_path: Path) -> None:
    """``make sim`` prints PASS, and an error where one beat differs."""
    if tools.available("iverilog") is None or tools.available("vvp") is None:
        pytest.skip("iverilog is not installed")
    folder = tmp_path / "out"
    lava_bridge.fpga.build(residual_net, folder)
    done = subprocess.run(["make", "sim"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout.split()
    lines = (folder / "probe_1.expected").read_text("utf-8").splitlines()
    lines[-1] = f"{int(lines[-1], 16) ^ 1:x}"
    (folder / "probe_1.expected").write_text("\n".join(lines), "utf-8")
    done = subprocess.run(["make", "sim"], cwd=folder, capture_output=True, text=True, check=False)
    assert "PASS" not in done.stdout
    assert "error: probe_1: beat" in done.stdout


def test_lint(residual_net: Any, pool_net: Any, tmp_path: Path) -> None:
    """Verilator's warnings, all of them, are errors."""
    tool = tools.available("verilator")
    if tool is None:
        pytest.skip("verilator is not installed")
    cases = [(net, form) for net in (residual_net, pool_net) for form in ("event", "line")]
    for number, (network, form) in enumerate(cases):
        design = lava_bridge.fpga.build(network, tmp_path / str(number), Options(lanes=4, convolution=form))
        done = subprocess.run(
            [tool.command, "--lint-only", "-Wall", "-y", ".", "--top-module", design.top, f"{design.top}.sv"],
            cwd=tmp_path / str(number),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
