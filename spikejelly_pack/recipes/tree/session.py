"""One forward pass of a converted or calibrated network: every torch operation goes through here.

A place is ``path:operation`` and the number of the call there within the pass: functional operations and
modules called several times have one place per call.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...spec.errors import UnsupportedError
from .attention import multi_head_attention, scaled_dot_product_attention
from .hooks import running
from .recurrent import RECURRENT, unrolled
from .rules import (
    HIDDEN,
    SOMA,
    SYNAPSES,
    SynapseRule,
    einsum_macs,
    is_module_type,
    operation_name,
    own_operator,
)

__all__ = ["NORMALIZATION", "Session"]

#: Namespaces of the operators behind SpikingJelly's neurons: sj_if, sj_lif, ...
_SPIKINGJELLY = "sj_"
#: The one operation besides synapses that has places: improvers correct its output.
NORMALIZATION = "batch_norm"


def _in_a_row(tensors: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.matmul, tensors)


def _chained(*tensors: Tensor) -> Tensor:
    return _in_a_row(tensors)


_DECOMPOSED: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "multi_head_attention_forward": multi_head_attention,
    "linalg_multi_dot": _in_a_row,
    "chain_matmul": _chained,
}


class Session(TorchFunctionMode):
    """Base of the calibrating and of the spiking pass.

    Args:
        extra_rules: Rules of the user, by module type or function.
        share_calls: All calls of an operation in one module are one place.
    """

    def __init__(self, extra_rules: dict[Any, Any], share_calls: bool) -> None:
        super().__init__()
        self.extra_rules, self.share_calls = extra_rules, share_calls
        self.stack: list[str] = []
        self.counts: Counter[str] = Counter()
        self._next_place: str | None = None
        self.sealed: list[tuple[nn.Module, SynapseRule | str, str, list[Any]]] = []

    # -- what the two passes do differently -------------------------------------------------------------

    def code(self, place: str, operand: int | str, x: Any, axis: int | None) -> Any:
        """The operand as its consumer receives it."""
        raise UnsupportedError(f"layer {place!r}: Session must be a calibrating or a spiking one; use these.")

    def synapse_done(
        self, place: str, kind: str, inputs: list[Any], macs: Callable[[], int], analog: bool = False
    ) -> None:
        """A synaptic operation was run."""

    def corrected(self, place: str, output: Any, axis: int) -> Any:
        """The output of a synapse or a BatchNorm as its readers receive it; channels on ``axis``."""
        return output

    def done(self, name: str, inputs: tuple[Any, Any], output: Any) -> None:
        """Any operation was run on ``(args, kwargs)``; ``name`` is empty for synaptic ones."""

    # -- where we are -----------------------------------------------------------------------------------

    def run(self, model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One forward pass of ``model``."""
        outer = getattr(running, "session", None)
        running.session = self
        try:
            with self:
                return model(*args, **kwargs)
        finally:
            running.session = outer

    @property
    def path(self) -> str:
        """Path of the module that is running."""
        return self.stack[-1] if self.stack else ""

    def place(self, name: str) -> str:
        """Key of the next call of an operation here."""
        site = f"{self.path}:{name}"
        index = 0 if self.share_calls else self.counts[site]
        self.counts[site] += 1
        return f"{site}{index}"

    # -- modules ----------------------------------------------------------------------------------------

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A module starts; one with a rule of its own gets its inputs coded and is not looked into."""
        self.stack.append(path)
        rule = self._module_rule(module)
        if rule is None or self.sealed:
            return None
        if rule == SOMA:
            self.sealed.append((module, rule, path, [args, kwargs]))
            return None
        place = self.place(type(module).__name__)
        bound, rest = self.coded(place, rule, args, kwargs)
        self.sealed.append((module, rule, place, bound))
        return tuple(bound), rest

    def leave(self, module: nn.Module, output: Any) -> None:
        """A module is done."""
        self.stack.pop()
        if not self.sealed or self.sealed[-1][0] is not module:
            return
        _, rule, place, inputs = self.sealed.pop()
        if isinstance(rule, SynapseRule):
            kind = type(module).__name__
            self.synapse_done(place, kind, inputs, lambda: int(rule.macs(module, inputs, output)))
        else:
            self.done(type(module).__name__, tuple(inputs), output)

    def _module_rule(self, module: nn.Module) -> Any:
        for key, rule in self.extra_rules.items():
            if is_module_type(key) and isinstance(module, key):
                return rule
        return None

    # -- operations -------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation on spikes, or as it is."""
        kwargs = kwargs or {}
        if self.sealed:
            return func(*args, **kwargs)
        name = operation_name(func)
        rule = self._rule(func, name)
        if isinstance(rule, SynapseRule):
            return self._synapse(func, name, rule, args, kwargs)
        if rule is None:
            if name in _DECOMPOSED:
                with self:
                    return _DECOMPOSED[name](*args, **kwargs)
            if name == NORMALIZATION:
                return self._normalization(func, args, kwargs)
            if name == "einsum":
                return self._einsum(func, args, kwargs)
            if name in RECURRENT:
                return self._recurrent(name, args, kwargs)
            if name in HIDDEN:
                return self._analog(func, name, args, kwargs)
        output = func(*args, **kwargs)
        self.done(name, (args, kwargs), output)
        return output

    def _rule(self, func: Any, name: str) -> Any:
        for key in (func, getattr(func, "overloadpacket", None)):
            if key is not None and key in self.extra_rules:
                return self.extra_rules[key]
        unknown = own_operator(func)
        if unknown is not None and unknown.startswith(_SPIKINGJELLY):
            raise UnsupportedError(
                f"layer {self.path!r}: the network must be an ANN, got a spiking neuron of SpikingJelly "
                f"({unknown}); convert an ANN, or build the network with spiking_neuron=SpikePackNode."
            )
        if unknown is not None:
            raise UnsupportedError(
                f"layer {self.path!r}: the custom operation {unknown} has no conversion rule; pass "
                f"extra_rules={{torch.ops.{unknown.replace('::', '.')}: 'soma'}}, or a SynapseRule if it "
                "multiplies and accumulates."
            )
        return SYNAPSES.get(name)

    def coded(
        self, place: str, rule: SynapseRule, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Arguments with the rule's operands coded."""
        bound, rest = rule.bind(args, kwargs)
        axes = dict(rule.channels)
        for operand in rule.operands:
            if isinstance(operand, int) and operand < len(bound):
                bound[operand] = self.code(place, operand, bound[operand], axes.get(operand))
            elif operand in rest:
                rest[str(operand)] = self.code(place, operand, rest[str(operand)], None)
            else:
                raise UnsupportedError(
                    f"layer {place!r}: operand {operand!r} must be among the arguments, got {len(bound)} by "
                    f"position and {sorted(rest)} by keyword; pass operands by position, or extra_rules=."
                )
        return bound, rest

    def _synapse(
        self, func: Any, name: str, rule: SynapseRule, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        place, self._next_place = self._next_place or self.place(name), None
        bound, rest = self.coded(place, rule, args, kwargs)
        output = func(*bound, **rest)
        self.synapse_done(place, name, [args, kwargs], lambda: int(rule.macs(bound, output)))
        self.done("", (args, kwargs), output)
        axis = dict(rule.channels).get(0)
        return output if axis is None else self.corrected(place, output, axis)

    def _recurrent(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Unrolled: every product of one layer and direction is one place, whatever the number of steps."""
        if kwargs:
            raise UnsupportedError(
                f"layer {self.path!r}: {name} must be called with its arguments by position, got "
                f"{sorted(kwargs)} by keyword; use torch.nn's module."
            )
        base = self.place(name)

        def linear(label: str, x: Tensor, weight: Tensor, bias: Any) -> Tensor:
            self._next_place = f"{base}_{label}"
            return nn.functional.linear(x, weight, bias)

        with self:
            return unrolled(name, linear, args)

    def _normalization(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = self.place(NORMALIZATION)
        output = func(*args, **kwargs)
        self.done(NORMALIZATION, (args, kwargs), output)
        return self.corrected(place, output, 1)

    def _einsum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        equation, *operands = args
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        if not isinstance(equation, str):
            raise UnsupportedError(
                f"layer {self.path!r}: einsum must be given its equation as a string, got a list of axes; "
                "write it as a string."
            )
        if len(operands) < 2:
            output = func(equation, *operands)
            self.done("einsum", (args, kwargs), output)
            return output
        place = self.place("einsum")
        coded = [self.code(place, index, x, None) for index, x in enumerate(operands)]
        output = func(equation, *coded)
        self.synapse_done(place, "einsum", operands, lambda: einsum_macs(equation, operands))
        self.done("", (args, kwargs), output)
        return output

    def _analog(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = self.place(name)
        output = func(*args, **kwargs)
        self.synapse_done(place, name, [args, kwargs], lambda: _inner_macs(args), analog=True)
        self.done("", (args, kwargs), output)
        return output


def _inner_macs(args: tuple[Any, ...]) -> int:
    """Every weight matrix meets every position of the input once."""
    x = args[0]
    if not isinstance(x, Tensor) or not x.dim():
        return 0
    found: list[Any] = [
        part for part in args[1:] for part in (part if isinstance(part, (list, tuple)) else [part])
    ]
    weights = [w for w in found if isinstance(w, nn.Parameter) and w.dim() > 1]
    return sum(w.numel() for w in weights) * (x.numel() // x.shape[-1])
