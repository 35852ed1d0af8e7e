"""A dense product of whole maps with equal weights at every position, as a product of the maps' sums.

A global average pool folded into the layer behind it repeats each weight for every position of a map. By the
distributive law the sum of the codes times the weight is the same integer, with so many fewer products.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..ops.integer_products import storage_dtype
from ..spec.graph import Dense, Network
from .accelerated_ops import Edge, ProductStep, Step

__all__ = ["PooledStep", "pool_first"]


def pool_first(network: Network, steps: dict[str, Step], sources: dict[str, tuple[str, ...]]) -> None:
    """Replace, in place, dense products behind a flattening by their pooled form, where weights allow it."""
    readers = Counter(name for names in sources.values() for name in names)
    for op in list(network.ops.values()):
        if not isinstance(op, Dense) or network.ops[op.inputs[0]].kind != "flatten":
            continue
        (flat,) = op.inputs
        (maps,) = network.ops[flat].inputs
        channels, *sizes = network.shapes[maps]
        weight = op.weight.reshape(len(op.weight), channels, -1)
        if len(sizes) == 2 and weight.shape[2] > 1 and bool((weight == weight[:, :, :1]).all()):
            steps[op.name] = PooledStep(
                replace(op, weight=weight[:, :, 0]), steps[maps].edge, weight.shape[2]
            )
            sources[op.name] = (maps,)
            if readers[flat] == 1:
                del steps[flat], sources[flat]


class PooledStep(ProductStep):
    """Sum every map, then multiply.

    Args:
        op: A dense product with one weight per map.
        edge: Range of the codes in the maps.
        positions: Codes in a map.
    """

    def __init__(self, op: Any, edge: Edge, positions: int) -> None:
        totals = Edge(edge.low * positions, edge.high * positions, False)
        super().__init__(op, [totals])
        self.storage = storage_dtype(totals.low, totals.high)

    def forward(self, parts: list[Tensor]) -> Tensor:
        (codes,) = parts
        return super().forward([codes.sum((-2, -1), dtype=torch.int32).to(self.storage)])
