"""From a converted (or hand-built) SpikePack network to the integer network and its exchange file."""

from __future__ import annotations

import copy
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import base, functional
from torch import Tensor, fx, nn

from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from ..neuron import SpikePackNode, set_form
from ..recipes.batchnorm import fold_batchnorm
from ..recipes.canonical import ADD, canonicalize, module_of
from ..spec import exchange
from ..spec.bounds import check_bounds
from ..spec.errors import DtypeError, ParameterError, ShapeError, UnsupportedError
from ..spec.execute import encode
from ..spec.graph import Network
from .builder import IntegerBuilder, as_current
from .rules import Value, add, node_scales, rule_for

__all__ = ["build_integer", "export"]


class _Tracer(fx.Tracer):
    """Keeps SpikingJelly's layers and ours whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = (SpikePackNode, SynapticScale, ChannelConcat)
        whole = isinstance(m, (*ours, base.StepModule)) and not isinstance(m, fx.GraphModule)
        return whole or super().is_leaf_module(m, module_qualified_name)


def _traced(snn: nn.Module) -> fx.GraphModule:
    net = copy.deepcopy(snn).cpu().eval()
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    set_form(net, "packed")
    try:
        graph = _Tracer().trace(net)
    except (fx.proxy.TraceError, TypeError) as error:
        raise UnsupportedError(
            f"export: the network must be traceable, got {type(error).__name__}: {str(error).splitlines()[0]}; "
            "move data-dependent control flow out of it."
        ) from None
    model = fx.GraphModule(net, graph)
    canonicalize(model)
    fold_batchnorm(model)
    return model


def build_integer(
    snn: nn.Module, example_input: Tensor, *, weight_bits: int = 8, skip_bits: int = 16, state_bits: int = 24
) -> Network:
    """The integer form of a SpikePack network (design section 3), branches balanced, accumulators proven to fit.

    Args:
        snn: A converted network, or one built from SpikePackNodes and SpikingJelly layers; BatchNorm is
            folded. Every synapse must read spikes, the first node being the encoder of the input.
        example_input: One batch ``[N, *]`` of real values; gives the shapes.
        weight_bits: Width of convolution, linear and pooling weights, sign included, 2..16.
        skip_bits: Width of skip connections' identity weights, 2..16.
        state_bits: Width of membrane registers, 8..32.

    Raises:
        UnsupportedError: A layer has no integer form; the message names it.
        BoundError: A weight, threshold or accumulator does not fit its width.
        ShapeError, DtypeError: The example input is unusable.
    """
    for name, value in (("weight_bits", weight_bits), ("skip_bits", skip_bits)):
        if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 16:
            raise ParameterError(f"export: {name} must be an integer in 2..16, got {value!r}.")
    _check_example(example_input)
    model = _traced(snn)
    builder = IntegerBuilder(weight_bits, skip_bits, state_bits)
    _Walk(model, builder, tuple(example_input.shape[1:])).run()
    nodes = [module for module in model.modules() if isinstance(module, SpikePackNode)]
    network = builder.network(max(node.time_steps for node in nodes), _provenance())
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
            f"export: example_input must be a batch [N, *], got shape {tuple(example_input.shape)}; add the batch axis."
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
        placeholders = [node for node in self.model.graph.nodes if node.op == "placeholder" and node.users]
        if len(placeholders) != 1:
            raise UnsupportedError(f"export: the network must have one input, got {len(placeholders)}.")
        for node in self.model.graph.nodes:
            if node.op == "output":
                self._outputs(node)
            elif node.op != "placeholder":
                self.values[node] = self._value(node)

    def _value(self, node: fx.Node) -> Value:
        module = module_of(self.model, node)
        analog = [source for source in node.all_input_nodes if source.op == "placeholder"]
        if analog:
            return self._encoder(node, module)
        inputs = [self.values[source] for source in node.all_input_nodes]
        if node.target is ADD:
            left, right = node.args
            return add(node.name, [self.values[left], self.values[right]])  # type: ignore[index]
        rule = rule_for(module) if module is not None else None
        if rule is None:
            raise UnsupportedError(
                f"layer {node.target!r}: {type(module).__name__} has no integer form; replace it or keep the float forms."
            )
        return rule(self.builder, str(node.target), module, inputs)

    def _encoder(self, node: fx.Node, module: nn.Module | None) -> Value:
        if not isinstance(module, SpikePackNode):
            raise UnsupportedError(
                f"layer {node.target!r}: reads the analog input; let the input pass a SpikePackNode first "
                "(convert with encode_input=True)."
            )
        return self.builder.encoder(str(node.target), self.shape, *node_scales(module), module.params)

    def _outputs(self, node: fx.Node) -> None:
        results = node.args[0] if isinstance(node.args[0], (tuple, list)) else (node.args[0],)
        for index, result in enumerate(results):
            if not isinstance(result, fx.Node):
                raise UnsupportedError("export: the network must return a tensor or a tuple of tensors.")
            name = "output" if len(results) == 1 else f"output_{index}"
            self.builder.readout(name, as_current(f"{name}_synapse", self.values[result]))


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


def export(
    snn: nn.Module,
    path: str | os.PathLike[str],
    example_input: Tensor,
    *,
    golden: int = 4,
    weight_bits: int = 8,
    skip_bits: int = 16,
    state_bits: int = 24,
) -> Network:
    """Write the integer form of a network to an exchange file; returns it.

    Args:
        snn, example_input, weight_bits, skip_bits, state_bits: As :func:`build_integer`.
        path: Target, by custom ``*.spk``; written whole or not at all.
        golden: Samples of ``example_input`` stored with the expected codes of every layer.

    Raises:
        As :func:`build_integer`, and OutputError if the file cannot be written.
    """
    network = build_integer(
        snn, example_input, weight_bits=weight_bits, skip_bits=skip_bits, state_bits=state_bits
    )
    (entry,) = network.inputs
    samples = encode(entry, np.asarray(example_input[:golden].detach().cpu()))
    exchange.save(network, path, {entry.name: samples} if len(samples) else None)
    return network
