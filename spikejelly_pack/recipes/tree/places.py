"""What calibration found at each place, and the plan that a converted network runs by."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...spec.errors import ExchangeFileError

__all__ = ["Operand", "Place", "Plan", "module_name", "node_name"]

VERSION = 2


def module_name(place: str) -> str:
    """A place as the name of a module: such names hold no dots."""
    return place.replace(".", "/")


def node_name(place: str, operand: int | str) -> str:
    """Name of a node among the modules of a network."""
    return module_name(f"{place}:{operand}")


@dataclass
class Operand:
    """One coded input: its node's sign, number of thresholds, channels' axis (None: one threshold) and T."""

    signed: bool
    thresholds: int
    axis: int | None
    time_steps: int


@dataclass
class Place:
    """One synaptic operation: its coded inputs by position or keyword, and the parameter it reads."""

    operands: dict[str, Operand] = field(default_factory=dict)
    weight: str | None = None


@dataclass
class Plan:
    """Everything but the numbers: places, their nodes, and how often each is called in one pass.

    Attributes:
        time_steps: T of the window, the largest of the nodes'.
        rounding: Of every node.
        share_calls: As in :class:`.SpikePackModuleRecipe`.
        places: By their name.
        calls: Numbers of calls seen, by module and operation.
        corrections: Channels of the outputs that an improver corrects, by place.
    """

    time_steps: int
    rounding: str
    share_calls: bool
    places: dict[str, Place] = field(default_factory=dict)
    calls: dict[str, list[int]] = field(default_factory=dict)
    corrections: dict[str, int] = field(default_factory=dict)

    def to_tensor(self) -> Tensor:
        """As bytes in a tensor, so that a file of tensors holds it."""
        text = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()

    @classmethod
    def from_tensor(cls, data: Tensor) -> Plan:
        """Read it back.

        Raises:
            ExchangeFileError: It is not a plan of this version.
        """
        try:
            found: dict[str, Any] = json.loads(bytes(data.cpu().tolist()).decode())
            version = found.pop("version")
            places = {
                key: Place({name: Operand(**o) for name, o in place["operands"].items()}, place["weight"])
                for key, place in found.pop("places").items()
            }
            plan = cls(**found, places=places)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ExchangeFileError(
                f"SpikePackNetwork: the plan in the file must be readable, got {type(error).__name__}: "
                f"{' '.join(str(error).split())}; save the network again."
            ) from None
        if version != VERSION:
            raise ExchangeFileError(
                f"SpikePackNetwork: the plan must have version {VERSION}, got {version}; convert again."
            )
        return plan
