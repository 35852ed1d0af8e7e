"""``lava_bridge.targets``: the same objects as the package's own, Lava and torch left out."""

from __future__ import annotations

import subprocess
import sys

from lava_bridge import targets
from spikejelly_pack.spec import targets as original


def test_the_same_objects() -> None:
    assert set(targets.__all__) == set(original.__all__)
    for name in original.__all__:
        assert getattr(targets, name) is getattr(original, name)


def test_it_is_loaded_on_demand() -> None:
    script = (
        "import sys, lava_bridge; before = 'lava_bridge.targets' in sys.modules; "
        "print(before, lava_bridge.targets.target_names(), {'torch', 'lava'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False ['generic_fpga', 'loihi2'] set()"
