"""The page in the generated folder: what it says about the ports is how the streams are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lava_bridge
from lava_bridge.fpga.streams import beats_of_codes


@pytest.mark.parametrize("name", ["dense_net", "pool_net", "residual_net"])
def test_a_sample_packed_by_the_page(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    network = request.getfixturevalue(name)
    design = lava_bridge.fpga.build(network, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text("utf-8")
    for op in network.inputs:
        row = next(line for line in page.splitlines() if f"| codes of {op.name} |" in line)
        a_beat, bits, beats = (int(cell) for cell in row.split("|")[3:6])
        low = -op.max_code if op.signed else 0
        codes = np.random.default_rng(0).integers(low, op.max_code + 1, op.shape)
        packed: list[int] = []
        for place in codes.reshape(len(codes), -1).T.tolist():  # position by position, channels innermost
            for start in range(0, len(place), a_beat):
                values = [abs(code) + (code < 0) * 2**op.time_steps for code in place[start : start + a_beat]]
                packed.append(sum(value << (bits * k) for k, value in enumerate(values)))
        assert len(packed) == beats
        words = beats_of_codes(design.streams[op.name], codes[None])
        assert packed == [sum(int(word) << (32 * k) for k, word in enumerate(beat)) for beat in words]
    signed = [op.name for op in network.inputs if op.signed]
    assert ("the sign in the bit above it" in page) is bool(signed)
    assert all(f"| membranes of {op.name} |" in page for op in network.readouts)
