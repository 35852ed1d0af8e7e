"""NIR graphs evaluated from NIR's own documentation, in numpy loops: the judge of both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest


def _windows(x: np.ndarray, size: Any, stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    """``[C, H, W]`` to ``[C, H', W', kh, kw]``, element by element."""
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
        np.broadcast_to(v, 2) for v in (size, stride, padding, dilation)
    )
    x = np.pad(x, ((0, 0), (ph, ph), (pw, pw)))
    high = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1
    wide = (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
    out = np.zeros((len(x), high, wide, kh, kw))
    for i in range(high):
        for j in range(wide):
            for a in range(kh):
                for b in range(kw):
                    out[:, i, j, a, b] = x[:, i * sh + a * dh, j * sw + b * dw]
    return out


def _conv2d(node: Any, x: np.ndarray) -> np.ndarray:
    weight = node.weight.astype(np.float64)
    view = _windows(x, weight.shape[2:], node.stride, node.padding, node.dilation)
    per_group, outputs = weight.shape[1], len(weight) // int(node.groups)
    maps = []
    for o, kernel in enumerate(weight):
        first = (o // outputs) * per_group
        maps.append((view[first : first + per_group] * kernel[:, None, None]).sum((0, 3, 4)) + node.bias[o])
    return np.stack(maps)


def _conv1d(node: Any, x: np.ndarray) -> np.ndarray:
    flat = nir.Conv2d(
        None, node.weight[:, :, None], (1, int(node.stride)), (0, int(node.padding)), (1, int(node.dilation)),
        node.groups, node.bias,
    )  # fmt: skip
    return _conv2d(flat, x[:, None])[:, 0]


def _pool(node: Any, x: np.ndarray) -> np.ndarray:
    view = _windows(x, node.kernel_size, node.stride, node.padding, 1)
    return view.sum((3, 4)) if isinstance(node, nir.SumPool2d) else view.mean((3, 4))


RULES: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {
    "Affine": lambda n, x: n.weight.astype(np.float64) @ x + n.bias,
    "Linear": lambda n, x: n.weight.astype(np.float64) @ x,
    "Conv1d": _conv1d,
    "Conv2d": _conv2d,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": lambda _, x: x.reshape(-1),
    "Scale": lambda n, x: n.scale.astype(np.float64) * x,
    "Threshold": lambda n, x: (x > n.threshold.astype(np.float64)).astype(np.float64),
    "Output": lambda _, x: x,
    "NIRGraph": lambda n, x: evaluate_sample(n, x),
}


def evaluate_sample(graph: Any, x: np.ndarray) -> np.ndarray:
    """One sample through a stateless graph, by repeated sweeps over what is ready."""
    sources: dict[str, list[str]] = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
    values = {name: x for name, node in graph.nodes.items() if isinstance(node, nir.Input)}
    while len(values) < len(graph.nodes):
        ready = [n for n in graph.nodes if n not in values and all(s in values for s in sources[n])]
        assert ready, "the graph has a cycle"
        for name in ready:
            total = sum(values[source] for source in sources[name])
            node = graph.nodes[name]
            values[name] = RULES[type(node).__name__](node, total)
    (result,) = [values[name] for name, node in graph.nodes.items() if isinstance(node, nir.Output)]
    return result


@pytest.fixture(scope="session")
def evaluate() -> Callable[[Any, Any], np.ndarray]:
    """Batch ``[N, *]`` through a graph, in float64."""
    return lambda graph, batch: np.stack([evaluate_sample(graph, x) for x in np.asarray(batch, np.float64)])
