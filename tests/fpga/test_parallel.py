"""Seeds beside one another: order, progress, and that nothing outlives a failure or a signal."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lava_bridge.fpga import parallel, tools
from lava_bridge.fpga.parallel import side_by_side
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import RunError


@pytest.fixture(autouse=True)
def three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processors", lambda: 3)


def test_runs_overlap_and_come_back_in_order() -> None:
    together = threading.Barrier(3, timeout=120)  # breaks unless three run at once
    shown: list[str] = []

    def work(item: int, tick: Callable[[str], Any]) -> int:
        together.wait()
        tick("not shown")
        return 10 * item

    assert side_by_side(work, (7, 5, 6), "place", shown.append) == [70, 50, 60]
    assert len(shown) == 3
    assert all(line.startswith("place, seed") and " of 3 done, " in line for line in shown)


def test_a_failure_ends_the_others(tmp_path: Path) -> None:
    """Run 2 fails once the others wait; they would go on after a minute."""
    (tmp_path / "tool").write_text(
        "#!/bin/sh\nif [ $1 = 2 ]; then until [ -e 1 ] && [ -e 3 ]; do sleep 0.1; done; exit 3; fi\n"
        "echo $$ > new-$1; mv new-$1 $1; sleep 60; touch late-$1\n"
    )
    (tmp_path / "tool").chmod(stat.S_IRWXU)
    tool = tools.Tool("tool", str(tmp_path / "tool"), "1", "native")

    def work(item: int, tick: Callable[[str], Any]) -> None:
        tools.run(tool, [str(item)], tmp_path, stage=f"run {item}", progress=tick)

    with pytest.raises(RunError, match=r"run 2 .* ended with code 3"):
        side_by_side(work, (1, 2, 3), "place")
    for name in ("1", "3"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)
        assert not (tmp_path / f"late-{name}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_tools_and_leaves_no_folder(
    number: signal.Signals, tmp_path: Path, dense_net: Any
) -> None:
    """Placing with three seeds; the tools are scripts that wait."""
    exchange.save(dense_net, tmp_path / "net.spk")
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "yosys": '[ "$1" = -V ] && echo Yosys 9.9 && exit\n'
        "echo '{\"modules\": {}}' > netlist.json\n"
        'echo \'{"design": {"num_cells_by_type": {"TRELLIS_FF": 1}}}\' > statistics.json',
        "nextpnr-ecp5": f'[ "$1" = --version ] && exit\necho $$ >> {tmp_path}/pids; exec sleep 600',
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(stat.S_IRWXU)
    program = (
        "import signal, sys; from lava_bridge.fpga import parallel; from spikejelly_pack.cli import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell's background jobs ignore it
        "parallel.processors = lambda: 3; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "synth", "net.spk", "--out", "out", "--no-simulate"]
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        pids = tmp_path / "pids"
        end = time.monotonic() + 120  # imports and three starts on a busy machine
        while (not pids.exists() or len(pids.read_text().split()) < 3) and time.monotonic() < end:
            time.sleep(0.1)
        assert list(tmp_path.glob(".out.*.part"))
        process.send_signal(number)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert said.strip().endswith("spikepack: interrupted")
    assert not list(tmp_path.glob(".out*"))
    assert not (tmp_path / "out").exists()
    for pid in map(int, pids.read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
