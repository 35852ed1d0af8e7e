"""Two processes over gloo: the same losses as one, and what happens when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import distributed

from spikejelly_pack.train import load_network
from spikejelly_pack.train.processes import leaving_its_group, lost_process
from spikejelly_pack.train.saved import read_checkpoint

DEADLINE = 240.0  # seconds; a run takes ten on a free core
# Runs in every process of a run when it ends, after all else that is to run then.
LAST = """
import atexit, os
from pathlib import Path
def tell():
    names = [(thread / "comm").read_text() for thread in Path("/proc/self/task").iterdir()]
    Path(os.environ["THREADS"], str(os.getpid())).write_text("".join(names))
atexit.register(tell)
"""
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


@contextmanager
def started(tiny: Path, out: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, of which nothing is left after the block."""
    command = [
        sys.executable,
        "-m",
        "spikejelly_pack",
        "train",
        "--config",
        str(tiny),
        "--out",
        str(out),
        *options,
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=DEADLINE)


def group(leader: int) -> list[int]:
    """Living processes of a process group, without zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[2] == str(leader) and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.1)


def test_two_processes_lose_what_one_loses(
    train: Any, tiny: Path, tmp_path: Path, log_of: Any, tolerance: Any
) -> None:
    """Float64, no BatchNorm: batches of 2 x 150 on two processes, one of 300 on one.

    The samples are the same, gradients are sums of the same terms in another order: the bound is that of
    accumulated gradients, ``1e4 * between(300)`` (see there), on every step's loss.
    """
    same = (
        "--trainer.precision", "64-true", "--model.network_args.norm", "false",
        "--data.init_args.augment", "false", "--trainer.max_epochs", "2",
    )  # fmt: skip
    train(tmp_path / "one", *same, "--data.init_args.batch_size", "300")
    with started(tiny, tmp_path / "two", *same, *TWO, "--data.init_args.batch_size", "150") as process:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors
    one, two = (log_of(tmp_path / name, "train_loss") for name in ("one", "two"))
    assert len(one) == 8
    assert two == pytest.approx(one, abs=1e4 * tolerance("float64").between(300))
    assert abs(one[0] - one[-1]) > 1e-3  # the curve goes somewhere
    states = [read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("one", "two")]
    assert states[0]["global_step"] == states[1]["global_step"] == 8


def test_threads_of_gloo_end_before_the_interpreter(tiny: Path, tmp_path: Path) -> None:
    """Those that are left may abort a process whose training was whole."""
    (tmp_path / "sitecustomize.py").write_text(LAST)
    (tmp_path / "threads").mkdir()
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    options = {"PYTHONPATH": path, "THREADS": str(tmp_path / "threads")}
    with started(tiny, tmp_path / "out", *TWO, "--trainer.max_epochs", "1", **options) as process:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors
        names = {file.name: file.read_text() for file in (tmp_path / "threads").iterdir()}
        assert str(process.pid) in names
    assert len(names) >= 2
    assert not [name for name in names.values() if "gloo" in name]


@pytest.mark.parametrize("victim", ["second", "first"])
def test_a_killed_process_ends_the_run(tiny: Path, tmp_path: Path, victim: str) -> None:
    """Every process ends within the deadline, one sentence names the checkpoint, and it can be used."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    with started(tiny, tmp_path, *TWO, "--trainer.max_epochs", "100000") as process:
        wait_for(lambda: last.is_file() and len(group(process.pid)) >= 2, process)
        second = next(pid for pid in group(process.pid) if pid != process.pid)
        os.kill(second if victim == "second" else process.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=DEADLINE)
        end = time.monotonic() + DEADLINE
        while group(process.pid):
            assert time.monotonic() < end
            time.sleep(0.1)
    assert process.returncode == (1 if victim == "second" else -signal.SIGKILL)
    said = [line for line in errors.splitlines() if line.startswith("spikepack: ")]
    assert len(said) == 1
    if victim == "second":
        assert "process 1 of the run ended with code -9" in said[0]
    assert f"training stopped; go on with --resume {last}" in said[0]
    assert "Traceback" not in errors
    assert load_network(last).config["network"] == "digits_cnn"
    assert read_checkpoint(last)["epoch"] >= 0


def test_which_groups_are_left(tmp_path: Path) -> None:
    def join(name: str) -> None:
        distributed.init_process_group("gloo", f"file://{tmp_path}/{name}", rank=0, world_size=1)

    def fail() -> None:
        with leaving_its_group():
            join("failed")
            raise KeyError

    try:
        with leaving_its_group():
            join("own")
        assert not distributed.is_initialized()
        join("given")
        with leaving_its_group():
            pass
        assert distributed.is_initialized()
        distributed.destroy_process_group()
        with pytest.raises(KeyError):
            fail()
        assert distributed.is_initialized()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def test_one_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Observer and main thread may notice a loss together: the second is silent until the next run."""
    from lightning.pytorch.strategies.launchers import subprocess_script

    from spikejelly_pack.train import processes

    monkeypatch.setattr(subprocess_script, "_launch_process_observer", None)
    processes.watch_with("{} {}".format)
    assert processes.first_to_report()
    assert not processes.first_to_report()
    processes.end_all([], "spikepack: a second sentence")  # returns: it does not end this process
    processes.watch_with("{} {}".format)
    assert processes.first_to_report()


def test_lost_process() -> None:
    with_code = [subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"]) for code in (0, 3)]
    for process in with_code:
        process.wait(DEADLINE)
    assert lost_process(with_code) == (2, 3)
    assert lost_process(with_code[:1]) is None
    assert lost_process([]) is None
