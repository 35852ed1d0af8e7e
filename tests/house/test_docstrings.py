"""Docstrings of the public names: sections for what a function has, and the source of what was published."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import spikejelly_pack
from spikejelly_pack.spec import errors

ROOT = Path(spikejelly_pack.__file__).parent
ERRORS = {name for name in errors.__all__ if issubclass(getattr(errors, name), errors.SpikePackError)}
NAMES = [
    (package, name)
    for package in ("spikejelly_pack", "lava_bridge")
    for name in importlib.import_module(package).__all__
]
SOURCE = re.compile(r"\barXiv\s+\d{4}\.\d{4,5}\b|\bdoi 10\.\d{4,}/\S+|https://\S+")

#: What implements something published, and one identifier its docstring (or its module's) must give.
PUBLISHED = {
    "spikejelly_pack.neuron.spikepack:SpikePackNode": "2501.14484",
    "spikejelly_pack.spec.parameters:NeuronParameters": "2501.14484",
    "spikejelly_pack.spec.equations": "2501.14484",
    "spikejelly_pack.spec.firing": "2501.14484",
    "spikejelly_pack.spec.gradients": "1308.3432",
    "spikejelly_pack.ops.gradient_rules": "1902.08153",
    "spikejelly_pack.functional.readout:decode_output": "2501.14484",
    "spikejelly_pack.recipes.spikepack:SpikePackRecipe": "2501.14484",
    "spikejelly_pack.recipes.tree.recipe:SpikePackModuleRecipe": "2501.14484",
    "spikejelly_pack.recipes.quantized:SpikePackQuantizedRecipe": "2303.04347",
    "spikejelly_pack.recipes.quantizers.qcfs:QCFSActivation": "2303.04347",
    "spikejelly_pack.recipes.quantizers.lsq:LSQActivation": "1902.08153",
    "spikejelly_pack.recipes.finetune:finetune": "1503.02531",
    "spikejelly_pack.integer.adaptive": "2004.10568",
    "spikejelly_pack.bit_budget.counter:BitBudgetCounter": "2311.10802",
    "spikejelly_pack.spec.budget": "2112.00133",
    "spikejelly_pack.bit_budget.plan.allocate": "2006.10518",
    "spikejelly_pack.bit_budget.quantize.quantizers": "1902.08153",
    "spikejelly_pack.bit_budget.quantize.scale:binary_scale": "1603.05279",
    "spikejelly_pack.analysis.entropy:miller_madow": "10.1162/089976603321780272",
    "spikejelly_pack.tasks.metrics:ConfusionMatrix": "10.1007/s11263-009-0275-4",
    "spikejelly_pack.tasks.metrics:mean_average_precision": "1405.0312",
    "spikejelly_pack.nir_exchange.read:read_nir": "10.1038/s41467-024-52259-9",
    "spikejelly_pack.nir_exchange.write:write_nir": "10.1038/s41467-024-52259-9",
}
#: Entries of registries whose idea is this package's own: how they work stands in their docstrings.
OWN = {"divergence"}


def sections(text: str) -> dict[str, str]:
    """The Google sections of a docstring by name."""
    parts = re.split(r"^(\w+):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def raised(code: ast.AST) -> set[str]:
    """Errors of the package that the code raises itself."""
    calls = [n.exc for n in ast.walk(code) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)} & ERRORS


def public(package: str, name: str) -> Any:
    if package == "spikejelly_pack" and find_spec("torch") is None:
        pytest.skip("needs torch; this interpreter is the Lava side")
    return getattr(importlib.import_module(package), name)


def parsed(thing: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_sections(package: str, name: str) -> None:
    """Args where there are arguments, Returns where something comes back."""
    thing = public(package, name)
    found = sections(inspect.getdoc(thing) or "")
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        assert ("Args" in found) == bool(signature.parameters)
        assert ("Returns" in found) == (signature.return_annotation not in (None, "None"))
    elif not issubclass(thing, Exception):
        assert {"Args", "Attributes"} & set(found)


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_raised_errors_are_named(package: str, name: str) -> None:
    """A function's own errors stand in its docstring; a method's there or in its class's."""
    thing = public(package, name)
    told = sections(inspect.getdoc(thing) or "").get("Raises", "")
    code = parsed(thing)
    methods = (
        [code] if inspect.isfunction(thing) else [n for n in code.body if isinstance(n, ast.FunctionDef)]
    )
    for method in methods:
        own = sections(ast.get_docstring(method) or "").get("Raises", "")
        silent = {error for error in raised(method) if not re.search(rf"\b{error}\b", told + own)}
        assert silent == set(), f"{method.name} raises it"


@pytest.mark.parametrize("place", PUBLISHED)
def test_sources(place: str) -> None:
    """In the docstring, or that of the module."""
    name, _, attribute = place.partition(":")
    if find_spec("torch") is None and not name.startswith("spikejelly_pack.spec"):
        pytest.skip("needs torch; this interpreter is the Lava side")
    module = importlib.import_module(name)
    text = inspect.getdoc(getattr(module, attribute) if attribute else module) or ""
    cited = SOURCE.findall(text) or SOURCE.findall(inspect.getdoc(module) or "")
    assert any(PUBLISHED[place] in source for source in cited)


def registered() -> dict[str, Any]:
    from spikejelly_pack.recipes.calibration import CALIBRATORS
    from spikejelly_pack.recipes.improve import IMPROVERS

    return {**CALIBRATORS, **{name: entry.prepare or entry.repair for name, entry in IMPROVERS.items()}}


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch; this interpreter is the Lava side")
def test_every_calibrator_and_improver_has_a_source() -> None:
    """Its docstring or its module's gives one, or it is listed as this package's own."""
    without = {
        name
        for name, thing in registered().items()
        if not SOURCE.search(f"{inspect.getdoc(thing)} {inspect.getdoc(inspect.getmodule(thing))}")
    }
    assert without == OWN


@pytest.mark.parametrize("path", sorted((ROOT / "spec" / "data").glob("*.json")), ids=lambda path: path.stem)
def test_energy_tables_give_a_source(path: Path) -> None:
    assert SOURCE.search(json.loads(path.read_text("utf-8"))["source"])
