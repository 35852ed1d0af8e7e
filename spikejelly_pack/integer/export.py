"""From a converted (or hand-built) SpikePack network to the integer network and its exchange file."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..recipes.graph import ADD, module_of
from ..spec import exchange
from ..spec.bounds import check_bounds
from ..spec.errors import ParameterError, UnsupportedError
from ..spec.execute import encode
from ..spec.graph import Network
from ..spec.graph.base import Array
from ..spec.graph.network import check_windows
from ..spec.graph.neuron import check_state_bits
from ..spec.targets import Target, check_target, load_target
from ..spec.windows import by_window
from . import map_rules as _maps  # noqa: F401  # pyright: ignore[reportUnusedImport]  (fills RULES)
from .adaptive import Rounder
from .builder import IntegerBuilder, analog_error
from .examples import Example, named_examples, streams_of
from .rules import add, refuse, rule_for
from .trace import canonical_graph, inputs_of
from .values import Analog, Value

__all__ = ["build_integer", "default_widths", "export"]


def build_integer(
    snn: nn.Module,
    example_input: Example,
    *,
    weight_bits: int = 8,
    skip_bits: int = 16,
    state_bits: int = 24,
    exact: bool = False,
    own_bits: bool = False,
    adaptive_rounding: bool = False,
    windows: int = 1,
) -> Network:
    """The integer form of a SpikePack network, branches balanced, accumulators proven to fit.

    Args:
        snn: A converted network, or one built from SpikePackNodes and SpikingJelly layers; BatchNorm is
            folded. Every synapse must read spikes, the first node being the encoder of the input.
        example_input: One batch ``[N, *]`` of real values; gives the shapes. Of a network with several inputs
            a tuple of batches in the order of its arguments, or a dict by argument name.
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
        windows: W, windows of one sample: ``example_input`` is then ``[W, N, *]``. Nodes with a leak ``2^-k``
            carry from one to the next and start each sample from nothing.

    Returns:
        The network: graph, integer weights and thresholds, and the scales of inputs and outputs.

    Raises:
        UnsupportedError: A layer has no integer form, or with ``exact`` no exact one; the message names it.
        BoundError: A channel does not fit the widths even at the smallest threshold.
        ParameterError: A width is outside its range.
        ShapeError, DtypeError: The example input is unusable.
    """
    options = Options(
        weight_bits, skip_bits, state_bits, bool(exact), bool(own_bits), bool(adaptive_rounding), windows
    )
    return _built(snn, example_input, options).network


@dataclass(frozen=True)
class Options:
    """Options of :func:`build_integer`."""

    weight_bits: int
    skip_bits: int
    state_bits: int
    exact: bool
    own_bits: bool
    adaptive_rounding: bool
    windows: int


@dataclass(frozen=True)
class Built:
    """A network, the source's input by encoder, and the real inputs as streams ``[N * W, *]``."""

    network: Network
    entries: dict[str, str]
    values: dict[str, Array]

    def golden(self, samples: int) -> dict[str, Array] | None:
        """Codes of the first samples by encoder, ``[N, *]`` or ``[W, N, *]``; None where none are wanted."""
        if not samples:
            return None
        windows, inputs = self.network.windows, self.network.inputs
        streams = {op: self.values[self.entries[op.name]][: samples * windows] for op in inputs}
        return {op.name: by_window(encode(op, stream), windows) for op, stream in streams.items()}


def _built(snn: nn.Module, example_input: Example, options: Options) -> Built:
    for name in ("weight_bits", "skip_bits"):
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 16:
            raise ParameterError(
                f"export: {name} must be an integer in 2..16, got {value!r}; use the width of the target's "
                "weights."
            )
    check_state_bits("export", options.state_bits)
    windows = check_windows("export", options.windows)
    streams = streams_of(example_input, windows)
    model = canonical_graph(snn, streams)
    if options.exact and options.adaptive_rounding:
        raise ParameterError(
            "export: adaptive_rounding must be False with exact=True, got both; an exact form rounds nothing."
        )
    values = _arrays(named_examples(streams, inputs_of(model)))
    rounder = Rounder(values, windows) if options.adaptive_rounding else None
    widths = options.weight_bits, options.skip_bits, options.state_bits
    builder = IntegerBuilder(*widths, options.exact, options.own_bits, rounder, windows)
    _Walk(model, builder, {name: value.shape[1:] for name, value in values.items()}).run()
    network = builder.network(_provenance())
    check_bounds(network)
    return Built(network, builder.entries, values)


def _arrays(examples: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: value.detach().cpu().to(torch.float32).numpy() for name, value in examples.items()}


class _Walk:
    """One pass over the graph; values by node."""

    def __init__(
        self, model: fx.GraphModule, builder: IntegerBuilder, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.model, self.builder, self.shapes = model, builder, shapes
        self.values: dict[fx.Node, Value] = {}

    def run(self) -> None:
        """Visit every node in order."""
        for node in self.model.graph.nodes:
            if node.op == "output":
                self._outputs(node.args[0])
            elif node.op == "placeholder":
                self.values[node] = Analog(self.shapes[str(node.target)], str(node.target))
            else:
                self.values[node] = self._value(node)
        for entry in self.shapes:
            encoders = [name for name, source in self.builder.entries.items() if source == entry]
            if len(encoders) != 1:
                which = f" {entry!r}" if len(self.shapes) > 1 else ""
                raise UnsupportedError(
                    f"export: the input{which} must pass one SpikePackNode before anything else, got "
                    f"{encoders}; let every branch read the same node."
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
        for name, one in _named_outputs("output", result).items():
            if not isinstance(one, fx.Node):
                raise UnsupportedError(
                    "export: the network must return a tensor, or tuples or dicts of tensors, got "
                    f"{type(one).__name__}; return the tensors themselves."
                )
            value = self.values[one]
            if isinstance(value, Analog):
                raise analog_error(name)
            self.builder.readout(name, self.builder.as_current(f"{name}_synapse", value))


def _named_outputs(name: str, result: Any) -> dict[str, Any]:
    """Outputs by name: ``output``, ``output_0`` of a tuple of several, ``output_mask`` of a dict."""
    if isinstance(result, Mapping):
        items: list[tuple[Any, Any]] = list(result.items())
    elif isinstance(result, (tuple, list)):
        items = list(enumerate(result))
    else:
        return {name: result}
    found: dict[str, Any] = {}
    for key, value in items:
        inner = name if len(items) == 1 and not isinstance(result, Mapping) else f"{name}_{key}"
        found |= _named_outputs(inner, value)
    return found


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
    example_input: Example,
    *,
    golden: int = 4,
    weight_bits: int | None = None,
    skip_bits: int | None = None,
    state_bits: int | None = None,
    exact: bool = False,
    own_bits: bool = False,
    adaptive_rounding: bool = False,
    windows: int = 1,
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
        windows: As there.
        target: Name of a device (``"loihi2"``), path of a target file, or a :class:`..spec.targets.Target`:
            the network is proven to keep its limits, whatever the input, before anything is written.

    Returns:
        The integer network in the file, as :func:`build_integer` makes it.

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
    flags = bool(exact), bool(own_bits), bool(adaptive_rounding), windows
    options = Options(widths["weight_bits"], widths["skip_bits"], widths["state_bits"], *flags)
    built = _built(snn, example_input, options)
    samples = built.golden(golden)
    if device is not None:
        check_target(built.network, device, samples).require()
    exchange.save(built.network, path, samples)
    return built.network
