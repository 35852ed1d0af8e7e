"""The steps of an accelerated integer network: one module per operation of the graph.

Sums travel as floats that hold every possible value exactly: float32 while ``|V| < 2^24``, else float64.
Division by the threshold may then be a float division: for integers ``n`` and ``theta`` with
``|n| + theta < 2^p`` (p significand bits) the rounded quotient lies in ``[k, k + 1)`` exactly when
``n / theta`` does, because a quotient below k is at most ``k - 1/theta``, further from k than half a unit in
the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..ops.codes import integer_fire, uses_integer_kernel
from ..ops.exactness import exact_integers
from ..ops.integer_products import Kernel, Product, Window, choose_route, routes, storage_dtype
from ..spec.errors import UnsupportedError

__all__ = [
    "STEPS",
    "Edge",
    "NeuronStep",
    "ProductStep",
    "Step",
    "integers",
    "per_channel",
    "spike_edge",
    "step_of",
    "sum_dtype",
    "sum_edge",
]


@dataclass(frozen=True)
class Edge:
    """Range of the integers an operation emits; ``codes`` says what they are: codes of spikes, or sums."""

    low: int
    high: int
    codes: bool

    @property
    def most(self) -> int:
        """Largest magnitude."""
        return max(-self.low, self.high)


class Step(nn.Module):
    """One operation: a list of its inputs' tensors to its output's.

    Attributes:
        edge: Range of its output.
        fresh: Whether its output is memory of its own, never a view or its input.
        spends: Whether each input is fresh and read by no other step, so that it may be overwritten.
    """

    edge: Edge
    fresh: bool = False
    spends: tuple[bool, ...] = ()

    def own(self, parts: list[Tensor], index: int, dtype: torch.dtype) -> Tensor:
        """An input in ``dtype`` that may be overwritten: itself where it is spent, else a copy."""
        spent = index < len(self.spends) and self.spends[index]
        return parts[index].to(dtype, copy=not spent)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """The operation on values of its inputs."""
        raise UnsupportedError(
            f"accelerate: {type(self).__name__} computes nothing; use a step of an operation."
        )

    def in_windows(self, parts: list[Tensor], windows: int) -> Tensor:
        """The operation on a stream ``[N * W, *]``; only neurons that carry care where a sample begins."""
        del windows
        result: Tensor = self(parts)
        return result

    def use_provider(self, provider: str) -> None:
        """Set what fires its neurons, if it has any."""


StepMaker = Callable[[Any, list[Edge]], Step]
STEPS: dict[str, StepMaker] = {}
_Maker = TypeVar("_Maker", bound=StepMaker)


def step_of(*kinds: str) -> Callable[[_Maker], _Maker]:
    """Class decorator: enter a step as what runs these kinds of operations."""

    def enter(maker: _Maker) -> _Maker:
        for kind in kinds:
            STEPS[kind] = maker
        return maker

    return enter


def integers(values: np.ndarray) -> Tensor:
    """A constant of the graph as int64 tensor."""
    return torch.from_numpy(values.astype(np.int64))


def sum_dtype(op: Any, most: int) -> torch.dtype:
    """Float type that holds every integer up to ``most``."""
    for dtype in (torch.float32, torch.float64):
        if most < exact_integers(dtype):
            return dtype
    raise UnsupportedError(f"accelerate: {op.label} can reach {most}, beyond exact floats; run spec.execute.")


def per_channel(values: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """View ``[C]`` so that it broadcasts against ``like`` ``[N, C, *]``."""
    # Buffers stay integers: a module moved to half precision must not round them.
    return values.to(dtype).view(-1, *[1] * (like.dim() - 2))


def spike_edge(op: Any) -> Edge:
    """Range of the codes of an input or a neuron."""
    return Edge(-op.max_code if op.signed else 0, op.max_code, True)


def sum_edge(most: int) -> Edge:
    """Sums up to ``most``."""
    return Edge(-most, most, False)


@step_of("dense", "conv2d")
class ProductStep(Step):
    """A synapse with weights, by the route measured fastest for the batch at hand."""

    fresh = True

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        (source,) = edges
        window = None
        if op.kind == "conv2d":
            window = Window(tuple(op.stride), tuple(op.padding), tuple(op.dilation), op.groups)
        self.product = Product(integers(op.weight), source.low, source.high, window)
        self.edge = Edge(*self.product.sums, False)
        sum_dtype(op, self.product.magnitude)
        self._prepared: dict[tuple[str, torch.device], Kernel] = {}

    def forward(self, parts: list[Tensor]) -> Tensor:
        (codes,) = parts
        route = choose_route(self.product, tuple(codes.shape), codes.device).chosen
        kernel = self._prepared.get((route, codes.device))
        if kernel is None:
            kernel = routes()[route].prepare(self.product, codes.device)
            self._prepared[route, codes.device] = kernel
        return kernel(codes)

    def __getstate__(self) -> dict[str, Any]:
        # Prepared kernels are made again on demand; they cannot be copied.
        return {**self.__dict__, "_prepared": {}}


@step_of("scale")
class ScaleStep(Step):
    """An identity synapse: one weight per channel."""

    fresh = True
    multiplier: Tensor

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        weight = integers(op.multiplier)
        self.edge = sum_edge(edges[0].most * int(weight.abs().max()))
        self.dtype = sum_dtype(op, max(self.edge.high, edges[0].most))
        self.register_buffer("multiplier", weight, persistent=False)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return self.own(parts, 0, self.dtype).mul_(per_channel(self.multiplier, parts[0], self.dtype))


@step_of("add")
class AddStep(Step):
    """Sum of currents."""

    fresh = True

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        self.edge = Edge(sum(edge.low for edge in edges), sum(edge.high for edge in edges), False)
        self.dtype = sum_dtype(op, sum(edge.most for edge in edges))

    def forward(self, parts: list[Tensor]) -> Tensor:
        spent = [i for i, mine in enumerate(self.spends) if mine and parts[i].dtype is self.dtype]
        first = spent[0] if spent else 0
        total = self.own(parts, first, self.dtype)
        for index, part in enumerate(parts):
            if index != first:
                total += part.to(self.dtype)
        return total


class NeuronStep(Step):
    """Fire ``clamp(floor((V + bias + floor(theta / 2)) / theta), 0, 2^T - 1)``, signed on ``|V + bias|``."""

    bias: Tensor
    offset: Tensor
    threshold: Tensor
    provider: str

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        theta, bias = integers(op.threshold), integers(op.bias)
        half = theta // 2 if op.half else torch.zeros_like(theta)
        most = edges[0].most + int((bias.abs() + half + theta).max())
        self.dtype = sum_dtype(op, most)
        self.max_code, self.signed = op.max_code, op.signed
        self.edge = spike_edge(op)
        self.storage = storage_dtype(self.edge.low, self.edge.high)
        self.time_steps, self.rounds, self.provider = op.time_steps, op.half, "auto"
        wide = most > 2**31 - 1
        self.obstacle = f"sums reach {most}, beyond int32" if wide else None
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("offset", half, persistent=False)
        self.register_buffer("threshold", theta, persistent=False)

    def use_provider(self, provider: str) -> None:
        self.provider = provider

    def forward(self, parts: list[Tensor]) -> Tensor:
        sums = parts[0]
        if uses_integer_kernel(self.provider, sums, self.obstacle):
            numbers = (self.time_steps, self.signed, self.rounds)
            return integer_fire(sums, self.bias, self.threshold, *numbers).to(self.storage)
        return self._fire(self.own(parts, 0, self.dtype))

    def _fire(self, membrane: Tensor) -> Tensor:
        """Codes of sums that are lost."""
        sums = membrane
        theta = per_channel(self.threshold, sums, self.dtype)
        # Unsigned, both constants go in one addition.
        constant = self.bias if self.signed else self.bias + self.offset
        membrane += per_channel(constant, sums, self.dtype)
        if not self.signed:
            # Not negative after the clamp, so that conversion to integers, which truncates, is the floor.
            return membrane.div_(theta).clamp_(0, self.max_code).to(self.storage)
        code = membrane.abs().add_(per_channel(self.offset, sums, self.dtype)).div_(theta)
        return torch.copysign(code.clamp_(max=self.max_code), membrane).to(self.storage)


@step_of("readout")
class ReadoutStep(Step):
    """Membranes that never fire."""

    bias: Tensor

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        bias = integers(op.bias)
        self.edge = sum_edge(edges[0].most + int(bias.abs().max()))
        self.dtype = sum_dtype(op, self.edge.high)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return self.own(parts, 0, self.dtype).add_(per_channel(self.bias, parts[0], self.dtype))


@step_of("input")
class InputStep(Step):
    """Codes from outside."""

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        self.edge = spike_edge(op)

    def forward(self, parts: list[Tensor]) -> Tensor:
        raise UnsupportedError("accelerate: an input is given, not computed.")
