"""The neurons that ``bench training`` and ``bench information`` compare, as class paths of one network."""

from __future__ import annotations

from typing import Any

from spikejelly_pack.data import Split, digits, event_digits
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.train.classifier import Classifier
from spikejelly_pack.train.networks import build_network

__all__ = ["NEURONS", "TASKS", "chosen", "network", "split"]

_HOST = "spikingjelly.activation_based.neuron"
# The soft reset keeps what the hard one throws away, so IF and LIF stand here with both.
NEURONS: dict[str, dict[str, Any]] = {
    "SpikePack": {"class_path": "spikejelly_pack.neuron.SpikePackNode"},
    "IF": {"class_path": f"{_HOST}.IFNode"},
    "IF soft": {"class_path": f"{_HOST}.IFNode", "init_args": {"v_reset": None}},
    "LIF": {"class_path": f"{_HOST}.LIFNode"},
    "LIF soft": {"class_path": f"{_HOST}.LIFNode", "init_args": {"v_reset": None}},
    "PLIF": {"class_path": f"{_HOST}.ParametricLIFNode"},
    "PSN": {"class_path": f"{_HOST}.PSN"},
    "ILIF": {"class_path": f"{_HOST}.ILIFNode"},
}
# Data set -> network of spikejelly_pack.train that is made for it.
TASKS = {"digits": "digits_cnn", "events": "events_cnn"}
# Real time lives in the carried membrane; digits only code a window's value. Leak and first threshold were
# chosen among five pairs on a part of the training clips; the other neurons keep their defaults.
_MEMORY = {"leak": 0.4, "carry": "membrane", "v_threshold": 6.0}


def chosen(names: tuple[str, ...] | list[str] | None, table: dict[str, Any], what: str) -> list[str]:
    """The names asked for, all of ``table`` for None.

    Raises:
        ParameterError: A name is not in the table.
    """
    wanted = list(table) if names is None else list(names)
    unknown = [name for name in wanted if name not in table]
    if unknown:
        raise ParameterError(f"bench: {what} must be among {', '.join(table)}, got {', '.join(unknown)}.")
    return wanted


def split(task: str) -> Split:
    """The data of a task."""
    return digits() if task == "digits" else event_digits()


def network(task: str, neuron: str, time_steps: int, width: int) -> Classifier:
    """An untrained network of a task with one kind of neuron."""
    given = {**NEURONS[neuron], "init_args": dict(NEURONS[neuron].get("init_args", {}))}
    if task == "events" and neuron == "SpikePack":
        given["init_args"].update(_MEMORY)
    if task == "events" and neuron == "PSN":
        given["init_args"]["T"] = split_windows(task)
    return build_network(TASKS[task], given, time_steps=time_steps, options={"width": width})


def split_windows(task: str) -> int:
    """Real time steps of a task's samples: 8 for events, 1 for images."""
    return 8 if task == "events" else 1
