"""A product and the neurons behind it as one kernel, where that is faster: the sums never reach memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from ..ops.integer_products import Fire, Kernel, choose_fusion, fused_route
from ..ops.providers import effective_provider
from ..spec.graph import Network
from .accelerated_ops import NeuronStep, ProductStep, Step

__all__ = ["FusedStep", "fuse"]


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


class FusedStep(Step):
    """Product and neurons, by one kernel or one after the other, as measured for the batch at hand.

    Args:
        product: The synapse.
        neuron: What reads it.
    """

    def __init__(self, product: ProductStep, neuron: NeuronStep) -> None:
        super().__init__()
        self.product, self.neuron, self.edge = product, neuron, neuron.edge
        self._prepared: dict[torch.device, Kernel] = {}

    def forward(self, parts: list[Tensor]) -> Tensor:
        (codes,) = parts
        device = codes.device
        if effective_provider(self.neuron.provider, "accelerate") == "torch" or (
            device.type not in fused_route().devices
        ):
            return self._separate(codes)
        neuron, product = self.neuron, self.product.product
        fire = Fire(neuron.threshold, neuron.bias, neuron.time_steps, neuron.signed, neuron.rounds)
        choice = choose_fusion(product, fire, self._separate, tuple(codes.shape), device)
        if choice.chosen != "fused":
            return self._separate(codes)
        kernel = self._prepared.get(device)
        if kernel is None:
            kernel = self._prepared[device] = fused_route().prepare(product, device, fire)
        return kernel(codes).to(neuron.storage)

    def use_provider(self, provider: str) -> None:
        self.neuron.use_provider(provider)

    def _separate(self, codes: Tensor) -> Tensor:
        return self.neuron([self.product([codes])])

    def __getstate__(self) -> dict[str, Any]:
        # Prepared kernels are made again on demand; they cannot be copied.
        return {**self.__dict__, "_prepared": {}}
