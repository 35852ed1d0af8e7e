"""Every variant a launcher can ask for, as parameters and their values, and samples that cover them.

There are some hundred thousand variants; :func:`covering` picks few in which every value of every parameter
meets every value of every other one. That is what is compiled ahead to find errors and register spills.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from .launcher.backward import theta_limit
from .launcher.checks import code_dtype
from .launcher.neuron import fire_limit, serial_limit
from .variants import C_TYPES, Code, Variant

__all__ = ["PARAMETERS", "code", "covering", "variant"]

Choice = Mapping[str, object]

_FLOATS = ("f32", "f16", "bf16")
_CODES = ("u8", "u16", "i8", "i16", "i32")
_DIGITS = (*_FLOATS, "i8", "u8")
_SIZE = {"f32": 4, "i32": 4, "u32": 4}
_NEURON = {
    "T": tuple(range(1, 17)), "tau": (2.0, 1.5), "SIGNED": (False, True), "LEAK": (0, 1, 2),
}  # fmt: skip
_PLACE = {"MODE": (0, 1, 2), "V": (1, 4, 8), "I": ("u32", "u64")}
_GRADIENT = {**_NEURON, "G": _FLOATS, "U": _FLOATS, "SERIAL": (False, True), "SCALED": (False, True)}
#: Values of the parameters of every kernel; T and tau make up the template parameter C.
PARAMETERS: dict[str, dict[str, tuple[object, ...]]] = {
    "fire": {**_NEURON, "X": _FLOATS, "Y": _FLOATS, "AMPLITUDE": (0, 1, 2, 3), **_PLACE},
    "serial": {**_NEURON, "X": _FLOATS, **_PLACE},
    "step": {**_NEURON, "X": _FLOATS, **_PLACE, "V": (1, 4)},
    "pack": {"D": _DIGITS, "P": _CODES, "SIGNED": (False, True), "V": (1, 4, 8), "I": ("u32", "u64")},
    "unpack": {"P": _CODES, "D": _DIGITS, "V": (1, 4, 8), "I": ("u32", "u64")},
    "decode_codes": {
        "T": _NEURON["T"], "tau": (2.0, 1.5), "P": _CODES, "Y": _FLOATS, "V": (1, 4, 8), "I": ("u32", "u64"),
    },
    "backward": {**_GRADIENT, **_PLACE},
    "backward_runs": {**_GRADIENT, "V": (1, 4, 8), "I": ("u32", "u64")},
    "backward_last": {**_GRADIENT, "V": (1, 4, 8), "I": ("u32", "u64")},
    "sum_partials": {},
    "pool_codes": {"P": _CODES, "I": ("u32", "u64")},
    "pool_digits": {"D": _DIGITS, "I": ("u32", "u64")},
    "pool_step": {"D": _DIGITS, "I": ("u32", "u64")},
    "product": {
        "X": ("u8", "i8"), "P": _CODES, "FIRE": (False, True), "SIGNED": (False, True), "CONV": (False, True),
        "V": (1, 16), "WIDE": (False, True), "I": ("u32", "u64"),
    },
    "integer_fire": {"P": _CODES, "SIGNED": (False, True), **_PLACE, "V": (1, 4)},
}  # fmt: skip


def code(time_steps: int, tau: float) -> Code:
    """Constants of one code."""
    weights = tuple(tau ** (time_steps - t) for t in range(1, time_steps + 1))
    return Code(time_steps, tau, weights, math.fsum(weights))


def _code_type(time_steps: int, signed: bool) -> str:
    return C_TYPES[code_dtype(time_steps, signed)]


def _same_sign(choice: Choice) -> bool:
    """A signed kernel has signed codes, an unsigned one unsigned codes."""
    return not {"P", "SIGNED"} <= set(choice) or choice["SIGNED"] == str(choice["P"]).startswith("i")


def _product_rule(choice: Choice) -> bool:
    """Without fire the sums come out; with it codes of the node's sign. Wide tiles have short indices."""
    if choice.get("WIDE") and choice.get("I") == "u64":
        return False
    if choice.get("FIRE") is False:
        return choice.get("P", "i32") == "i32" and not choice.get("SIGNED")
    return choice.get("FIRE") is None or _same_sign(choice)


def _fire_rule(choice: Choice) -> bool:
    return choice.get("AMPLITUDE") != 0 or choice.get("X", choice.get("Y")) == choice.get(
        "Y", choice.get("X")
    )


def _unpack_rule(choice: Choice) -> bool:
    return choice.get("D") != "u8" or not str(choice.get("P", "u8")).startswith("i")


def _gradient_rule(choice: Choice) -> bool:
    if choice.get("SERIAL") and (choice.get("SCALED") or choice.get("U", "f32") != "f32"):
        return False
    return "G" not in choice or choice.get("U", "f32") in ("f32", choice["G"])


# Elements of a group at most, as the launcher has it: of T, tau and LEAK.
_LIMITS: dict[str, Callable[[int, float, int], int]] = {
    "fire": lambda _steps, tau, leak: fire_limit(tau, leak),
    "serial": lambda steps, tau, _leak: serial_limit(steps, tau),
    "backward_runs": lambda _steps, tau, _leak: theta_limit(tau),
    "backward_last": lambda _steps, tau, _leak: theta_limit(tau),
}


def _group_rule(kernel: str, choice: Choice) -> bool:
    """Groups of 8 need 16-bit numbers at most and few time steps; channels last needs groups."""
    types = [choice[name] for name in "XYGUPD" if name in choice]
    if {"T", "SIGNED"} <= set(choice) and kernel in ("fire", "serial"):
        types.append(_code_type(choice["T"], choice["SIGNED"]))  # type: ignore[arg-type]
    if choice.get("MODE") == 2 and choice.get("V") == 1:
        return False
    if choice.get("V") != 8:
        return True
    least = (("T", 1), ("tau", 2.0), ("LEAK", 0))
    steps, tau, leak = (cast("Any", choice.get(name, value)) for name, value in least)
    asked = (kernel, "serial") if choice.get("SERIAL") else (kernel,)
    if any(_LIMITS[name](steps, tau, leak) < 8 for name in asked if name in _LIMITS):
        return False
    return not any(_SIZE.get(str(name)) == 4 for name in types)


_RULES = {
    "fire": _fire_rule, "pack": _same_sign, "integer_fire": _same_sign, "unpack": _unpack_rule,
    "product": _product_rule,
    "backward": _gradient_rule, "backward_runs": _gradient_rule, "backward_last": _gradient_rule,
}  # fmt: skip


def _exists(kernel: str, choice: Choice) -> bool:
    """Whether a launcher asks for this combination; parameters may still be missing."""
    return _group_rule(kernel, choice) and (kernel not in _RULES or _RULES[kernel](choice))


def variant(kernel: str, choice: Choice) -> Variant:
    """Variant of a complete choice."""
    values = dict(choice)
    if "T" in values:
        values["C"] = code(values["T"], values["tau"])  # type: ignore[arg-type]
    if kernel in ("fire", "serial"):
        values["P"] = _code_type(values["T"], values["SIGNED"])  # type: ignore[arg-type]
    made = Variant(kernel, ())
    return Variant(kernel, tuple(values[name] for name in made.spec.template))  # type: ignore[misc]


def _pairs(choice: Choice) -> Iterator[tuple[tuple[str, object], ...]]:
    return itertools.combinations(sorted(choice.items(), key=lambda item: item[0]), 2)


def _complete(kernel: str, start: Choice, draw: random.Random) -> dict[str, object] | None:
    """A choice of all parameters that holds ``start``; None where this draw ends in no use."""
    choice = dict(start)
    names = [name for name in PARAMETERS[kernel] if name not in choice]
    draw.shuffle(names)
    for name in names:
        fitting = [v for v in PARAMETERS[kernel][name] if _exists(kernel, {**choice, name: v})]
        if not fitting:
            return None
        choice[name] = draw.choice(fitting)
    return choice


def covering(kernel: str, draws: int = 12, seed: int = 0) -> list[Variant]:
    """Variants of one kernel in which every possible pair of parameter values occurs.

    Args:
        kernel: A key of :data:`PARAMETERS`.
        draws: Candidates per pair; more give a smaller sample.
        seed: Of the draws; the same seed gives the same sample.
    """
    draw = random.Random(seed)
    values = PARAMETERS[kernel]
    singles: list[Choice] = [{name: value} for name, options in values.items() for value in options]
    pairs: list[Choice] = [{**a, **b} for a, b in itertools.combinations(singles, 2) if set(a) != set(b)]
    wanted = pairs or singles[:1] or [{}]
    covered: set[tuple[tuple[str, object], ...]] = set()
    chosen: dict[str, Variant] = {}
    for pair in wanted:
        if not _exists(kernel, pair) or any(key in covered for key in _pairs(pair)):
            continue
        candidates = [c for c in (_complete(kernel, pair, draw) for _ in range(draws)) if c is not None]
        if not candidates:
            continue
        best = max(candidates, key=lambda c: len(set(_pairs(c)) - covered))
        covered.update(_pairs(best))
        made = variant(kernel, best)
        chosen[made.entry] = made
    return list(chosen.values())
