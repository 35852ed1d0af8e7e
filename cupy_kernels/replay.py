"""Launches repeated: arguments that differ from earlier ones in their addresses alone need no second check.

Checking arguments, choosing a variant and laying out its parameters takes Python several times as long as
the launch itself, and a network launches the same kernels with the same shapes at every step. What decided a
launch is kept beside it; found again, the launch is made with the new addresses and nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from .arrays import Address
from .execution import Kernel, Queue
from .variants import Variant

__all__ = ["Replay"]

# Kept launches; a program that goes on asking for new shapes starts over.
_MOST = 4096


@dataclass(frozen=True)
class _Launch:
    """One launch of a loaded kernel: its arguments, and where addresses go into them."""

    kernel: Kernel
    blocks: tuple[int, int, int]
    threads: tuple[int, int, int]
    arguments: tuple[np.generic, ...]
    slots: tuple[tuple[int, str], ...]

    def run(self, addresses: dict[str, int], stream: int) -> None:
        arguments = list(self.arguments)
        for place, name in self.slots:
            arguments[place] = np.uint64(addresses[name])
        self.kernel(self.blocks, self.threads, tuple(arguments), stream)


@dataclass(frozen=True)
class _Recorder(Queue):
    """A queue that remembers what it launched."""

    launches: list[_Launch] = field(default_factory=list)

    def launch(self, variant: Variant, blocks: tuple[int, int, int], threads: int, values: Any) -> None:
        super().launch(variant, blocks, threads, values)
        slots: list[tuple[int, str]] = []
        for place, (declared, name) in enumerate(variant.parameters):
            value = values[name]
            if isinstance(value, Address):
                slots.append((place, value.argument))
            elif "*" in declared and value:
                raise TypeError(f"{variant.entry}: the address {name!r} is that of no argument.")
        kernel = self.backend.kernel(variant, self.device)
        self.launches.append(
            _Launch(kernel, blocks, (threads, 1, 1), variant.arguments(values), tuple(slots))
        )


@cache
def _names(function: Callable[..., None]) -> tuple[str, ...]:
    """Names of a launcher function's arguments behind the queue."""
    return tuple(inspect.signature(function).parameters)[1:]


def _decisive(value: Any) -> Any:
    """What of an argument decides a launch: all of a number, all but the address of a tensor."""
    if not hasattr(value, "data_ptr"):
        return value
    # No access is wider than 16 bytes.
    return value.shape, value.stride(), value.dtype, value.get_device(), value.data_ptr() % 16


class Replay:
    """Launcher functions, called again with less work where only addresses are new.

    Results, errors and the order of launches are those of the functions. Safe in threads.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], tuple[_Launch, ...]] = {}

    def launch(self, function: Callable[..., None], queue: Queue, *arguments: Any, **options: Any) -> None:
        """``function(queue, *arguments, **options)``.

        Args:
            function: Of :mod:`.launcher`.
            queue: Where to run.
            arguments: torch tensors, and values that can be hashed.
            options: The same.

        Raises:
            KernelArgumentError: As ``function``.
            KernelEnvironmentError: As ``function``.
        """
        key = (
            function, queue.backend, queue.device, *map(_decisive, arguments), *options,
            *map(_decisive, options.values()),
        )  # fmt: skip
        known = self._kept.get(key)
        if known is None:
            recorder = _Recorder(queue.backend, queue.device, queue.stream, queue.guard)
            function(recorder, *arguments, **options)
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[key] = tuple(recorder.launches)
            return
        given = dict(zip(_names(function), arguments, strict=False)) | options
        addresses = {name: value.data_ptr() for name, value in given.items() if hasattr(value, "data_ptr")}
        with queue.guard():
            for launch in known:
                launch.run(addresses, queue.stream)
