"""From a converted (or hand-built) SpikePack network to the integer network and its exchange file."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..recipes.graph import ADD, module_of
from ..spec import exchange
from ..spec.bounds import check_bounds
from ..spec.errors import DtypeError, ParameterError, ShapeError, UnsupportedError
from ..spec.execute import encode
from ..spec.graph import Network
from ..spec.graph.neuron import check_state_bits
from ..spec.targets import Target, check_target, load_target
from .adaptive import Rounder
from .builder import IntegerBuilder, analog_error
from .rules import add, refuse, rule_for
from .trace import canonical_graph
from .values import Analog, Value

__all__ = ["build_integer", "default_widths", "export"]


def build_integer(
    snn: nn.Module,
    example_input: Tensor,
    *,
    weight_bits: int = 8,
    skip_bits: int = 16,
    state_bits: int = 24,
    exact: bool = False,
    own_bits: bool = False,
    adaptive_rounding: bool = False,
) -> Network:
    """The integer form of a SpikePack network, branches balanced, accumulators proven to fit.

    Args:
        snn: A converted network, or one built from SpikePackNodes and SpikingJelly layers; BatchNorm is
            folded. Every synapse must read spikes, the first node being the encoder of the input.
        example_input: One batch ``[N, *]`` of real values; gives the shapes.
        weight_bits: Width of convolution, linear and pooling weights, sign included, 2..16.
        skip_bits: Width of skip connections' identity weights, 2..16.
        state_bits: Width of membrane registers, 8..32.
        exact: For networks with quantized weights: keep their integers, and choose thresholds and biases that
            provably give the codes of real arithmetic. Where the widths hold no such form, an error.
        own_bits: Declare for layers with quantized weights (``quantize_weights``) the width they have
            instead of ``weight_bits``: smaller, but less room to round a threshold. Either way the integers
            are the quantizer's own, times one factor per channel.
        adaptive_rounding: Round each weight up or down so that the sums err least on ``example_input``, which
            should then be a few hundred samples; most useful below 8 bits. See :mod:`.adaptive`.

    Raises:
        UnsupportedError: A layer has no integer form, or with ``exact`` no exact one; the message names it.
        BoundError: A channel does not fit the widths even at the smallest threshold.
        ParameterError: A width is outside its range.
        ShapeError, DtypeError: The example input is unusable.
    """
    for name, value in (("weight_bits", weight_bits), ("skip_bits", skip_bits)):
        if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 16:
            raise ParameterError(
                f"export: {name} must be an integer in 2..16, got {value!r}; use the width of the target's "
                "weights."
            )
    check_state_bits("export", state_bits)
    _check_example(example_input)
    model = canonical_graph(snn, example_input)
    if exact and adaptive_rounding:
        raise ParameterError(
            "export: adaptive_rounding must be False with exact=True, got both; an exact form rounds nothing."
        )
    rounder = Rounder(example_input.detach().cpu().float().numpy()) if adaptive_rounding else None
    builder = IntegerBuilder(weight_bits, skip_bits, state_bits, bool(exact), bool(own_bits), rounder)
    _Walk(model, builder, tuple(example_input.shape[1:])).run()
    network = builder.network(_provenance())
    check_bounds(network)
    return network


def _check_example(example_input: Any) -> None:
    if not isinstance(example_input, Tensor) or not example_input.is_floating_point():
        got = getattr(example_input, "dtype", type(example_input).__name__)
        raise DtypeError(
            f"export: example_input must be a floating point tensor, got {got}; pass one batch of inputs."
        )
    if example_input.dim() < 2 or not len(example_input):
        raise ShapeError(
            f"export: example_input must be a batch [N, *], got shape {tuple(example_input.shape)}; add the "
            "batch axis."
        )
    if bool(example_input.isnan().any()):
        raise DtypeError("export: example_input must hold no NaN, got some; clean the data first.")


class _Walk:
    """One pass over the graph; values by node."""

    def __init__(self, model: fx.GraphModule, builder: IntegerBuilder, shape: tuple[int, ...]) -> None:
        self.model, self.builder, self.shape = model, builder, shape
        self.values: dict[fx.Node, Value] = {}

    def run(self) -> None:
        """Visit every node in order."""
        for node in self.model.graph.nodes:
            if node.op == "output":
                self._outputs(node.args[0])
            elif node.op == "placeholder":
                self.values[node] = Analog(self.shape)
            else:
                self.values[node] = self._value(node)
        encoders = [op.name for op in self.builder.ops if op.kind == "input"]
        if len(encoders) != 1:
            raise UnsupportedError(
                f"export: the input must pass one SpikePackNode before anything else, got {encoders}; "
                "let every branch read the same node."
            )

    def _value(self, node: fx.Node) -> Value:
        module = module_of(self.model, node)
        if node.target is ADD:
            sources = [source for source in node.args if isinstance(source, fx.Node)]
            return add(self.builder, node.name, [self.values[source] for source in sources])
        rule = rule_for(module)
        if rule is None:
            raise refuse(str(node.target), module)
        sources = [source for source in node.args if isinstance(source, fx.Node)]
        return rule(self.builder, str(node.target), module, [self.values[source] for source in sources])

    def _outputs(self, result: Any) -> None:
        results = result if isinstance(result, (tuple, list)) else (result,)
        for index, one in enumerate(results):
            if not isinstance(one, fx.Node):
                raise UnsupportedError(
                    "export: the network must return a tensor or a tuple of tensors, got "
                    f"{type(one).__name__}; "
                    "return the tensors themselves."
                )
            name = "output" if len(results) == 1 else f"output_{index}"
            value = self.values[one]
            if isinstance(value, Analog):
                raise analog_error(name)
            self.builder.readout(name, self.builder.as_current(f"{name}_synapse", value))


def _provenance() -> dict[str, str]:
    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "source tree"

    return {
        "spikejelly-pack": installed("spikejelly-pack"),
        "spikingjelly": installed("spikingjelly"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def default_widths(target: Target | None) -> dict[str, int]:
    """Widths for :func:`build_integer` that suit a target where the caller names none."""
    if target is None:
        return {"weight_bits": 8, "skip_bits": 16, "state_bits": 24}
    return {
        "weight_bits": min(8, target.weight_bits),
        "skip_bits": 16 if target.combine_weights else target.weight_bits,
        "state_bits": 24 if target.state_bits is None else min(32, target.state_bits),
    }


def export(
    snn: nn.Module,
    path: str | os.PathLike[str],
    example_input: Tensor,
    *,
    golden: int = 4,
    weight_bits: int | None = None,
    skip_bits: int | None = None,
    state_bits: int | None = None,
    exact: bool = False,
    own_bits: bool = False,
    adaptive_rounding: bool = False,
    target: str | os.PathLike[str] | Target | None = None,
) -> Network:
    """Write the integer form of a network to an exchange file; returns it.

    Args:
        snn: As :func:`build_integer`.
        path: Target, by custom ``*.spk``; written whole or not at all.
        example_input: As there.
        golden: Samples of ``example_input`` stored with the expected codes of every layer.
        weight_bits: As there; None: the target's width, at most 8, or 8 without a target.
        skip_bits: As there; None: 16, or the target's weight width where it does not combine synapses.
        state_bits: As there; None: the target's width, at most 32, or 24 where it sets none.
        exact: As there.
        own_bits: As there.
        adaptive_rounding: As there.
        target: Name of a device (``"loihi2"``), path of a target file, or a :class:`..spec.targets.Target`:
            the network is proven to keep its limits, whatever the input, before anything is written.

    Raises:
        BoundError: As :func:`build_integer`, or the network does not keep a limit of the target.
        ParameterError: As there, or there is no such target.
        UnsupportedError, ShapeError, DtypeError: As there.
        OutputError: The file cannot be written.
    """
    if isinstance(golden, bool) or not isinstance(golden, int) or golden < 0:
        raise ParameterError(f"export: golden must be an integer >= 0, got {golden!r}; 4 samples are usual.")
    device = None if target is None else load_target(target)
    given = {"weight_bits": weight_bits, "skip_bits": skip_bits, "state_bits": state_bits}
    widths = default_widths(device) | {name: value for name, value in given.items() if value is not None}
    network = build_integer(
        snn, example_input, exact=exact, own_bits=own_bits, adaptive_rounding=adaptive_rounding, **widths
    )
    (entry,) = network.inputs
    samples = encode(entry, example_input[:golden].detach().cpu().to(torch.float32).numpy())
    if device is not None:
        check_target(network, device, {entry.name: samples} if len(samples) else None).require()
    exchange.save(network, path, {entry.name: samples} if len(samples) else None)
    return network
