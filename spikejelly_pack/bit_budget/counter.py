"""BitBudgetCounter: S-ACE of every synaptic operation of a pass, on SpikingJelly's counter contract."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from spikingjelly.activation_based.op_counter import BaseCounter
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_flatten

from ..layer import FormModule, SpikePackMaxPool2d, WindowModule
from ..neuron import SpikePackNode
from ..recipes.quantizers import QUANTIZERS
from ..recipes.tree.rules import operation_name
from ..spec.budget import check_bits
from ..spec.errors import DtypeError, UnsupportedError
from .passing import Call, passes
from .products import ELEMENTWISE, PRODUCTS, Product
from .rows import Row
from .signals import ANALOG, Ledger, Signal, float_bits, hidden
from .sources import Emission, Reader, reader_of

__all__ = ["BitBudgetCounter"]

#: Modules with a reader whose operations are followed all the same.
_TRANSPARENT = (*QUANTIZERS, parametrize.ParametrizationList, SpikePackMaxPool2d)


class BitBudgetCounter(BaseCounter):
    """Counts S-ACE (ACE where nothing spikes), with everything a :class:`.BudgetReport` needs.

    Use it as SpikingJelly's counters, under ``DispatchCounterMode`` or ``FunctionCounterMode``; or through
    :func:`.measure`, which runs the pass and returns the report. ``get_total()`` and ``get_counts()`` are
    S-ACE of the whole batch. Where the bits of a value come from: neurons and quantizers are recognised as
    modules, and what they emit is followed through pools, sums, scales and views to the synapses. A value of
    unknown origin is analog, with the bits of its type, and :attr:`analog` names it.

    Args:
        weight_bits: Bits of weights that nothing quantizes, one number or by module path (``"*"``: the rest);
            None: as stored, at most 32.
        activation_bits: The same for analog values.
        time_steps: Steps of one window that executions with analog operands repeat; None reads it off the
            nodes of the network.
        extra_sources: ``{module type: reader}``, see :mod:`spikejelly_pack.bit_budget.sources`.

    Attributes:
        rows: Synaptic operations by module path and name.
        spikes: Ones of every emitting module's output, by path, whole batch.
        elementwise: Operations that are no synapses, and their calls.
        inside: Multiply-accumulates inside neurons and quantizers, which are outside S-ACE, by path.
        analog: Where analog values enter synapses, and what they are.
        parameters: Storages of the modules' parameters and buffers.
    """

    def __init__(
        self,
        *,
        weight_bits: int | Mapping[str, int] | None = None,
        activation_bits: int | Mapping[str, int] | None = None,
        time_steps: int | None = None,
        extra_sources: Mapping[type, Reader] | None = None,
    ) -> None:
        super().__init__()
        self.weight_bits = _widths("weight_bits", weight_bits)
        self.activation_bits = _widths("activation_bits", activation_bits)
        self.time_steps = (
            None if time_steps is None else check_bits("BitBudgetCounter", "time_steps", time_steps)
        )
        self.extra_sources = dict(extra_sources or {})
        self._window: int | None = None
        self._clear()

    def _clear(self) -> None:
        self.book = Ledger()
        self.rows: dict[Any, Row] = {}
        self.spikes: dict[str, float] = {}
        self.elementwise: dict[str, int] = {}
        self.inside: dict[str, int] = {}
        self.analog: dict[str, tuple[str, ...]] = {}
        self.parameters: set[int] = set()
        self._watched: dict[nn.Module, Any] = {}
        self._readers: dict[nn.Module, Reader | None] = {}
        self._names: dict[nn.Module, str] = {}
        self._memory: dict[nn.Module, dict[str, Any]] = {}

    def reset(self) -> None:
        """Forget everything that was counted."""
        super().reset()
        for handle in self._watched.values():
            handle.remove()
        self._clear()

    def declare(self, x: Tensor, bits: int = 32, *, spikes: bool = False, signed: bool = False) -> Tensor:
        """Say what an input is: analog values of ``bits`` bits, or spikes of one digit (0 and 1).

        Returns:
            ``x``.

        Raises:
            DtypeError: ``spikes`` and other values than 0 and 1 (signed: -1).
        """
        check_bits("declare", "bits", bits)
        if not spikes:
            self.book.put(x, Signal("analog", bits, sources=("input",)))
            return x
        if not bool(((x == 0) | (x == 1) | ((x == -1) & signed)).all()):
            raise DtypeError(
                "declare: spikes must be 0 or 1 (with signed=True also -1), got other values; declare "
                "their bits."
            )
        ones = (x != 0).to(torch.float32)
        self.book.put(x, Signal("spikes", 1 + signed, 1, signed, sources=("input",)), (ones, ones))
        return x

    # -- SpikingJelly's contract ------------------------------------------------------------------------

    def has_rule(self, func: Any) -> bool:
        """Whether an operation is a synapse or is known to be none.

        Raises:
            UnsupportedError: The event of a module: modules alone do not show products and sums.
        """
        if isinstance(func, tuple):
            raise UnsupportedError(
                "BitBudgetCounter: the mode must be DispatchCounterMode or FunctionCounterMode, got "
                "ModuleCounterMode, which sees no products and sums outside of modules; use one of these."
            )
        name = operation_name(func)
        return name in PRODUCTS or passes(name, func) is not None

    def count(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        active_modules: set[nn.Module] | None = None,
        parent_names: set[str] | None = None,
    ) -> int:
        """S-ACE of one operation, in whole units: fractions of a word are carried to the word's last step."""
        active = active_modules or set()
        with hidden():
            self._look_at(active, args, kwargs)
            emitting = [module for module in active if self._readers.get(module) is not None]
            call = Call(operation_name(func), func, args, kwargs or {}, out)
            window = next((m for m in active if isinstance(m, FormModule)), None)
            call.decoding = isinstance(window, WindowModule)
            products = self._products(call)
            if any(not isinstance(module, _TRANSPARENT) for module in emitting):
                self._inside(emitting, products)
                return 0
            if products is None:
                rule = passes(call.name, func)
                assert rule is not None
                rule(self.book, call)
                self.elementwise[call.name] = self.elementwise.get(call.name, 0) + 1
                return 0
            path = self._path(active)
            total = sum(self._enter(path, name, p, window) for name, p in _named(call.name, products))
            if isinstance(call.output, Tensor):
                self.book.put(
                    call.output, replace(ANALOG, sources=(f"{call.name} in {path or 'the network'}",))
                )
            return total

    # -- what runs --------------------------------------------------------------------------------------

    def _products(self, call: Call) -> list[Product] | None:
        rule = PRODUCTS.get(call.name)
        if rule is not None:
            return rule(call.args, call.kwargs, call.out)
        both = [self.book.find(x) for x in call.args[:2]] if call.name in ELEMENTWISE else []
        if len(both) == 2 and all(signal is not None and signal.spikes for signal in both):
            return ELEMENTWISE[call.name](call.args, call.kwargs, call.out)
        return None

    def _inside(self, emitting: list[nn.Module], products: list[Product] | None) -> None:
        for product in products or ():
            path = self._names.get(emitting[0], type(emitting[0]).__name__)
            self.inside[path] = self.inside.get(path, 0) + product.macs

    def _enter(self, path: str, name: str, product: Product, window: Any) -> int:
        sides = (product.first, product.second)
        raw = [self.book.find(x) for x in sides]
        if window is not None and any(signal is not None and signal.kind == "constant" for signal in raw):
            return 0  # digits are put together to a word, or the shape of a product is asked for
        factors = [self._signal(x, path) for x in sides]
        shadows = [self.book.shadows(x) if s.spikes else None for x, s in zip(sides, factors, strict=True)]
        for signal in factors:
            if signal.kind == "analog":
                self.analog[path] = signal.sources or ("unknown",)
        per_step = all(signal.spikes for signal in factors)
        first, second = (signal.operand(per_step) for signal in factors)
        operands = (
            (second, first)
            if factors[0].kind == "weight" and factors[1].kind != "weight"
            else (first, second)
        )
        steps = self._steps(factors)
        key = (path, name, operands, steps)
        row = self.rows.setdefault(key, Row(path, name, operands, steps))
        row.stored = next((k for x in sides if (k := x.untyped_storage()._cdata) in self.parameters), None)
        return row.add(product, factors, shadows)

    def _signal(self, x: Tensor, path: str) -> Signal:
        found = self.book.find(x)
        if found is None:
            found = Signal("analog", float_bits(x))
        if found.kind == "constant":
            found = replace(found, kind="weight", bits=float_bits(x))
        unknown = {"weight": self.weight_bits, "analog": self.activation_bits}.get(found.kind)
        if unknown and found.bits == float_bits(x):
            found = replace(found, bits=unknown.get(path, unknown.get("*", found.bits)))
        return found

    def _steps(self, factors: list[Signal]) -> int:
        """Executions of one word."""
        trains = [signal for signal in factors if signal.spikes]
        if len(trains) == 2:
            return 1
        if trains:
            return trains[0].steps
        return self.time_steps or self._window or 1

    # -- who runs ---------------------------------------------------------------------------------------

    def _look_at(self, active: set[nn.Module], args: Any, kwargs: Any) -> None:
        fresh = [module for module in active if module not in self._readers]
        for module in sorted(fresh, key=lambda m: -sum(1 for _ in m.modules())):
            self._readers[module] = reader_of(module, self.extra_sources)
            self._introduce(module)
        for module in active:
            if self._readers[module] is not None and module not in self._watched:
                self._watch(module)
        for x in tree_flatten((args, kwargs))[0]:
            if isinstance(x, nn.Parameter) and self.book.find(x) is None:
                self.book.put(x, Signal("weight", float_bits(x)))

    def _introduce(self, module: nn.Module) -> None:
        if module not in self._names:
            for path, child in module.named_modules():
                self._names.setdefault(child, path)
            serial = [
                node.time_steps
                for node in module.modules()
                if isinstance(node, SpikePackNode) and node.form == "serial"
            ]
            if self._window is None and serial:
                self._window = max(serial)
        for x in (*module._parameters.values(), *module._buffers.values()):
            if isinstance(x, Tensor) and x.is_floating_point() and self.book.find(x) is None:
                self.book.put(x, Signal("weight", float_bits(x)))
                self.parameters.add(x.untyped_storage()._cdata)

    def _path(self, active: set[nn.Module]) -> str:
        return max((self._names.get(module, "") for module in active), key=len, default="")

    def _watch(self, module: nn.Module) -> None:
        # A hook of this one call: modes do not say when they begin and end.
        self._watched[module] = module.register_forward_hook(functools.partial(_emit, self))

    def emitted(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A neuron, quantizer or computed weight is done."""
        handle = self._watched.pop(module, None)
        if handle is not None:
            handle.remove()
        if isinstance(output, (tuple, list)):
            output = output[0]
        reader = self._readers.get(module)
        if reader is None or not isinstance(output, Tensor) or not output.is_floating_point():
            return
        with hidden():
            path = self._names.get(module, type(module).__name__)
            incoming = self.book.find(inputs[0]) if inputs else None
            memory = self._memory.setdefault(module, {})
            found = reader(Emission(path, module, inputs, output, incoming, memory))
            if found is None:
                if not isinstance(module, _TRANSPARENT):
                    self.book.put(output, replace(ANALOG, sources=(f"output of {path}",)))
                return
            signal, shadows = found
            self.book.put(output, signal, shadows)
            if shadows is not None and isinstance(module, nn.Module):
                self.spikes[path] = self.spikes.get(path, 0.0) + float(shadows[0].sum(dtype=torch.float64))


def _named(name: str, products: list[Product]) -> list[tuple[str, Product]]:
    """Operations that hold several products get one row for each."""
    names = [name] if len(products) == 1 else [f"{name}.{index}" for index in range(len(products))]
    return list(zip(names, products, strict=True))


def _widths(name: str, given: int | Mapping[str, int] | None) -> dict[str, int]:
    if given is None:
        return {}
    widths = dict(given) if isinstance(given, Mapping) else {"*": given}
    return {path: check_bits("BitBudgetCounter", name, bits) for path, bits in widths.items()}


def _emit(counter: BitBudgetCounter, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    counter.emitted(module, inputs, output)
