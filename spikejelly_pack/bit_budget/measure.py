"""Count one pass of a network and report it per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from spikingjelly.activation_based import base, functional
from spikingjelly.activation_based.op_counter import DispatchCounterMode
from torch import Tensor, nn

from ..integer import IntegerNetwork
from ..layer.modes import evaluating
from ..spec.energy import EnergyTable, load_energy_table
from ..spec.errors import ParameterError, ShapeError, SpikePackError, UnsupportedError
from .counter import BitBudgetCounter
from .integer import measure_integer
from .memory import memory_of
from .report import BudgetReport

__all__ = ["measure"]

Widths = int | Mapping[str, int] | None
_WRONG_INPUT = (RuntimeError, ValueError, TypeError, IndexError)


def measure(
    net: nn.Module,
    x: Any,
    *,
    name: str | None = None,
    input_bits: int = 32,
    input_spikes: bool = False,
    weight_bits: Widths = None,
    activation_bits: Widths = None,
    steps: int = 1,
    warm_up: int = 0,
    samples: int | None = None,
    rate: str = "digit",
    energy: EnergyTable | None = None,
    strict: bool = False,
) -> BudgetReport:
    """What one inference of ``net`` costs.

    Args:
        net: Any network (an integer one takes codes). It runs in evaluation mode without gradients and is
            reset before and after.
        x: Its input: a tensor, or a tuple of arguments whose tensors are all input. Multi-step networks take
            ``[T, N, *]`` (``[W, N, *]`` packed); a builder that repeats its image ``T`` times ``[N, *]``.
        name: Of the report; default the class.
        input_bits: Bits of the analog input (8 for images of bytes).
        input_spikes: The input consists of spikes, 0 and 1, instead.
        weight_bits: Bits of weights that nothing quantizes, see :class:`.BitBudgetCounter`.
        activation_bits: Bits of analog values; the input included.
        steps: Calls per inference: T for a single-step network, W times T for W windows.
        warm_up: Calls before counting starts: the pipeline of the serial single-step form is full after
            ``latency(net)`` calls.
        samples: Samples in ``x``, where its shape does not say.
        rate: NS-ACE by the ``"digit"`` or the ``"word"`` rate.
        energy: Energies; default Horowitz, 45 nm.
        strict: Refuse a network with an operation that has no rule.

    Raises:
        UnsupportedError: ``strict``, and an operation has no rule.
        ParameterError: A count is not positive.
        ShapeError: The network does not take ``x``.
        DtypeError: ``input_spikes`` and other values.
    """
    if isinstance(net, IntegerNetwork):
        return measure_integer(net.network, x, name=name or "integer network", rate=rate, energy=energy)
    inputs = x if isinstance(x, tuple) else (x,)
    tensors = [item for item in inputs if isinstance(item, Tensor)]
    samples, sequence = _checked(net, tensors, (steps, warm_up), samples)
    counter = BitBudgetCounter(weight_bits=weight_bits, activation_bits=activation_bits)
    try:
        unsupported = _run(net, inputs, counter, (input_bits, input_spikes), steps, warm_up)
    except _WRONG_INPUT as error:
        raise _explained(net, inputs, error) from error
    if strict and unsupported:
        listed = ", ".join(unsupported)
        raise UnsupportedError(
            f"measure: every operation must have a counting rule with strict=True, got {listed} without one; "
            "leave strict out to have them listed instead."
        )
    _check_named(net, counter)
    memory = memory_of(net, counter.rows, samples)
    _reset(net)
    return BudgetReport(
        name or type(net).__name__,
        [row.per_sample(samples, sequence) for row in counter.rows],
        memory,
        {path: ones / samples for path, ones in counter.watch.spikes.items()},
        counter.elementwise,
        counter.inside,
        counter.analog,
        unsupported,
        rate,
        energy or load_energy_table(),
    )


def _checked(
    net: nn.Module, tensors: list[Tensor], calls: tuple[int, int], samples: int | None
) -> tuple[int, int]:
    """Samples in the input, and steps along the first axis of what the layers see."""
    steps, warm_up = calls
    whole = all(isinstance(count, int) for count in calls)
    if not whole or steps < 1 or warm_up < 0 or not tensors:
        raise ParameterError(
            f"measure: steps must be >= 1, warm_up >= 0 and x hold a tensor, got {steps}, {warm_up} and "
            f"{len(tensors)} tensors; pass the network's input."
        )
    found, sequence = _layout(net, tensors[0])
    samples = found if samples is None else samples
    if not isinstance(samples, int) or samples < 1:
        raise ParameterError(
            f"measure: x must hold a sample, got {samples} in shape {tuple(tensors[0].shape)}; pass a batch, "
            "or their number as samples=."
        )
    return samples, sequence


def _run(
    net: nn.Module,
    inputs: tuple[Any, ...],
    counter: BitBudgetCounter,
    about: tuple[int, bool],
    steps: int,
    warm_up: int,
) -> dict[str, int]:
    fast = torch.backends.mha.get_fastpath_enabled()
    _reset(net)
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation in place of its products
    unsupported: dict[str, int] = {}
    try:
        with evaluating(net), torch.no_grad():
            for item in inputs:
                if isinstance(item, Tensor) and item.is_floating_point():
                    counter.declare(item, about[0], spikes=about[1])
            with DispatchCounterMode([counter]) as mode:
                for _ in range(warm_up):
                    net(*inputs)
                counter.restart()
                for _ in range(steps):
                    net(*inputs)
                unsupported = mode.get_unsupported(counter)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return unsupported


def _check_named(net: nn.Module, counter: BitBudgetCounter) -> None:
    """Widths by name must find their layers: a misspelt one would be counted at the default."""
    known = {"*", *(row.path for row in counter.rows), *dict(net.named_modules())}
    for kind, widths in counter.widths.items():
        if unknown := sorted(set(widths) - known):
            shown = sorted({row.path for row in counter.rows})[:10]
            raise ParameterError(
                f"measure: {kind} bits must name modules of the network, got {unknown}; the layers counted "
                f"are {shown}."
            )


def _explained(net: nn.Module, inputs: tuple[Any, ...], error: Exception) -> Exception:
    """The refusal of an input that the network does not take without counting either; else the error."""
    _reset(net)
    try:
        with evaluating(net), torch.no_grad():
            net(*inputs)
    except _WRONG_INPUT as own:
        if isinstance(own, SpikePackError):
            return own
        shapes = [tuple(item.shape) for item in inputs if isinstance(item, Tensor)]
        return ShapeError(
            f"measure: the network must accept its input, got shapes {shapes}: "
            f"{' '.join(str(own).split())[:300]}; pass one as it takes it (spikepack budget: "
            "--data FILE.npy or --shape)."
        )
    finally:
        _reset(net)
    return error


def _layout(net: nn.Module, x: Tensor) -> tuple[int, int]:
    """Samples in ``x``, and steps along the first axis of what the layers see."""
    repeats = vars(net).get("T")
    multi = any(
        isinstance(module, base.StepModule) and getattr(module, "step_mode", "s") == "m"
        for module in net.modules()
    )
    if not multi or x.dim() < 2:
        return (x.shape[0] if x.dim() else 1), 1
    if isinstance(repeats, int) and not isinstance(repeats, bool):
        return x.shape[0], repeats
    return x.shape[1], x.shape[0]


def _reset(net: nn.Module) -> None:
    if any(isinstance(module, base.MemoryModule) for module in net.modules()):
        functional.reset_net(net)
