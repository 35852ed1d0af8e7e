"""Energy of synaptic operations from a table of what one addition and one multiplication cost.

A table is a small JSON file (see ``data/horowitz_45nm.json``) that names its source, technology and scope.
The rules, stated once:

* A factor of 32 bits is a float; one of fewer bits is an integer of that width.
* The accumulator is 32 bits wide, a float where a factor is.
* Bit-serial hardware adds once per digit event; a binary spike never multiplies.
* Word-skipping hardware multiplies and adds once per word event; what does not spike, once per
  multiply-accumulate.
* A multiplication takes the narrowest entry that holds both factors.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .budget import FLOAT_BITS, RATES, SynapticCost
from .errors import ParameterError
from .parameters import check_choice

__all__ = ["DEFAULT_TABLE", "EnergyTable", "load_energy_table", "synaptic_energy"]

DEFAULT_TABLE = "horowitz_45nm"
_DATA = Path(__file__).parent / "data"
_WIDTH_DIGITS = 4
_TEXT = ("name", "source", "scope", "unit")


@dataclass(frozen=True)
class EnergyTable:
    """Energy of one operation by type (``int8``, ``float32``, ...).

    Attributes:
        name: Short name.
        source: Where the numbers are from.
        technology_nm: Node of the process.
        scope: What the numbers cover.
        unit: Of the numbers, for example pJ.
        add: Energy of one addition by type.
        multiply: Energy of one multiplication by type.
    """

    name: str
    source: str
    technology_nm: float
    scope: str
    unit: str
    add: Mapping[str, float]
    multiply: Mapping[str, float]

    def __post_init__(self) -> None:
        for field in _TEXT:
            if not isinstance(getattr(self, field), str) or not getattr(self, field):
                raise self._wrong(field, "text", getattr(self, field))
        if not _positive(self.technology_nm):
            raise self._wrong("technology_nm", "a positive number", self.technology_nm)
        for field, needed in (("add", ("int32", "float32")), ("multiply", ("float32",))):
            entries: Mapping[object, object] = getattr(self, field)
            named = isinstance(entries, Mapping) and all(
                _width(key) and _positive(v) for key, v in entries.items()
            )
            if not named or any(key not in entries for key in needed):
                raise self._wrong(field, f"positive numbers by type with {' and '.join(needed)}", entries)

    def _wrong(self, field: str, requirement: str, value: object) -> ParameterError:
        return ParameterError(
            f"energy table {self.name!r}: {field} must be {requirement}, got {value!r}; mend the file."
        )

    def addition(self, real: bool) -> float:
        """One addition to the accumulator."""
        return self.add["float32" if real else "int32"]

    def multiplication(self, bits: int, real: bool) -> float:
        """One multiplication of two factors of at most ``bits`` bits.

        Raises:
            ParameterError: No integer entry is wide enough.
        """
        if real:
            return self.multiply["float32"]
        wide = {_width(key): value for key, value in self.multiply.items() if key.startswith("int")}
        holding = [width for width in wide if width >= bits]
        if not holding:
            raise self._wrong(
                "multiply", f"given for an integer of at least {bits} bits", dict(self.multiply)
            )
        return wide[min(holding)]


def _width(key: object) -> int:
    """Bits of ``int8`` or ``float32``; 0 where it is no such name."""
    text = str(key)
    digits = text.removeprefix("float") if text.startswith("float") else text.removeprefix("int")
    return int(digits) if digits.isdecimal() and digits != text and len(digits) <= _WIDTH_DIGITS else 0


def _positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 < value <= sys.float_info.max  # an int may be larger than every float


def load_energy_table(file: str | os.PathLike[str] = DEFAULT_TABLE) -> EnergyTable:
    """A table by the name of one that comes with the package, or from a JSON file.

    Raises:
        ParameterError: There is no such table, or it is not complete; the message names the entry.
    """
    known = {item.stem: item for item in sorted(_DATA.glob("*.json"))}
    path = known.get(os.fspath(file), Path(file))
    if not path.is_file():
        names = ", ".join(known)
        raise ParameterError(f"energy table: must be a JSON file or one of {names}, got {str(file)!r}.")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ParameterError(
            f"energy table {str(path)!r}: must be JSON, got {error}; mend the file."
        ) from None
    fields = set(EnergyTable.__dataclass_fields__)
    entries = cast("dict[str, Any]", found) if isinstance(found, dict) else None
    if entries is None or set(entries) != fields:
        given = type(cast("object", found)).__name__ if entries is None else sorted(entries)
        raise ParameterError(
            f"energy table {str(path)!r}: must have the entries {', '.join(sorted(fields))}, got {given}; "
            "add or remove entries."
        )
    return EnergyTable(**entries)


def synaptic_energy(cost: SynapticCost, table: EnergyTable, rate: str = "digit") -> float:
    """Energy of one synaptic operation for one sample, in the table's unit.

    Args:
        cost: The operation.
        table: Energies.
        rate: ``"digit"``: bit-serial hardware; ``"word"``: hardware that skips words that are zero.
    """
    check_choice("synaptic_energy", "rate", rate, RATES)
    spikes = [item for item in cost.operands if item.kind == "spikes"]
    real = any(item.bits == FLOAT_BITS for item in cost.operands if item.kind != "spikes")
    add = table.addition(real)
    widest = max((item.bits // item.terms for item in cost.operands), default=0)
    events = cost.digit_events if rate == "digit" else cost.word_events
    if not spikes or events is None:
        return cost.macs * cost.windows * (table.multiplication(widest, real) + add)
    binary = all(item.digits == item.terms for item in spikes)
    if binary or rate == "digit":
        return events * add
    return events * (table.multiplication(widest, real) + add)
