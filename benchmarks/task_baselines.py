"""SpikingJelly's own conversion recipes on the same networks, for as many time steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import ann2snn, base, functional
from torch import Tensor, nn

__all__ = ["BASELINES", "baseline"]

BALANCING_PASSES = 24


class _RateCoded(nn.Module):
    """The input at each of T steps; the mean of the outputs."""

    def __init__(self, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.network, self.steps = network, steps

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self.network)
        return torch.stack([self.network(x) for _ in range(self.steps)]).mean(0)


class _Differential(nn.Module):
    """STA's readout: the input at the first of T steps, nothing afterwards; the sum of the outputs."""

    def __init__(self, network: nn.Module, steps: int) -> None:
        super().__init__()
        functional.set_step_mode(network, "m")
        self.network, self.steps = network, steps

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self.network)
        sequence = torch.zeros(self.steps, *x.shape)
        sequence[0] = x
        return self.network(sequence).sum(0)


def _rate(data: list[Any], _steps: int) -> Any:
    return ann2snn.RateCodingRecipe(data, mode="99.9%")


def _balanced(data: list[Any], _steps: int) -> Any:
    # Its thresholds start at zero and grow by a step per batch: the data is read until they settle.
    return ann2snn.LocalThresholdBalancingRecipe(data * BALANCING_PASSES)


def _sta(data: list[Any], steps: int) -> Any:
    return ann2snn.STATransformerRecipe(data, time_steps=steps, mode="spiking_encoder", threshold_scale=0.5)


#: Recipe by name, and how its network is run.
BASELINES: dict[str, tuple[Callable[[list[Any], int], Any], type[nn.Module]]] = {
    "SpikingJelly rate coding": (_rate, _RateCoded),
    "SpikingJelly threshold balancing": (_balanced, _RateCoded),
    "SpikingJelly STA": (_sta, _Differential),
}


def baseline(name: str, network: nn.Module, data: list[Any], steps: int) -> nn.Module:
    """A network converted by SpikingJelly's recipe, to be called as the source.

    Raises:
        ValueError: The result holds no spiking neuron: the recipe found nothing of what it converts.
        Exception: Whatever SpikingJelly raises where it refuses.
    """
    recipe, run = BASELINES[name]
    converted = ann2snn.Converter(recipe(data, steps)).convert(network)
    spiking = [m for m in converted.modules() if isinstance(m, base.MemoryModule) and _fires(m)]
    if not spiking:
        raise ValueError("it puts no spiking neuron into this network")
    return run(converted, steps)


def _fires(module: nn.Module) -> bool:
    """Whether a module with memory emits spikes: SpikingJelly's neurons, and STA's encoder."""
    return hasattr(module, "v_threshold")
