"""Calibration that can be stopped and continued: what was seen goes to a file every few batches.

The file says what it belongs to: the network's weights, the settings, and each batch that was read. All three
are checked, so that statistics of different calibrations never mix; a checksum tells a damaged file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..spec.atomic import check_writable
from ..spec.errors import ExchangeFileError, ParameterError, SpikePackError
from ..spec.reason import reason
from .files import read_about, read_tensors, write_tensors
from .nested import tensors_in
from .observer import Observer

__all__ = ["Resumable", "Resume", "State", "observers_state", "restore_observers", "stored_route"]

KEY = "spikepack_calibration"
VERSION = 2
State = tuple[dict[str, Tensor], dict[str, Any]]


class Resumable(Protocol):
    """Statistics that can be kept: tensors, and facts that JSON holds."""

    def state(self) -> State:
        """All that was seen so far."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from a state."""
        ...


class Resume:
    """One calibration and its file.

    Args:
        path: The file; None keeps nothing.
        every: Batches between two writes, >= 1.

    Raises:
        ParameterError: ``every`` is no positive integer.
        OutputError: The file could not be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None, every: int = 10) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ParameterError(
                f"conversion: resume_every must be a positive integer, got {every!r}; it counts batches."
            )
        self.path, self.every = None if path is None else Path(path), every
        if self.path is not None:
            check_writable(self.path)
        self._about: dict[str, Any] = {}

    def belongs_to(self, model: nn.Module, route: str, settings: Mapping[str, Any]) -> None:
        """Say what is calibrated; settings that JSON holds."""
        if self.path is not None:
            self._about = {"model": fingerprint(model), "route": route, "settings": dict(settings)}

    def over(self, data: Iterable[Any], seen: Resumable) -> Iterator[tuple[Any, bool]]:
        """The batches of ``data``, each with whether it is still to be observed.

        Raises:
            ExchangeFileError: The file belongs to another network, other settings or other data.
        """
        if self.path is None:
            yield from ((batch, True) for batch in data)
            return
        done = self._continue(seen)
        digests: list[str] = []
        for number, batch in enumerate(data):
            digests.append(_digest(tensors_in(batch)))
            if number < len(done) and digests[number] != done[number]:
                raise self._another(
                    f"the data of this calibration, got other values in batch {number}; read the data in one "
                    "fixed order (shuffle=False)"
                )
            yield batch, number >= len(done)
            if number >= len(done) and (number + 1) % self.every == 0:
                self._write(seen, digests)
        if len(digests) < len(done):
            raise self._another(f"the data of this calibration, got {len(digests)} batches of {len(done)}")
        self._write(seen, digests)

    def _continue(self, seen: Resumable) -> list[str]:
        """Restore what the file holds; returns the digests of its batches."""
        assert self.path is not None
        if not self.path.exists():
            return []
        found = _read(self.path)
        words = {"model": "the weights of this network", "route": "this route", "settings": "these settings"}
        for name, what in words.items():
            if found.get(name) != self._about[name]:
                got = "others" if name == "model" else found.get(name)
                raise self._another(f"{what}, got {got}")
        try:
            tensors = read_tensors(self.path)
            if found.get("checksum") != _checksum(tensors, found):
                raise ValueError("statistics that do not match their checksum")
            seen.restore(tensors, found["facts"])
            return list(found["batches"])
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, SpikePackError):
                raise
            raise self._another(f"whole statistics, got {reason(error)}") from None

    def _another(self, problem: str) -> ExchangeFileError:
        return ExchangeFileError(
            f"{self.path}: must hold an unfinished calibration with {problem}; delete the file or name "
            "another by resume=."
        )

    def _write(self, seen: Resumable, digests: list[str]) -> None:
        assert self.path is not None
        tensors, facts = seen.state()
        about = {"version": VERSION, **self._about, "batches": digests, "facts": facts}
        write_tensors(self.path, tensors, KEY, {**about, "checksum": _checksum(tensors, about)})


def stored_route(path: str | os.PathLike[str] | None) -> str | None:
    """The route a file was written on; None without a file."""
    return None if path is None or not Path(path).exists() else str(_read(path).get("route"))


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    found = read_about(path, KEY, "a calibration with resume=")
    if not isinstance(found, dict) or found.get("version") != VERSION or "facts" not in found:
        raise ExchangeFileError(
            f"{path}: must be a calibration of version {VERSION}; delete it and start anew."
        )
    return found


def fingerprint(model: nn.Module) -> str:
    """Of names and values of all parameters and buffers."""
    state = model.state_dict()
    names = "|".join(state)
    return f"{_digest(value for value in state.values() if isinstance(value, Tensor))}-{_text(names)}"


def observers_state(observers: Mapping[str, Observer]) -> State:
    """State of observers by name."""
    tensors = {
        f"{name}|{key}": value
        for name, observer in observers.items()
        for key, value in observer.tensors().items()
    }
    return tensors, {name: observer.facts() for name, observer in observers.items()}


def restore_observers(
    observers: Mapping[str, Observer], tensors: Mapping[str, Tensor], facts: Mapping[str, Any], device: Any
) -> None:
    """Give observers their state back."""
    own: dict[str, dict[str, Tensor]] = {name: {} for name in observers}
    for name, value in tensors.items():
        owner, _, key = name.rpartition("|")
        own[owner][key] = value.to(device)
    for name, observer in observers.items():
        observer.restore(own[name], facts[name])


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Of the tensors and of what the JSON document says besides."""
    told = json.loads(json.dumps({name: about[name] for name in ("batches", "facts")}))
    names = sorted(tensors)
    return f"{_digest(tensors[name] for name in names)}-{_text(json.dumps([names, told], sort_keys=True))}"


def _text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _digest(tensors: Iterable[Tensor]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        found.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
