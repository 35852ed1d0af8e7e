"""The cocotb bench of a generated folder, in Icarus Verilog (tox run -e cocotb)."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import lava_bridge
from lava_bridge.fpga import tools

pytestmark = pytest.mark.cocotb


def bench(folder: Path) -> None:
    """Run the bench in the folder; cocotb ends the process where a test of it fails."""
    runner_of = pytest.importorskip("cocotb_tools.runner").get_runner
    tools.find("iverilog")
    shutil.copy(str(files("lava_bridge.fpga") / "bench" / "cocotb_bench.py"), folder)
    manifest = json.loads((folder / "design.json").read_text("utf-8"))
    runner = runner_of("icarus")
    runner.build(
        sources=[folder / name for name in manifest["sources"]],
        hdl_toplevel=manifest["top"],
        build_dir=folder / "cocotb",
        timescale=("1ns", "1ps"),
        always=True,
    )
    runner.test(
        hdl_toplevel=manifest["top"], test_module="cocotb_bench", build_dir=folder / "cocotb", test_dir=folder
    )


def test_bench_passes(pool_net: Any, tmp_path: Path) -> None:
    lava_bridge.fpga.build(pool_net, tmp_path / "out")
    bench(tmp_path / "out")


def test_bench_sees_a_wrong_beat(dense_net: Any, tmp_path: Path) -> None:
    lava_bridge.fpga.build(dense_net, tmp_path / "out")
    wanted = tmp_path / "out" / "out_0.expected"
    lines = wanted.read_text("utf-8").split()
    lines[-1] = f"{int(lines[-1], 16) ^ 1:08x}"
    wanted.write_text("\n".join(lines), "utf-8")
    with pytest.raises(SystemExit):
        bench(tmp_path / "out")
