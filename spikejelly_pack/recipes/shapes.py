"""Shapes of a traced network, and the checks that need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..spec.errors import ShapeError, SpikePackError, UnsupportedError
from .graph import module_of, node_input
from .operations import FEATURES

__all__ = ["check_shapes", "shapes_of"]

_AXES: list[tuple[int, str, tuple[type[nn.Module], ...]]] = [
    (2, "[N, features]", (nn.Linear,)),
    (3, "[N, C, L]", (nn.Conv1d, nn.ConvTranspose1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)),
    (4, "[N, C, H, W]", (nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d)),
    (5, "[N, C, D, H, W]", (nn.Conv3d, nn.ConvTranspose3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d)),
]  # fmt: skip


class _Interpreter(fx.Interpreter):
    def __init__(self, model: fx.GraphModule) -> None:
        super().__init__(model)
        self.extra_traceback = False
        self.shapes: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = result.shape
            _check_features(n, self.shapes)
        return result


def _check_features(node: fx.Node, shapes: dict[fx.Node, torch.Size]) -> None:
    features = node.meta.get(FEATURES)
    if features is not None and features != shapes[node][1]:
        sample = tuple(shapes[node_input(node)][1:])
        raise UnsupportedError(
            f"operation {node.name!r}: a view must keep the batch axis, got {features} features of samples "
            f"of shape {sample}; use flatten(1)."
        )


@torch.no_grad()
def shapes_of(
    model: fx.GraphModule, batch: Tensor | Sequence[Tensor], owner: str
) -> dict[fx.Node, torch.Size]:
    """Output shape of every node of the graph for ``batch`` (a sequence: one for each input).

    Raises:
        ShapeError: The model does not take the batch; the message has the model's own words.
        UnsupportedError: A view does not flatten the sample.
    """
    interpreter = _Interpreter(model)
    batches = (batch,) if isinstance(batch, Tensor) else tuple(batch)
    try:
        interpreter.run(*batches)
    except SpikePackError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        got = " and ".join(f"{one.dtype} of shape {tuple(one.shape)}" for one in batches)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ShapeError(
            f"{owner}: the network must accept its input, got {got}: "
            f"{reason}; pass batches as the network takes them."
        ) from None
    return interpreter.shapes


def check_shapes(model: fx.GraphModule, shapes: dict[fx.Node, torch.Size]) -> None:
    """Check that layers read batches, with channels where the conversion looks for them.

    Raises:
        ShapeError: A layer reads something else.
    """
    for node in model.graph.nodes:
        module = module_of(model, node)
        for axes, layout, types in _AXES:
            if isinstance(module, types) and len(shapes[node_input(node)]) != axes:
                raise ShapeError(
                    f"layer {node.target!r}: {type(module).__name__} must read {layout}, got shape "
                    f"{tuple(shapes[node_input(node)])}; pass batches, and flatten before linear layers."
                )
