"""A file of version 1, written by the release that knew no other, in torch and accelerated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spikejelly_pack.integer import IntegerNetwork, accelerate
from spikejelly_pack.spec.exchange import golden_samples, load

FIRST = Path(__file__).parents[1] / "spec" / "data" / "version1.spk"


@pytest.mark.parametrize("run", [IntegerNetwork, accelerate])
def test_version_1_gives_its_golden_samples(run: type[torch.nn.Module]) -> None:
    network = load(FIRST)
    golden = golden_samples(network, FIRST)
    found = run(network)(torch.from_numpy(golden["x"]))
    assert set(found) >= {op.name for op in network.readouts}
    for name, value in found.items():
        assert torch.equal(value.long(), torch.from_numpy(golden[name].astype("int64"))), name
