"""Graph passes of the quantized conversion: sites, rectifiers, max-pools, nodes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ..layer.max_pool import SpikePackMaxPool2d
from ..layer.scale_chain import MembraneScale, SpikeAmplitude
from ..neuron import SpikePackNode
from ..spec.errors import UnsupportedError
from .graph import call_after, follow, module_of, node_input
from .placement import RECTIFIERS
from .quantized_site import QuantizerSite
from .quantizers import Reader, describe
from .quantizers.layers import PLACED
from .quantizers.prepare import MARK
from .scales import fold_amplitudes
from .signals import MAX_POOLS

__all__ = ["Placed", "fold", "place_nodes", "place_sites", "read_sites", "refuse_real_functions"]


@dataclass(frozen=True)
class Placed:
    """One node in the graph, the scale in front of it, and what its unit output stands for."""

    charge: fx.Node
    node: fx.Node
    unit: Tensor


def place_sites(model: fx.GraphModule) -> None:
    """A site for every marker of a traced network; call sites of one quantizer share it for now.

    What a stand-in holds takes its place.
    """
    sites: dict[int, QuantizerSite] = {}
    for node in model.graph.nodes:
        found = vars(module_of(model, node) or nn.Identity())
        if PLACED in found:
            model.add_submodule(str(node.target), found[PLACED])
        quantizer = found.get(MARK)
        if quantizer is None:
            continue
        site = sites.setdefault(id(quantizer), QuantizerSite(str(node.target), quantizer))
        model.add_submodule(str(node.target), site)
    model.recompile()


def read_sites(model: fx.GraphModule, readers: dict[type, Reader]) -> None:
    """Describe every quantizer of a canonical graph; rectifiers in front of unsigned ones merge into them.

    Raises:
        UnsupportedError: A quantizer has no node; a ReLU6 clips below the largest code.
    """
    for node in list(model.graph.nodes):
        site = module_of(model, node)
        if not isinstance(site, QuantizerSite):
            continue
        site.path = str(node.target)
        source = node_input(node)
        rectifier = module_of(model, source)
        rectified = isinstance(rectifier, RECTIFIERS)
        site.spec = describe(site.path, site.quantizer, rectified, readers)
        if rectified and not site.spec.signed:
            if isinstance(rectifier, nn.ReLU6):
                _check_cap(site)
            node.args = (node_input(source),)
            if not source.users:
                model.graph.erase_node(source)
    model.delete_all_unused_submodules()
    model.graph.lint()
    model.recompile()


def _check_cap(site: QuantizerSite) -> None:
    spec = site.description
    if float(spec.step.max()) * spec.max_code > 6.0:
        raise UnsupportedError(
            f"layer {site.path!r}: behind a ReLU6 the largest code must stand for at most 6, got "
            f"{float(spec.step.max()) * spec.max_code:.6g}; use ReLU, the quantizer clips by itself."
        )


def refuse_real_functions(model: fx.GraphModule) -> None:
    """Refuse rectifiers and max-pools that no quantizer turned into spikes.

    Raises:
        UnsupportedError: There is one; the message names it.
    """
    for node in model.graph.nodes:
        module = module_of(model, node)
        pooled = isinstance(module, MAX_POOLS) and not isinstance(module, SpikePackMaxPool2d)
        if isinstance(module, RECTIFIERS) or pooled:
            raise UnsupportedError(
                f"layer {node.target!r}: {type(module).__name__} must stand beside an activation quantizer, "
                "got one whose values stay real; quantize its output, or convert with SpikePackRecipe."
            )


def place_nodes(model: fx.GraphModule) -> list[tuple[QuantizerSite, Placed]]:
    """A scale, a node and an amplitude for every site, in place."""
    placed = []
    for node in list(model.graph.nodes):
        site = module_of(model, node)
        if not isinstance(site, QuantizerSite):
            continue
        charge, neuron, amplitude = site.build()
        name, source = str(node.target), node_input(node)
        first = call_after(model, source, f"{name}_charge", charge)
        model.add_submodule(name, neuron)
        node.args = (first,)
        last = call_after(model, node, f"{name}_amplitude", amplitude)
        follow(node, last)
        placed.append((site, Placed(first, node, amplitude.gain)))
    _pool_spikes(model)
    model.graph.lint()
    model.recompile()
    return placed


def _pool_spikes(model: fx.GraphModule) -> None:
    """Max-pools read spikes: the amplitude, positive and monotone, moves behind them unchanged."""
    for node in list(model.graph.nodes):
        pool = module_of(model, node)
        if not isinstance(pool, nn.MaxPool2d):
            continue
        source = node_input(node)
        amplitude = module_of(model, source)
        if not isinstance(amplitude, SpikeAmplitude):
            continue
        spikes = node_input(source)
        steps = _time_steps(model, spikes)
        exact = SpikePackMaxPool2d(
            pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode,
            time_steps=steps, form="packed",
        )  # fmt: skip
        model.add_submodule(str(node.target), exact)
        node.args = (spikes,)
        behind = call_after(model, node, f"{node.target}_amplitude", copy.deepcopy(amplitude))
        follow(node, behind)
        if not source.users:
            model.graph.erase_node(source)


def _time_steps(model: fx.GraphModule, node: fx.Node) -> int:
    module = module_of(model, node)
    while not isinstance(module, SpikePackNode):
        node = node_input(node)
        module = module_of(model, node)
    return module.time_steps


def fold(model: fx.GraphModule, placed: list[Placed], shapes: dict[fx.Node, torch.Size]) -> None:
    """Thresholds in real units, amplitudes in the weights: no scales left, float rounding differs."""
    firing: dict[fx.Node, Tensor] = {}
    for place in placed:
        charge, node = module_of(model, place.charge), module_of(model, place.node)
        assert isinstance(charge, MembraneScale)
        assert isinstance(node, SpikePackNode)
        theta = float(node.v_threshold) / charge.gain
        firing[place.node] = place.unit
        folded = SpikePackNode(node.time_steps, v_threshold=theta, signed=node.params.signed, form="packed")
        model.add_submodule(str(place.node.target), folded)
        place.node.args = (node_input(place.charge),)
        model.graph.erase_node(place.charge)
    for node in list(model.graph.nodes):
        if isinstance(module_of(model, node), SpikeAmplitude):
            node.replace_all_uses_with(node_input(node))
            model.graph.erase_node(node)
    model.delete_all_unused_submodules()
    fold_amplitudes(model, firing, shapes)
