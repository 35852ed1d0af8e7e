"""Names, laziness and registration."""

from __future__ import annotations

import subprocess
import sys

import pytest

import spikejelly_pack


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_exported_name_is_there() -> None:
    assert sorted(spikejelly_pack.EXPORTS) == spikejelly_pack.__all__
    for name in spikejelly_pack.__all__:
        assert getattr(spikejelly_pack, name) is not None
        assert name in dir(spikejelly_pack)
    with pytest.raises(AttributeError, match="has no attribute 'SpikePack'"):
        _ = spikejelly_pack.SpikePack


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'spikingjelly', 'numpy', 'cupy', 'lava', 'matplotlib', 'sklearn'}"
    assert run(f"import sys, spikejelly_pack; print({heavy} & set(sys.modules))").strip() == "set()"


def test_importing_the_neuron_registers_it() -> None:
    code = (
        "import spikejelly_pack.neuron\n"
        "from spikingjelly.activation_based.distributed.vision import config\n"
        "print('spikejelly_pack.neuron.spikepack.SpikePackNode' in config._NEURON_REGISTRY)\n"
        "import sys; print({'cupy', 'lava', 'sklearn', 'matplotlib', 'lightning'} & set(sys.modules))\n"
    )
    assert run(code).split("\n")[:2] == ["True", "set()"]
