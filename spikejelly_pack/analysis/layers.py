"""How much information each neuron layer of a network transmits on data."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import base
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based import neuron as sj_neuron
from torch import nn

from ..layer.modes import evaluating
from ..neuron import SpikePackNode
from ..spec.errors import ShapeError, UnsupportedError
from .entropy import miller_madow, plugin_entropy, words

__all__ = ["LayerInformation", "is_neuron", "network_information"]

_NEURONS = (SpikePackNode, sj_neuron.BaseNode, sj_neuron.SimpleBaseNode)


@dataclass(frozen=True)
class LayerInformation:
    """Bits per neuron and sample in one layer of a network.

    Attributes:
        name: Path of the layer in the network.
        kind: Class of its neuron.
        bits: Mean over neurons of the Miller-Madow estimate.
        plugin: Mean over neurons of the plug-in entropy.
        ceiling: Bits no train of this layer can exceed: log2 of the number of possible trains, or of
            the samples seen if that is less.
        neurons: Neurons looked at.
        samples: Samples seen; few samples hide information (a train cannot carry more than log2 of them).
        silent: Share of the neurons whose train never changed.
    """

    name: str
    kind: str
    bits: float
    plugin: float
    ceiling: float
    neurons: int
    samples: int
    silent: float


def is_neuron(module: nn.Module) -> bool:
    """Whether a module is a neuron layer: SpikePackNode, one of SpikingJelly's, or made from one of these."""
    # PSN and others share no base class with the rest, only the module they live in.
    home = type(module).__module__
    lives_there = isinstance(module, base.StepModule) and home.startswith(
        "spikingjelly.activation_based.neuron"
    )
    return isinstance(module, _NEURONS) or lives_there


@dataclass
class _Recorder:
    """Collects what one layer emits: calls of the running batch, then one table per batch."""

    chosen: torch.Tensor | None = None
    calls: list[torch.Tensor] | None = None
    batches: list[np.ndarray] | None = None
    levels: int = 2

    def close(self, name: str) -> None:
        if not self.calls:
            raise UnsupportedError(
                f"network_information: layer {name} must run in every batch, got a batch without it; "
                "name the layers that run in layers=."
            )
        trains = torch.cat(self.calls).flatten(2)
        self.batches = [*(self.batches or []), trains.numpy()]
        self.calls = []


@torch.no_grad()
def network_information(
    net: nn.Module,
    batches: Iterable[Any],
    *,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    layers: Iterable[str] | None = None,
    neurons: int = 256,
    seed: int = 0,
) -> list[LayerInformation]:
    """Bits per neuron and sample that each neuron layer of a network transmits on data.

    Args:
        net: The network. It runs in evaluation mode and keeps the mode of each module; every neuron starts
            each batch from its reset state.
        batches: Inputs, or ``(inputs, ...)`` tuples, in the layout the network takes.
        forward: ``forward(net, batch)`` that runs one batch through all its steps; default ``net(inputs)``.
        layers: Paths to look at; default every neuron layer.
        neurons: Neurons drawn per layer (a seeded sample; memory grows with it).
        seed: Of that draw.

    Returns:
        One entry per layer in the order of the modules.

    Raises:
        UnsupportedError: The network has no neuron layer, or a layer did not run.
        ShapeError: A layer's number of neurons changed between batches.
    """
    wanted = set(layers) if layers is not None else None
    found = {
        name: module
        for name, module in net.named_modules()
        if is_neuron(module) and (wanted is None or name in wanted)
    }
    missing = (wanted or set()) - set(found)
    if missing or not found:
        raise UnsupportedError(
            "network_information: layers must name neuron layers of the network, got "
            f"{sorted(missing) or 'none'}; print the network to see its paths."
        )
    recorders = {name: _Recorder() for name in found}
    generator = torch.Generator().manual_seed(seed)
    recording = _recording(found, recorders, neurons, generator)
    with evaluating(net), recording:
        for batch in batches:
            sj.reset_net(net)
            if forward is None:
                net(batch[0] if isinstance(batch, (tuple, list)) else batch)
            else:
                forward(net, batch)
            for name, recorder in recorders.items():
                recorder.close(name)
    sj.reset_net(net)
    return [_layer(name, found[name], recorder) for name, recorder in recorders.items()]


@contextmanager
def _recording(
    found: dict[str, nn.Module], recorders: dict[str, _Recorder], neurons: int, generator: torch.Generator
) -> Generator[None]:
    def hook(name: str) -> Callable[..., None]:
        recorder = recorders[name]

        def record(module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            multi_step = getattr(module, "step_mode", "m") == "m"
            steps = (output if multi_step else output[None]).detach().cpu()
            flat = steps.flatten(2) if steps.ndim > 2 else steps[..., None]
            if recorder.chosen is None:
                order = torch.randperm(flat.shape[2], generator=generator)
                recorder.chosen = order[:neurons].sort().values
            if int(recorder.chosen.max()) >= flat.shape[2]:
                raise ShapeError(
                    f"network_information: layer {name} must keep its shape, got {flat.shape[2]} neurons "
                    "after more; pass batches of one input shape."
                )
            recorder.calls = [*(recorder.calls or []), flat[:, :, recorder.chosen]]

        return record

    handles = [module.register_forward_hook(hook(name)) for name, module in found.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(name: str, module: nn.Module, recorder: _Recorder) -> LayerInformation:
    if not recorder.batches:
        raise UnsupportedError("network_information: batches must hold data, got none; pass at least one.")
    trains = np.concatenate(recorder.batches, axis=1)
    steps, samples, count = trains.shape
    counts = [np.bincount(words(trains[:, :, index])) for index in range(count)]
    possible = steps * np.log2(max(2, _levels(module, trains)))
    return LayerInformation(
        name=name,
        kind=type(module).__name__,
        bits=float(np.mean([miller_madow(found) for found in counts])),
        plugin=float(np.mean([plugin_entropy(found) for found in counts])),
        ceiling=float(min(possible, np.log2(samples))),
        neurons=count,
        samples=samples,
        silent=float(np.mean([found.size == 1 for found in counts])),
    )


def _levels(module: nn.Module, trains: np.ndarray) -> int:
    """Different values that one step of the layer's output can take."""
    if isinstance(module, SpikePackNode):
        sign = 2 if module.params.signed else 1
        digits = 1 if module.form == "serial" else module.params.max_code
        return sign * digits + 1
    return int(np.unique(trains).size)
