"""Memory of a network in bits: what it stores for ever, and what its nodes hold between time steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spikingjelly.activation_based import base
from torch import Tensor, nn

from .rows import Row
from .signals import float_bits
from .storage import storage_of

__all__ = ["Memory", "memory_of"]


@dataclass(frozen=True)
class Memory:
    """Bits stored.

    Attributes:
        weights: Of synaptic weights, each once, with their counted width.
        others: Of all other parameters and floating point buffers: biases, norms, thresholds, scales.
        state: Of the nodes between two time steps, per sample.
    """

    weights: int
    others: int
    state: int

    @property
    def parameters(self) -> int:
        """Everything that does not change from sample to sample."""
        return self.weights + self.others


def memory_of(net: nn.Module, rows: Iterable[Row], samples: int) -> Memory:
    """Memory of a network after a pass.

    Args:
        net: The network, its states as the pass left them.
        rows: What a counter found.
        samples: Samples in the batch.
    """
    weights: dict[object, int] = {}
    computed: set[str] = set()
    for row in rows:
        if row.weights:
            bits = next(item.bits for item in row.operands if item.kind == "weight")
            weights[row.path if row.stored is None else row.stored] = row.weights * bits
            if row.stored is None:
                computed.add(row.path)
    return Memory(sum(weights.values()), _others(net, weights, computed), _state(net, samples))


def _others(net: nn.Module, counted: dict[object, int], computed: set[str]) -> int:
    total = 0
    seen: set[int] = set()
    for name, x in (*net.named_parameters(), *net.named_buffers()):
        key = storage_of(x)
        layer, _, rest = name.partition("parametrizations.")
        original = rest.endswith("original") and layer.rstrip(".") in computed
        float_weight = name.endswith(".weight") and name.removesuffix(".weight") in computed
        if (
            x.is_floating_point()
            and key not in seen
            and key not in counted
            and not (original or float_weight)
        ):
            seen.add(key)
            total += x.numel() * float_bits(x)
    return total


def _state(net: nn.Module, samples: int) -> int:
    total = 0
    for module in net.modules():
        if isinstance(module, base.MemoryModule):
            tensors = [x for x in module._memories.values() if isinstance(x, Tensor)]  # pyright: ignore[reportPrivateUsage]
            total += sum(x.numel() // samples * float_bits(x) for x in tensors)
    return total
