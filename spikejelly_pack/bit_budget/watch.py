"""The modules of a running pass: their names, and what neurons, quantizers and weights emit.

Counter modes hand over the modules that are running, nothing else. A module that emits a signal of its own
gets a hook for this one call when its first operation is seen; parameters are known from there on too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..layer import SpikePackMaxPool2d
from ..neuron import SpikePackNode
from ..recipes.quantizers import QUANTIZERS
from .signals import ANALOG, Ledger, Signal, float_bits, hidden
from .sources import Emission, Reader, reader_of
from .storage import storage_of

__all__ = ["Watch"]

#: Modules with a reader whose operations are followed all the same.
_TRANSPARENT = (*QUANTIZERS, parametrize.ParametrizationList, SpikePackMaxPool2d)


class Watch:
    """Follows the modules of a pass.

    Args:
        book: Where signals are entered.
        extra_sources: Readers of the user.

    Attributes:
        names: Path of every module of the networks seen.
        window: Time steps of a window in serial form, None where no node has it.
        parameters: Storages of parameters and buffers.
        spikes: Ones of every emitting module's output, by path.
    """

    def __init__(self, book: Ledger, extra_sources: Mapping[type, Reader]) -> None:
        self.book, self.extra_sources = book, extra_sources
        self.names: dict[nn.Module, str] = {}
        self.window: int | None = None
        self.parameters: set[int] = set()
        self.spikes: dict[str, float] = {}
        self._readers: dict[nn.Module, Reader | None] = {}
        self._hooks: dict[nn.Module, Any] = {}
        self._memory: dict[nn.Module, dict[str, Any]] = {}

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._hooks.values():
            handle.remove()
        self._hooks.clear()

    def see(self, active: set[nn.Module]) -> None:
        """These modules are running; the largest is introduced first, so that paths start at the root."""
        fresh = [module for module in active if module not in self._readers]
        for module in sorted(fresh, key=lambda m: -sum(1 for _ in m.modules())):
            self._readers[module] = reader_of(module, self.extra_sources)
            self._introduce(module)
        for module in active:
            if self._readers[module] is not None and module not in self._hooks:
                self._hooks[module] = module.register_forward_hook(functools.partial(_emit, self))

    def opaque(self, active: set[nn.Module]) -> str | None:
        """Path of a running module whose operations are its own affair, None where there is none."""
        for module in active:
            if self._readers[module] is not None and not isinstance(module, _TRANSPARENT):
                return self.names[module]
        return None

    def path(self, active: set[nn.Module]) -> str:
        """Path of the innermost running module."""
        return max((self.names[module] for module in active), key=len, default="")

    def _introduce(self, module: nn.Module) -> None:
        if module not in self.names:
            for path, child in module.named_modules():
                self.names.setdefault(child, path)
                if self.window is None and isinstance(child, SpikePackNode) and child.form == "serial":
                    self.window = child.params.window_steps
        for x in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if x.is_floating_point() and self.book.find(x) is None:
                self.book.put(x, Signal("weight", float_bits(x)))
                self.parameters.add(storage_of(x))

    def emitted(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A neuron, quantizer or computed weight is done."""
        handle = self._hooks.pop(module, None)
        if handle is not None:
            handle.remove()
        if isinstance(output, (tuple, list)):
            output = output[0]
        reader = self._readers.get(module)
        if reader is None or not isinstance(output, Tensor) or not output.is_floating_point():
            return
        path = self.names[module]
        with hidden():
            incoming = self.book.find(inputs[0]) if inputs else None
            memory = self._memory.setdefault(module, {})
            found = reader(Emission(path, module, inputs, output, incoming, memory))
            if found is None:
                if not isinstance(module, _TRANSPARENT):
                    self.book.put(output, replace(ANALOG, sources=(f"output of {path}",)))
                return
            signal, shadows = found
            self.book.put(output, signal, shadows)
            if shadows is not None and not isinstance(module, _TRANSPARENT):
                self.spikes[path] = self.spikes.get(path, 0.0) + float(shadows[0].sum(dtype=torch.float64))


def _emit(watch: Watch, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    watch.emitted(module, inputs, output)
