"""A product and the neurons behind it as one kernel, where that is faster: the sums never reach memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from ..ops.integer_products import Fire, Kernel, choose_fusion, fused_routes
from ..ops.providers import effective_provider
from ..spec.graph import Network
from .accelerated_ops import NeuronStep, ProductStep, Step

__all__ = ["FusedStep", "fuse", "spend"]


def fuse(network: Network, steps: dict[str, Step], sources: dict[str, tuple[str, ...]]) -> None:
    """Join, in place, a neuron and the product that it alone reads; ``sources`` says what each step reads."""
    readers = Counter(name for op in network.ops.values() for name in op.inputs)
    for op in network.neurons:
        neuron, (before,) = steps[op.name], op.inputs
        product = steps.get(before)
        if isinstance(neuron, NeuronStep) and isinstance(product, ProductStep) and readers[before] == 1:
            steps[op.name] = FusedStep(product, neuron)
            sources[op.name] = sources.pop(before)
            del steps[before]


def spend(steps: dict[str, Step], sources: dict[str, tuple[str, ...]]) -> None:
    """Tell every step which of its inputs it may overwrite; none of them leaves the network."""
    readers = Counter(name for names in sources.values() for name in names)
    for name, step in steps.items():
        step.spends = tuple(steps[source].fresh and readers[source] == 1 for source in sources[name])


class FusedStep(Step):
    """Product and neurons, by one kernel or one after the other, as measured for the batch at hand.

    Args:
        product: The synapse.
        neuron: What reads it.
    """

    def __init__(self, product: ProductStep, neuron: NeuronStep) -> None:
        super().__init__()
        self.product, self.neuron, self.edge = product, neuron, neuron.edge
        neuron.spends = (product.fresh,)
        constants = (neuron.threshold, neuron.bias, neuron.time_steps, neuron.signed, neuron.rounds)
        self.fire = Fire(*constants)
        self._prepared: dict[tuple[str, torch.device], Kernel] = {}

    def forward(self, parts: list[Tensor]) -> Tensor:
        (codes,) = parts
        device, product = codes.device, self.product.product
        routes = fused_routes(device, effective_provider(self.neuron.provider, "accelerate"))
        if not routes:
            return self._separate(codes)
        route = choose_fusion(product, self.fire, self._separate, tuple(codes.shape), device, routes).chosen
        if route == "separate":
            return self._separate(codes)
        kernel = self._prepared.get((route, device))
        if kernel is None:
            kernel = self._prepared[route, device] = routes[route].prepare(product, device, self.fire)
        return kernel(codes).to(self.neuron.storage)

    def use_provider(self, provider: str) -> None:
        self.neuron.use_provider(provider)

    def _separate(self, codes: Tensor) -> Tensor:
        return self.neuron([self.product([codes])])

    def __getstate__(self) -> dict[str, Any]:
        # Prepared kernels are made again on demand; they cannot be copied.
        return {**self.__dict__, "_prepared": {}}
