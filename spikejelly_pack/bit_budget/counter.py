"""BitBudgetCounter: S-ACE of every synaptic operation of a pass, on SpikingJelly's counter contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from spikingjelly.activation_based.op_counter import BaseCounter
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ..layer import FormModule, WindowModule
from ..recipes.tree.rules import operation_name
from ..spec.budget import check_bits
from ..spec.errors import DtypeError, ParameterError, UnsupportedError
from .passing import Call, passes
from .product import Product
from .products import ELEMENTWISE, PRODUCTS
from .rows import Row
from .signals import ANALOG, Ledger, Signal, float_bits, hidden
from .sources import Reader
from .storage import storage_of
from .watch import Watch

__all__ = ["BitBudgetCounter"]


class BitBudgetCounter(BaseCounter):
    """Counts S-ACE (arXiv 2311.10802; ACE where nothing spikes), and all that a :class:`.BudgetReport` needs.

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
        rows: Synaptic operations, in order.
        elementwise: Operations that are no synapses, and their calls.
        inside: Multiply-accumulates inside neurons and quantizers, which are outside S-ACE, by path.
        analog: Where analog values enter synapses, and what they are.
        watch: The modules that ran, and their spikes.

    Raises:
        ParameterError: A width or ``time_steps`` is not a positive integer.
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
        self.widths = {
            "weight": _widths("weight_bits", weight_bits),
            "analog": _widths("activation_bits", activation_bits),
        }
        if time_steps is not None:
            check_bits("BitBudgetCounter", "time_steps", time_steps)
        self.time_steps = time_steps
        self.extra_sources = dict(extra_sources or {})
        self._clear()

    def _clear(self) -> None:
        self.book = Ledger()
        self.watch = Watch(self.book, self.extra_sources)
        self._clear_counts()

    def _clear_counts(self) -> None:
        self._rows: dict[Any, Row] = {}
        self.elementwise: dict[str, int] = {}
        self.inside: dict[str, int] = {}
        self.analog: dict[str, tuple[str, ...]] = {}

    @property
    def rows(self) -> list[Row]:
        """Synaptic operations, in the order of their first call."""
        return list(self._rows.values())

    def reset(self) -> None:
        """Forget everything that was counted."""
        super().reset()
        self.watch.close()
        self._clear()

    def restart(self) -> None:
        """Begin counting anew, but keep what is known about the tensors that states hold."""
        super().reset()
        self.watch.spikes.clear()
        self._clear_counts()

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
                "ModuleCounterMode, which sees no products and sums outside of modules; use one of them."
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
            self.watch.see(active)
            self._see_parameters(args, kwargs)
            call = Call(operation_name(func), func, args, kwargs or {}, out)
            window = next((module for module in active if isinstance(module, FormModule)), None)
            call.decoding = isinstance(window, WindowModule)
            products = self._products(call)
            owner = self.watch.opaque(active)
            if owner is not None:
                if products:
                    self.inside[owner] = self.inside.get(owner, 0) + sum(item.macs for item in products)
                return 0
            if products is None:
                return self._pass(call)
            return self._synapse(call, products, self.watch.path(active), window is not None)

    # -- one operation ----------------------------------------------------------------------------------

    def _see_parameters(self, args: Any, kwargs: Any) -> None:
        """Parameters that no module of the pass owns."""
        for x in tree_flatten((args, kwargs))[0]:
            if isinstance(x, nn.Parameter) and self.book.find(x) is None:
                self.book.put(x, Signal("weight", float_bits(x)))

    def _products(self, call: Call) -> list[Product] | None:
        rule = PRODUCTS.get(call.name)
        if rule is not None:
            return rule(call.args, call.kwargs, call.out)
        both = [self.book.find(x) for x in call.args[:2]] if call.name in ELEMENTWISE else []
        if len(both) == 2 and all(signal is not None and signal.spikes for signal in both):
            return ELEMENTWISE[call.name](call.args, call.kwargs, call.out)
        return None

    def _pass(self, call: Call) -> int:
        rule = passes(call.name, call.func)
        assert rule is not None
        rule(self.book, call)
        self.elementwise[call.name] = self.elementwise.get(call.name, 0) + 1
        return 0

    def _synapse(self, call: Call, products: list[Product], path: str, windowed: bool) -> int:
        names = [call.name] if len(products) == 1 else [f"{call.name}.{i}" for i in range(len(products))]
        total = sum(
            self._enter(path, name, product, windowed) for name, product in zip(names, products, strict=True)
        )
        if isinstance(call.output, Tensor):
            origin = f"{call.name} in {path or 'the network'}"
            self.book.put(call.output, replace(ANALOG, sources=(origin,)))
        return total

    def _enter(self, path: str, name: str, product: Product, windowed: bool) -> int:
        sides = (product.first, product.second)
        known = [self.book.find(x) for x in sides]
        if windowed and any(signal is not None and signal.kind == "constant" for signal in known):
            return 0  # digits are put together to a word, or the shape of a product is asked for
        factors = [self._signal(x, signal, path) for x, signal in zip(sides, known, strict=True)]
        shadows = [self.book.shadows(x) if s.spikes else None for x, s in zip(sides, factors, strict=True)]
        for signal in factors:
            if signal.kind == "analog":
                self.analog[path] = signal.sources or ("unknown",)
        per_step = all(signal.spikes for signal in factors)
        first, second = (signal.operand(per_step) for signal in factors)
        if first.kind == "weight" and second.kind != "weight":
            first, second = second, first
        steps = self._steps(factors)
        key = (path, name, first, second, steps)
        row = self._rows.setdefault(key, Row(path, name, (first, second), steps))
        parameters = self.watch.parameters
        row.stored = next((k for x in sides if (k := storage_of(x)) in parameters), None)
        return row.add(product, factors, shadows)

    def _signal(self, x: Tensor, found: Signal | None, path: str) -> Signal:
        if found is None:
            found = Signal("analog", float_bits(x))
        if found.kind == "constant":
            found = replace(found, kind="weight", bits=float_bits(x))
        widths = self.widths.get(found.kind)
        if widths and found.bits == float_bits(x):
            found = replace(found, bits=widths.get(path, widths.get("*", found.bits)))
        return found

    def _steps(self, factors: list[Signal]) -> int:
        """Executions of one word."""
        trains = [signal for signal in factors if signal.spikes]
        if len(trains) == 2:
            return 1
        return trains[0].steps if trains else self.time_steps or self.watch.window or 1


def _widths(name: str, given: Any) -> dict[str, int]:
    if given is None:
        return {}
    widths = dict(given) if isinstance(given, Mapping) else {"*": given}
    if not all(isinstance(path, str) for path in widths):
        raise ParameterError(
            f"BitBudgetCounter: {name} must be a number or numbers by module path, got {given!r}; '*' names "
            "the rest."
        )
    return {path: check_bits("BitBudgetCounter", name, bits) for path, bits in widths.items()}
