"""A tiny run: digits, a network of a few hundred weights, on the CPU."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

TINY = """
model:
  network: digits_cnn
  network_args: {width: 6, encode: true}
  neuron: {class_path: spikejelly_pack.neuron.SpikePackNode}
  time_steps: 3
  learning_rate: 1.0e-2
data:
  class_path: spikejelly_pack.train.sources.EmbeddedData
  init_args: {source: digits, batch_size: 256}
trainer:
  max_epochs: 2
  accelerator: cpu
  enable_progress_bar: false
  log_every_n_steps: 1
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def train(tiny: Path) -> Callable[..., dict[str, Any]]:
    """``train(out, *options)``: one run in this process."""

    def run(out: Path, *options: str) -> dict[str, Any]:
        from spikejelly_pack.train.command import train as command

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other libraries' remarks on a run this small
                return command(["--config", str(tiny), "--out", str(out), *options])
        finally:
            torch.use_deterministic_algorithms(mode=False)
            torch.set_num_threads(threads)

    return run


@pytest.fixture(scope="session")
def trained(train: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folder and result of one run with EMA, shared by those who only look at it."""
    out = tmp_path_factory.mktemp("trained")
    return out, train(out, "--ema", "0.8", "--trainer.max_epochs", "4")


@pytest.fixture(scope="session")
def log_of() -> Callable[[Path, str], list[float]]:
    """``log_of(out, name)``: the values of a metric in the order they were logged."""

    def read(out: Path, name: str) -> list[float]:
        found = []
        for file in sorted(out.glob("csv/version_*/metrics.csv")):
            with file.open(newline="") as lines:
                found += [float(row[name]) for row in csv.DictReader(lines) if row.get(name)]
        return found

    return read
