"""The limits of a device, read from a small JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from ..errors import ParameterError
from ..graph.base import MAX_SIZE, MAX_WEIGHT_BITS, boolean, integer
from ..graph.wiring import MAX_DELAY
from ..parameters import MAX_TIME_STEPS, check_choice
from ..registers import OVERFLOWS

__all__ = ["LIMITS", "Target", "load_target", "target_names"]

MAX_STATE_BITS = 48
# Limits that a device may leave open (null), and the largest value each can have.
LIMITS = {
    "state_bits": MAX_STATE_BITS,
    "payload_bits": 32,
    "max_fan_in": MAX_SIZE,
    "max_delay": MAX_DELAY * MAX_TIME_STEPS,
}
_DEVICES = Path(__file__).parent / "devices"


@dataclass(frozen=True)
class Target:
    """What one device offers; None means that it sets no limit.

    Attributes:
        name: Short name, used in messages.
        weight_bits: Width of one synaptic weight, sign included.
        state_bits: Width of membrane registers, sign included; None: each layer's exact width.
        overflow: What a register does with a value beyond its width, once per time step after the sum of
            the step is complete: ``"wrap"`` (two's complement) or ``"saturate"``.
        combine_weights: Wider weights may be several synapses with powers of two between them.
        payload_bits: Width of the integer that a graded spike carries, sign included.
        max_fan_in: Synapses of one neuron.
        max_delay: Longest delay of a connection in time steps.
        advisory: Limits whose violation is reported and not refused.
        description: For people.
        sources: Where each value is from, by field.
    """

    name: str
    weight_bits: int
    state_bits: int | None
    overflow: str
    combine_weights: bool = False
    payload_bits: int | None = None
    max_fan_in: int | None = None
    max_delay: int | None = None
    advisory: tuple[str, ...] = ()
    description: str = ""
    sources: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ParameterError(f"target: name must be text, got {self.name!r}; give the device a name.")
        remedy = "use the width of the device"
        bits = integer(self.label, "weight_bits", self.weight_bits, 1, MAX_WEIGHT_BITS, remedy)
        object.__setattr__(self, "weight_bits", bits)
        for name, high in LIMITS.items():
            value, low = getattr(self, name), 2 if name == "state_bits" else 0 if name == "max_delay" else 1
            if value is not None:
                number = integer(
                    self.label, name, value, low, high, "use the device's limit, or null for none"
                )
                object.__setattr__(self, name, number)
        check_choice(self.label, "overflow", self.overflow, OVERFLOWS)
        if boolean(self.label, "combine_weights", self.combine_weights) and self.weight_bits < 2:
            raise ParameterError(
                f"{self.label}: combine_weights must be False where weight_bits is 1, got True; binary "
                "weights have no power of two between them."
            )
        self._check_texts()

    def _check_texts(self) -> None:
        known = {"weight_bits", *LIMITS}
        names = self.advisory
        if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and n in known for n in names):
            raise ParameterError(
                f"{self.label}: advisory must be a list of names out of {sorted(known)}, got "
                f"{self.advisory!r}; name limits that only warn."
            )
        object.__setattr__(self, "advisory", tuple(self.advisory))
        if not isinstance(self.description, str):
            raise ParameterError(
                f"{self.label}: description must be text, got {self.description!r}; quote it."
            )
        names = {item.name for item in fields(self)}
        sources = self.sources
        texts = isinstance(sources, Mapping) and all(isinstance(text, str) for text in sources.values())
        if not texts or not names.issuperset(sources):
            raise ParameterError(
                f"{self.label}: sources must map names of entries to text, got {sources!r}; mend the file."
            )

    @property
    def label(self) -> str:
        """How messages name the target."""
        return f"target {self.name!r}"

    def to_json(self) -> dict[str, Any]:
        """The entries of a target file."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "advisory": list(self.advisory), "sources": dict(self.sources)}


def target_names() -> list[str]:
    """Names of the devices that come with the package."""
    return sorted(path.stem for path in _DEVICES.glob("*.json"))


def load_target(target: str | os.PathLike[str] | Target) -> Target:
    """A device that comes with the package, or the user's own.

    Args:
        target: Name of a device, path of a JSON file with the entries of :class:`Target`, or a target.

    Raises:
        ParameterError: There is no such device, or the file is not complete, not JSON or holds an unknown or
            impossible entry; the message names it.
    """
    if isinstance(target, Target):
        return target
    known = _DEVICES / f"{os.fspath(target)}.json"
    path = known if os.fspath(target) in target_names() else Path(target)
    try:
        entries = json.loads(path.read_text("utf-8"), object_pairs_hook=_unique)
    except OSError as error:
        raise ParameterError(
            f"target: must be one of {target_names()} or a JSON file, got {str(target)!r} "
            f"({error.strerror or error}); check the name."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ParameterError(
            f"target file {str(path)!r}: must be JSON, got {error}; mend the file."
        ) from None
    return _from_entries(str(path), entries)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("an entry that appears twice")
    return entries


def _from_entries(path: str, found: Any) -> Target:
    known = {item.name: item for item in fields(Target)}
    if not isinstance(found, dict):
        raise ParameterError(
            f"target file {path!r}: must hold one JSON object, got {type(found).__name__}; see "
            "docs/targets.md."
        )
    entries = cast("dict[str, Any]", found)
    if unknown := sorted(set(entries) - set(known)):
        raise ParameterError(
            f"target file {path!r}: has the unknown entry {unknown[0]!r}, known are {sorted(known)}; "
            "remove it."
        )
    needed = [n for n, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    if missing := [name for name in needed if name not in entries]:
        raise ParameterError(
            f"target file {path!r}: must have the entries {needed}, got none for {missing}; add them."
        )
    return Target(**entries)
