"""The layers that SpikePack is compared with compute what numpy computes, with and without stalls."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lava_bridge.fpga import tools
from spikejelly_pack.spec.errors import RunError


@pytest.fixture(scope="module")
def layers(repository: Path) -> ModuleType:
    if tools.available("iverilog") is None:
        pytest.skip(f"iverilog is not installed: {tools.TOOLS['iverilog'].install}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository)  # benchmarks import one another
        module = importlib.import_module("benchmarks.fpga_layers")
    return module


@pytest.mark.parametrize("stall", [0, 40])
@pytest.mark.parametrize(("bits", "fire", "n_in"), [(4, 4, 64), (8, 8, 100)])
def test_equal_to_numpy(
    layers: ModuleType, tmp_path: Path, bits: int, fire: int, n_in: int, stall: int
) -> None:
    size = layers.Size(n_in=n_in, n_out=16, bits=bits, fire=fire)
    trains = layers.bit_trains(np.random.default_rng(5), 8, bits, n_in, 0.2)
    lif = layers.lif(size, bits)
    beats = [max(1, int(step.sum())) for step in trains[2:].reshape(-1, n_in)]
    cycles = layers.simulate(lif, layers.lif_stream(lif, trains, size.weights()), tmp_path, stall)
    assert cycles >= sum(beats) / 6  # one event per cycle at best
    codes = layers.decoded(trains)
    for skip in (True, False):
        for dsp in (True, False):
            mac = layers.mac(size, skip=skip, dsp=dsp)
            stream = layers.mac_stream(mac, codes, size)
            cycles = layers.simulate(mac, stream, tmp_path, stall)
            if not stall:
                wanted = np.maximum(np.count_nonzero(codes[2:], 1), 1).mean() if skip else n_in
                assert cycles == pytest.approx(wanted, abs=0.5)


def test_a_wrong_word_is_seen(layers: ModuleType, tmp_path: Path) -> None:
    size = layers.Size(n_in=64, n_out=16, fire=4)
    mac = layers.mac(size, skip=True, dsp=False)
    stream = layers.mac_stream(mac, np.full((3, 64), 3), size)
    stream.expected[5] ^= 1
    with pytest.raises(RunError, match=r"(?s)mac4_skip_lut: must equal the numpy reference, got .*1 bad"):
        layers.simulate(mac, stream, tmp_path)


def test_rate_code_has_as_many_spikes_as_the_code(layers: ModuleType) -> None:
    codes = np.arange(16)[None]
    assert np.array_equal(layers.rate_trains(codes, 15).sum(1), codes)
