"""Random integer networks: hypothesis draws the structure, a generator the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g


class NetBuilder:
    """Draws operations one after the other; hypothesis draws the structure, a generator the numbers.

    ``kinds`` are the operations it may draw, ``leaks`` says whether neurons may carry from window to window,
    ``upsampled_currents`` whether currents may be upsampled: an executor without a rule draws from fewer.
    """

    leaks: ClassVar[bool] = True
    upsampled_currents: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset(g.OPS)

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.time_steps = draw(st.integers(1, 6))
        self.windows = draw(st.integers(2, 4)) if self.leaks and draw(st.booleans()) else 1
        self.ops: list[Any] = []
        self.spikes: list[tuple[str, tuple[int, ...]]] = []

    def add(self, cls: Any, *inputs: str, **constants: Any) -> str:
        name = f"{cls.kind}{len(self.ops)}"
        self.ops.append(cls(name=name, inputs=inputs, **constants))
        return name

    def numbers(self, *shape: int, high: int = 127) -> Any:
        return self.rng.integers(-high, high + 1, size=shape).astype(np.int32)

    def some(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def input(self) -> None:
        shape = (2 * self.some(1, 2), self.some(2, 5), self.some(2, 5))
        constants = {"threshold": np.ones(1, np.float32), "shape": shape, "signed": self.draw(st.booleans())}
        self.spikes.append((self.add(g.Input, time_steps=self.some(1, self.time_steps), **constants), shape))

    def neuron(self, current: str, shape: tuple[int, ...]) -> None:
        channels = shape[0]
        leak: dict[str, Any] = {}
        if self.windows > 1 and self.draw(st.booleans()):
            leak = {
                "leak_shift": self.some(0, 3),
                "carry": self.draw(st.sampled_from(["residual", "membrane"])),
            }
        name = self.add(
            g.Neuron,
            current,
            threshold=self.rng.integers(1, 200, size=channels).astype(np.int32),
            bias=self.numbers(channels, high=900),
            time_steps=self.some(1, self.time_steps),
            signed=self.draw(st.booleans()),
            rounding=self.draw(st.sampled_from(["round_half_up", "floor"])),
            **leak,
        )
        self.spikes.append((name, shape))

    def conv(self, source: str, shape: tuple[int, ...], same: bool) -> tuple[str, tuple[int, ...]]:
        groups = self.draw(st.sampled_from([n for n in (1, 2, shape[0]) if shape[0] % n == 0]))
        kernel = self.some(1, 3)
        dilation = self.some(1, 2)
        out = shape[0] if same else groups * self.some(1, 2)
        if same:
            kernel, stride, padding = 3, 1, dilation
        else:
            stride, padding = self.some(1, 3), (dilation * (kernel - 1) + 1) // 2 + self.some(0, 1)
        weight = self.numbers(out, shape[0] // groups, kernel, kernel)
        window = {"stride": (stride, 1 if same else self.some(1, 2)), "padding": (padding, padding)}
        window["dilation"] = (dilation, dilation)
        name = self.add(g.Conv2d, source, weight_bits=8, weight=weight, groups=groups, **window)
        op = self.ops[-1]
        return name, op.output_shape(shape)

    def pool(self, source: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        kernel = (self.some(1, min(2, shape[1])), self.some(1, min(2, shape[2])))
        constants = {
            "kernel": kernel,
            "stride": (self.some(1, 2), self.some(1, 2)),
            "padding": (self.some(0, 1), 0),
        }
        multiplier = self.numbers(shape[0], high=100)
        name = self.add(g.AvgPool2d, source, weight_bits=8, multiplier=multiplier, **constants)
        return name, self.ops[-1].output_shape(shape)

    def block(self) -> None:
        """Some synapses on recent spikes, perhaps joined with older ones, then a neuron."""
        source, shape = self.draw(st.sampled_from(self.spikes[-3:]))
        alike = [name for name, other in self.spikes if other == shape]
        skip = self.draw(st.sampled_from(alike))
        kinds = ["residual", "residual", "concat", "join", "dense"]
        if len(shape) == 3:
            kinds += ["conv", "pool"] + [kind for kind in self.maps if kind in self.kinds]
        kind = self.draw(st.sampled_from(kinds))
        if kind in self.maps:
            self.maps[kind](self, source, shape)
        elif kind == "conv":
            self.neuron(*self.conv(source, shape, same=False))
        elif kind == "pool":
            self.neuron(*self.pool(source, shape))
        elif kind == "dense":
            self.neuron(*self.dense(source, shape, self.some(1, 4)))
        elif kind == "concat":
            self.spikes.append((self.add(g.Concat, source, skip), (2 * shape[0], *shape[1:])))
        else:
            skipped = self.add(g.Scale, skip, weight_bits=12, multiplier=self.numbers(shape[0], high=2000))
            if len(shape) == 3:
                main, _ = self.conv(source, shape, same=True)
            else:
                main, _ = self.dense(source, shape, shape[0])
            if kind == "residual":
                self.neuron(self.add(g.Add, main, skipped), shape)
            else:
                self.neuron(self.add(g.Concat, main, skipped), (2 * shape[0], *shape[1:]))

    def max_pool(self, source: str, shape: tuple[int, ...]) -> None:
        """A window that fits, padded by at most half of it; dilated ones see two places or more."""
        kernel = (self.some(1, min(3, shape[1])), self.some(1, min(3, shape[2])))
        dilation = tuple(
            self.some(1, 2) if 2 * (k - 1) < n else 1 for k, n in zip(kernel, shape[1:], strict=True)
        )
        padding = [self.some(0, k // 2) if d == 1 else 0 for k, d in zip(kernel, dilation, strict=True)]
        constants = {
            "kernel": kernel,
            "stride": (self.some(1, 3), self.some(1, 2)),
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": self.draw(st.booleans()),
        }
        name = self.add(g.MaxPool2d, source, **constants)
        self.spikes.append((name, self.ops[-1].output_shape(shape)))

    def upsample(self, source: str, shape: tuple[int, ...]) -> None:
        """Of spikes, or of currents that a neuron then reads."""
        factor = tuple(self.some(1, 2 if n < 6 else 1) for n in shape[1:])
        wide = (shape[0], shape[1] * factor[0], shape[2] * factor[1])
        if not self.upsampled_currents or self.draw(st.booleans()):
            self.spikes.append((self.add(g.Upsample2d, source, factor=factor), wide))
        else:
            current, _ = self.conv(source, shape, same=True)
            self.neuron(self.add(g.Upsample2d, current, factor=factor), wide)

    def transposed(self, source: str, shape: tuple[int, ...]) -> None:
        """Every constant for each axis on its own; the output stays small."""
        groups = self.draw(st.sampled_from([n for n in (1, 2) if shape[0] % n == 0]))
        kernel = (self.some(1, 3), self.some(1, 3))
        stride = (self.some(1, 2 if shape[1] < 6 else 1), self.some(1, 2 if shape[2] < 6 else 1))
        dilation = (self.some(1, 2), self.some(1, 2))
        full = [
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(shape[1:], stride, dilation, kernel, strict=True)
        ]
        name = self.add(
            g.ConvTranspose2d,
            source,
            weight_bits=8,
            weight=self.numbers(groups * self.some(1, 2), shape[0] // groups, *kernel),
            stride=stride,
            dilation=dilation,
            groups=groups,
            padding=[self.some(0, min(2, (n - 1) // 2)) for n in full],
            output_padding=[self.some(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)],
        )
        self.neuron(name, self.ops[-1].output_shape(shape))

    maps: ClassVar[dict[str, Callable[..., None]]] = {
        "max_pool2d": max_pool,
        "upsample2d": upsample,
        "conv_transpose2d": transposed,
    }

    def dense(self, source: str, shape: tuple[int, ...], out: int) -> tuple[str, tuple[int, ...]]:
        if len(shape) > 1:
            source = self.add(g.Flatten, source)
        return self.add(g.Dense, source, weight_bits=8, weight=self.numbers(out, math.prod(shape))), (out,)

    def network(self) -> Any:
        self.input()
        for _ in range(self.some(1, 5)):
            self.block()
        source, shape = self.spikes[-1]
        current, _ = self.dense(source, shape, 3)
        self.add(g.Readout, current, scale=np.full(3, 0.5), bias=self.numbers(3, high=900))
        return g.Network(self.used(), self.time_steps, None, self.windows)

    def used(self) -> list[Any]:
        """A concatenation drawn but never read is no network."""
        kept: list[Any] = []
        for op in reversed(self.ops):
            if op.kind in {"neuron", "readout"} or any(op.name in later.inputs for later in kept):
                kept.append(op)
        return kept[::-1]

    def codes(self, network: Any, samples: int) -> dict[str, Any]:
        """Random codes, both ends included: ``[N, *]``, or ``[W, N, *]`` where samples have W windows."""
        result = {}
        lead = (samples,) if network.windows == 1 else (network.windows, samples)
        for op in network.inputs:
            low = -op.max_code if op.signed else 0
            result[op.name] = self.rng.integers(low, op.max_code + 1, size=(*lead, *op.shape))
        return result
