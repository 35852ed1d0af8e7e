"""The public names: which there are, and that each says what it takes, gives and refuses."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from importlib.util import find_spec
from typing import Any

import pytest

#: A name leaves this list only with a major version; a new one is added here on purpose.
PUBLIC = {
    "spikejelly_pack": [
        "BitBudgetCounter", "CodeCompressor", "ConversionReport", "DecodeOutput", "IntegerNetwork",
        "LSQActivation", "NeuronParameters", "QCFSActivation", "SpikeDelay", "SpikePackError",
        "SpikePackMatmul", "SpikePackMaxPool2d", "SpikePackModuleRecipe", "SpikePackNetwork",
        "SpikePackNode", "SpikePackProduct", "SpikePackQuantizedRecipe", "SpikePackRecipe",
        "SpikePackValueMaxPool2d", "SpikePackWindow", "SynapseRule", "accelerate", "adapt",
        "build_integer", "convert", "decode_output", "digit_view", "export", "finetune", "latency",
        "read_nir", "set_form", "write_nir",
    ],
    "lava_bridge": ["Simulation", "info", "simulate"],
}  # fmt: skip
NAMES = [(package, name) for package, names in PUBLIC.items() for name in names]


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package: str) -> None:
    assert sorted(importlib.import_module(package).__all__) == sorted(PUBLIC[package])


@pytest.mark.parametrize(
    "package", ["spikejelly_pack", "spikejelly_pack.train", "lava_bridge", "lava_bridge.fpga"]
)
def test_no_late_name_is_that_of_a_file(package: str) -> None:
    """Importing the file would put the module in the place of the function."""
    module = importlib.import_module(package)
    files = {found.name for found in pkgutil.iter_modules(module.__path__)}
    assert sorted(files & set(module.__all__)) == []


def public(package: str, name: str) -> Any:
    if package == "spikejelly_pack" and find_spec("torch") is None:
        pytest.skip("needs torch; this interpreter is the Lava side")
    return getattr(importlib.import_module(package), name)


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_docstring_names_every_parameter(package: str, name: str) -> None:
    """Of a function or constructor; a dataclass may list them as attributes."""
    thing = public(package, name)
    text = inspect.getdoc(thing) or ""
    assert len(text.splitlines()[0]) > 10
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    described = set(re.findall(r"^ +([\w, *]+?)(?: \([^)]*\))?: ", text, flags=re.MULTILINE))
    words = {word.strip(" *") for group in described for word in group.split(",")}
    parameters = inspect.signature(thing).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [p.name for p in parameters if p.kind in kinds and p.name not in words]
    assert missing == []


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_functions_and_layers_name_shapes_or_errors(package: str, name: str) -> None:
    thing = public(package, name)
    text = inspect.getdoc(thing) or ""
    module = (
        find_spec("torch")
        and inspect.isclass(thing)
        and issubclass(thing, importlib.import_module("torch.nn").Module)
    )
    if inspect.isfunction(thing) or module:
        assert re.search(r"\[[\w*., ]+\]|^(Raises|Returns|Shape):", text, flags=re.MULTILINE), (
            "neither a shape nor a result nor an error"
        )
