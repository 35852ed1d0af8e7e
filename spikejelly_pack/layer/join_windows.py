"""Nodes of different windows in one network: all take the longest, and the weights behind them absorb it.

A node of T digits that moves from a window of its own to one of L emits ``Q_T / Q_L`` of what it emitted. The
factor ``Q_L / Q_T`` travels from there along the dataflow through what is homogeneous (pools, reshaping, sums
of equally scaled trains, concatenation) to the weights that absorb it: the network's function stays.
Quantized weights absorb it in their scale and keep their integers. A skip connection that is an
``nn.Identity`` of its own in front of a sum becomes a :class:`.SynapticScale`.
"""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]
from torch.nn.utils import parametrize

from ..neuron import SpikePackNode
from ..spec.errors import UnsupportedError
from .dataflow import QUESTIONS, VIEWS, Kind, edge_kinds, operation_name
from .delay import SpikeDelay
from .max_pool import SpikePackMaxPool2d, SpikePackValueMaxPool2d
from .members import is_node, nodes_of
from .synaptic_scale import ChannelConcat, SynapticScale
from .trace import trace

__all__ = ["join_windows", "scaled_weight", "weight_of"]

_SYNAPSES = (_ConvNd, nn.Linear, SynapticScale)
_HOMOGENEOUS_MODULES = (
    nn.Flatten, nn.Identity, nn.Dropout, layer.Dropout, layer.Dropout2d, nn.Upsample, nn.PixelShuffle,
    nn.ZeroPad2d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, SpikePackMaxPool2d,
    SpikePackValueMaxPool2d, SpikeDelay,
)  # fmt: skip
_HOMOGENEOUS = {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool2d", "interpolate", "neg", "mean"}
_SUMS = {"add", "iadd", "radd", "sub", "isub"}
#: Keep the channels where they are, so that one factor per channel passes too.
_KEEP_CHANNELS = {"flatten", "contiguous", "clone", "detach", "to", "float", "double", "half"}


def scaled_weight(module: nn.Module, factor: Tensor) -> Tensor:
    """The weight of a synapse that reads its input times ``factor``, ``[]`` or a value per input channel."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    scale = factor.to(weight)
    if scale.dim():
        if isinstance(module, _ConvTransposeNd):  # [in, out / groups, *]
            scale = scale.view(-1, *[1] * (weight.dim() - 1))
        else:  # [out, in / groups, *]: the rows of one group read one slice of the channels
            groups = int(getattr(module, "groups", 1))
            rows = scale.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
            scale = rows.reshape(weight.shape[0], -1, *[1] * (weight.dim() - 2))
    return weight.detach() * scale


class _Flow:
    """Factors on the values of a traced network where they are not 1: ``[]``, or ``[C]`` behind a concat."""

    def __init__(self, net: nn.Module, graph: fx.Graph, gains: dict[nn.Module, float], longest: int) -> None:
        self.net, self.gains, self.longest = net, gains, longest
        self.kinds = edge_kinds(graph, net)
        modes = {node.step_mode for node in nodes_of(net).values()}
        self.channel_axes = (-3, 2 if "m" in modes else 1)
        self.factors: dict[fx.Node, Tensor] = {}
        self.absorbed: dict[str, Tensor] = {}
        self.skips: dict[str, Tensor] = {}

    def refuse(self, node: fx.Node, why: str) -> UnsupportedError:
        """What stands between a shorter code and the weights that would absorb its factor."""
        name = str(node.target) if node.op == "call_module" else node.name
        return UnsupportedError(
            "adapt: what reads nodes of fewer time steps must absorb their window_gain in its weights, got "
            f"{name!r}, which {why}; put a synapse in between, or build all nodes with window={self.longest}."
        )

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module a graph node calls."""
        return self.net.get_submodule(str(node.target)) if node.op == "call_module" else None

    def factor(self, source: fx.Node) -> Tensor:
        """Factor on a value, 1 where it has none."""
        return self.factors.get(source, torch.ones((), dtype=torch.float64))

    def trains(self, node: fx.Node) -> list[fx.Node]:
        """What a graph node reads, constants left out."""
        return [source for source in node.all_input_nodes if self.kinds[source] is not Kind.CONSTANT]

    def follow(self, node: fx.Node) -> None:
        """Find the factor on the value of ``node`` from those of what it reads."""
        trains, module = self.trains(node), self.module(node)
        if isinstance(module, _SYNAPSES):
            self._absorb(node, module, trains)
            return
        if isinstance(module, nn.Identity) and _is_skip(node) and not self.factor(trains[0]).dim():
            self.skips[str(node.target)] = self.factor(trains[0])
            return
        if any(source in self.factors for source in trains) and operation_name(node) not in QUESTIONS:
            passed = self._passed(node, module, trains)
            if isinstance(passed, str):
                raise self.refuse(node, passed)
            self.factors[node] = passed
        if is_node(module) and not module.scale_output and self.gains[module] != 1.0:
            self.factors[node] = torch.tensor(self.gains[module], dtype=torch.float64)

    def _absorb(self, node: fx.Node, module: Any, trains: list[fx.Node]) -> None:
        factor = self.factor(trains[0]) if trains else self.factor(node)
        if factor.dim():
            inputs = getattr(module, "in_channels", getattr(module, "in_features", factor.numel()))
            if inputs % factor.numel():
                raise self.refuse(node, f"reads {inputs} channels of {factor.numel()} concatenated ones")
            factor = factor.repeat_interleave(inputs // factor.numel())  # flattened maps
        own = isinstance(module, SynapticScale) or "weight" in module._parameters
        own = own or (not factor.dim() and _quantizer(module) is not None)
        if not own and bool((factor != 1).any()):
            raise self.refuse(node, "computes its weight")
        if not torch.equal(self.absorbed.setdefault(str(node.target), factor), factor):
            raise self.refuse(node, "is called on codes of different time steps")

    def _passed(self, node: fx.Node, module: nn.Module | None, trains: list[fx.Node]) -> Tensor | str:
        """Factor on the value of ``node``, or why there is none."""
        name = "" if module is not None or node.op == "output" else operation_name(node)
        factors = [self.factor(source) for source in trains]
        alike = all(torch.equal(factor, factors[0]) for factor in factors)
        scalar = not factors[0].dim()
        if isinstance(module, ChannelConcat) or name in ("cat", "concat"):
            return factors[0] if alike and scalar else self._concatenated(node)
        if isinstance(module, _HOMOGENEOUS_MODULES) or name in _KEEP_CHANNELS:
            return factors[0]
        if name in _SUMS:
            only_trains = all(
                isinstance(a, fx.Node) and self.kinds[a] is not Kind.CONSTANT for a in node.args
            )
            return factors[0] if alike and only_trains else "adds values of different scale"
        one_train = len(trains) == 1 and scalar
        if one_train and name in (VIEWS | _HOMOGENEOUS):
            return factors[0]
        return f"is {name or type(module).__name__ if node.op != 'output' else 'the output'}"

    def _concatenated(self, node: fx.Node) -> Tensor | str:
        parts = node.args if node.op == "call_module" else node.args[0]
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        if node.op != "call_module" and axis not in self.channel_axes:
            return "concatenates codes of different time steps along another axis than the channels"
        sizes = [self._channels(part) for part in parts]  # type: ignore[union-attr]
        if None in sizes:
            return "concatenates codes of different time steps whose channels are not known"
        pairs = zip(parts, sizes, strict=True)  # type: ignore[arg-type]
        return torch.cat([self.factor(part).expand(size) for part, size in pairs])

    def _channels(self, node: fx.Node) -> int | None:
        """Channels of a value, from the layer that made them."""
        module = self.module(node)
        for name in ("out_channels", "out_features", "num_features"):
            if hasattr(module, name):
                return int(getattr(module, name))
        kept = isinstance(module, (SpikePackNode, *_HOMOGENEOUS_MODULES)) and not isinstance(
            module, nn.Flatten
        )
        sources = node.all_input_nodes
        return self._channels(sources[0]) if kept and len(sources) == 1 else None

    def scaled(self) -> dict[str, Tensor]:
        """Factor of every module whose weight has one; refuses weights that others read differently."""
        found = {name: factor for name, factor in self.absorbed.items() if bool((factor != 1).any())}
        mine = {id(_stored(self.net.get_submodule(name))): factor for name, factor in found.items()}
        for name, factor in self.absorbed.items():
            known = mine.get(id(_stored(self.net.get_submodule(name))))
            if known is not None and not torch.equal(known, factor):
                raise UnsupportedError(
                    f"adapt: a weight that absorbs a window_gain must read codes of one T, got {name!r}, "
                    f"tied to one that reads others; untie them, or build all with window={self.longest}."
                )
        return found


def weight_of(module: nn.Module) -> Tensor:
    """The tensor that absorbs factors."""
    tensor = module.scale if isinstance(module, SynapticScale) else module.weight
    assert isinstance(tensor, Tensor)
    return tensor


def _quantizer(module: nn.Module) -> Any:
    """The last parametrization of a weight where it can rescale what it quantizes, else None."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    chain: Any = module.parametrizations
    last = chain["weight"][-1]
    return last if len(chain["weight"]) == 1 and hasattr(last, "rescale") else None


def _stored(module: nn.Module) -> Tensor:
    """The tensor that holds the weight; computed weights are another object at every look."""
    chain: Any = getattr(module, "parametrizations", {})
    return chain["weight"].original if "weight" in chain else weight_of(module)


def _is_skip(node: fx.Node) -> bool:
    """Whether a value goes to sums only."""
    return bool(node.users) and all(
        user.op in ("call_function", "call_method") and operation_name(user) in _SUMS for user in node.users
    )


def join_windows(net: nn.Module, example: Tensor | tuple[Tensor, ...] | None = None) -> list[str]:
    """Give all nodes of ``net`` the longest of their windows, in place, where these differ.

    Args:
        net: Network of SpikePack nodes of one tau, between windows.
        example: As for :func:`.trace`.

    Returns:
        Paths of the modules whose weights were scaled.

    Raises:
        UnsupportedError: The forward does not trace, or no weight absorbs a factor; nothing was changed.
    """
    nodes = nodes_of(net)
    windows = sorted({node.window for node in nodes.values()})
    if len(windows) < 2 or len({node.params.tau for node in nodes.values()}) > 1:
        return []
    own = {node: (node.params, node.window_gain) for node in nodes.values()}
    for node in nodes.values():
        node.check_window_boundary("window")
    for node in nodes.values():
        node.window = windows[-1]
    try:
        gains: dict[nn.Module, float] = {node: node.window_gain / before for node, (_, before) in own.items()}
        scaled, skips = _factors(net, example, gains, windows)
    except UnsupportedError:
        for node, (params, _) in own.items():
            node.params = params
        raise
    done: set[int] = set()
    for name, factor in scaled.items():
        module = net.get_submodule(name)
        if id(_stored(module)) not in done:  # tied weights are scaled once
            _scale(module, factor)
            done.add(id(_stored(module)))
    mode = next(iter(nodes.values())).step_mode
    for name, factor in skips.items():
        net.set_submodule(name, SynapticScale(factor, mode))
    return [*scaled, *skips]


def _factors(
    net: nn.Module,
    example: Tensor | tuple[Tensor, ...] | None,
    gains: dict[nn.Module, float],
    windows: list[int],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Factor that the weight of each module has to absorb, and each skip connection to become."""
    graph, error = trace(net, example)
    if graph is None:
        raise UnsupportedError(
            f"adapt: net must be traceable by torch.fx to give nodes of windows {windows} one window, got "
            f"{type(net).__name__}: {error}; build all nodes with window={windows[-1]}."
        )
    flow = _Flow(net, graph, gains, windows[-1])
    for node in graph.nodes:
        flow.follow(node)
    return flow.scaled(), {name: factor for name, factor in flow.skips.items() if bool(factor != 1)}


@torch.no_grad()
def _scale(module: nn.Module, factor: Tensor) -> None:
    if isinstance(module, SynapticScale):
        # float64: the factor is no float32 number, and the values it scales may be float64 ones
        module.scale = module.scale.double() * factor.to(module.scale.device)
    elif (quantizer := _quantizer(module)) is not None:
        quantizer.rescale(_stored(module), float(factor))
    else:
        weight_of(module).copy_(scaled_weight(module, factor))
