"""A system that grants too little: one sentence in time, nothing left behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikejelly_pack.spec import exchange

LIMITED = """
import resource, sys, lava_bridge
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import SpikePackError
network = exchange.load(sys.argv[1])
x = exchange.golden_samples(network, sys.argv[1])["x"]
if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    lava_bridge.simulate(network, x, codes=True, engine=sys.argv[2], progress=False, timeout=30)
    print("fine")
except SpikePackError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("engine", "limit", "text"),
    [
        (
            "loihi",
            44,
            "refused: Lava run: 5 Processes need more descriptors, processes or memory than",
        ),
        (
            "async",
            60,
            "refused: Lava run: 5 Processes need more descriptors, processes or memory than",
        ),
        ("inline", 24, "fine"),
    ],
)
def test_hard_limit_of_file_descriptors(
    engine: str, limit: int, text: str, make_small_net: Any, watch: Any, tmp_path: Path
) -> None:
    path = tmp_path / "net.spk"
    exchange.save(make_small_net(), path, {"x": [[1, 2, 3, 4, 5, 6]]})
    said = watch.start(LIMITED, path, engine, limit).communicate(timeout=30)[0]
    assert text in said, said
    assert "Traceback" not in said
    watch.assert_nothing_left()


@pytest.fixture(scope="module")
def little_shared_memory() -> list[str]:
    """Return the start of a command that runs in 64 MB of /dev/shm, as in a container."""
    inside = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        start = [*command, "sh", "-c", inside, "sh"]
        try:
            if subprocess.run([*start, "true"], capture_output=True, timeout=10, check=False).returncode == 0:
                return start
        except OSError:
            break
    pytest.skip("this system lets nobody mount a small /dev/shm of their own (unshare -m)")


@pytest.mark.parametrize("engine", ["loihi", "async"])
def test_little_shared_memory(
    engine: str, little_shared_memory: list[str], watch: Any, make_wide_net: Any, tmp_path: Path
) -> None:
    """Containers have 64 MB: Lava's default of 64 slots would die of a bus error where 4 fit."""
    for side, text in (
        (260, "fine"),
        (1100, r"refused: Lava run: /dev/shm must hold 7\d\.\d MB of messages, got 6"),
    ):
        path = tmp_path / f"{side}.spk"
        exchange.save(make_wide_net(side), path, {"x": np.ones((2, 1, side, side), np.uint8)})
        said = watch.start(LIMITED, path, engine, prefix=little_shared_memory).communicate(timeout=60)[0]
        assert re.match(text, said), said
        watch.assert_nothing_left()
