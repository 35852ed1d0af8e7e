"""Adaptive rounding: weights go up or down so that the sums err least on data, not each weight by itself.

A row of real weights t (in units of the membrane) becomes integers w. On inputs P of covariance G the sum
errs by ``(w - t) G (w - t)^T`` around its mean, and the mean of the error moves into the bias. Starting from
the nearest integers, one weight at a time goes to its other neighbour while that lowers the error: coordinate
descent on the objective of Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization (ICML
2020, arXiv 2004.10568), section 3.1, which they relax instead. Weights that are integers already stay.

The inputs are the codes of the integer network in the making, so that each layer is rounded for what the
rounded layers before it emit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..spec.execute import encode, packed_step
from ..spec.graph import Input, Op
from ..spec.graph.base import Array
from ..spec.graph.conv2d import windows
from .values import Branch, FloatArray

__all__ = ["Rounder", "descend"]

_ROWS = 1 << 16  # inputs of one sum that a covariance is taken over
_PASSES = 8
_RIDGE = 1e-6  # of the mean variance: directions that the data never took cost a little


class Rounder:
    """Rounds the weights of a network that is built front to back.

    Args:
        inputs: Real inputs ``[N * W, *]`` by name, the windows of each sample in order; a few hundred.
        windows: W.
    """

    def __init__(self, inputs: Mapping[str, Array], windows: int = 1) -> None:
        self.inputs, self.windows = inputs, windows
        self._codes: dict[str, Array] = {}

    def follow(self, ops: Sequence[Op], entries: Mapping[str, str]) -> None:
        """Run the operations that were added since the last call; ``entries``: input by encoder."""
        for op in ops:
            if op.name not in self._codes:
                parts = [self._codes[name] for name in op.inputs]
                self._codes[op.name] = (
                    encode(op, self.inputs[entries[op.name]])
                    if isinstance(op, Input)
                    else packed_step(op, parts, self.windows)
                )

    def improve(
        self, branch: Branch, target: FloatArray, weights: npt.NDArray[np.int32], limit: float
    ) -> FloatArray:
        """Round one branch better, in place.

        Args:
            branch: A synapse; what is neither a convolution nor dense stays as it is.
            target: Real weights ``[C, K]`` in units of the membrane.
            weights: The nearest integers, ``[C, K]``.
            limit: Largest magnitude.

        Returns:
            Mean error of the sums ``[C]``, to be taken off the bias.
        """
        off = np.zeros(len(target))
        for channels, rows in self._groups(branch):
            mean = rows.mean(0)
            spread = np.cov(rows, rowvar=False, bias=True).reshape(len(mean), len(mean))
            spread[np.diag_indices_from(spread)] += _RIDGE * spread.trace() / len(mean)
            weights[channels] = descend(target[channels], weights[channels], spread, limit, branch.name)
            off[channels] = (weights[channels] - target[channels]) @ mean
        return off

    def _groups(self, branch: Branch) -> list[tuple[slice, FloatArray]]:
        """Output channels of each group, with the inputs ``[M, K]`` of their sums."""
        codes = self._codes[branch.source.source]
        outputs = len(branch.rows)
        if branch.kind == "dense":
            return [(slice(0, outputs), _sampled(codes.astype(np.float64)))]
        if branch.kind != "conv2d":
            return []
        options = branch.options
        groups = int(options.get("groups", 1))
        steps = [
            options.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
        ]
        geometry = [(step, step) if isinstance(step, int) else tuple(step) for step in steps]
        view = windows(codes, branch.weight_shape[2:], *geometry)
        each, size = view.shape[1] // groups, outputs // groups
        found = []
        for group in range(groups):
            part = view[:, group * each : (group + 1) * each].transpose(0, 2, 3, 1, 4, 5)
            positions = part.shape[0] * part.shape[1] * part.shape[2]
            # whole samples are left out before the windows are copied
            kept = part[:: max(1, positions // _ROWS)]
            rows = kept.reshape(-1, branch.rows.shape[1]).astype(np.float64)
            found.append((slice(group * size, (group + 1) * size), _sampled(rows)))
        return found


def _sampled(rows: FloatArray) -> FloatArray:
    return rows[:: max(1, -(-len(rows) // _ROWS))]


def descend(
    target: FloatArray, weights: npt.NDArray[np.int32], spread: FloatArray, limit: float, name: str = ""
) -> npt.NDArray[np.int32]:
    """Integers near ``target`` with less ``(w - t) G (w - t)^T`` per row than ``weights``, or the same.

    Args:
        target: ``[C, K]``.
        weights: The nearest integers, ``[C, K]``.
        spread: G, ``[K, K]``, positive semidefinite.
        limit: Largest magnitude.
        name: Of the layer, for the progress bar.
    """
    found = weights.astype(np.float64)
    error = found - target
    slope = error @ spread
    free = error != 0
    bar = range(_PASSES)
    for _ in tqdm(bar, desc=f"rounding {name}", disable=target.size < 1 << 18, leave=False):
        moved = False
        for k in range(target.shape[1]):
            move = np.where(error[:, k] > 0, -1.0, 1.0)
            change = 2 * move * slope[:, k] + spread[k, k]
            take = free[:, k] & (np.abs(found[:, k] + move) <= limit) & (change < 0)
            if take.any():
                moved = True
                found[take, k] += move[take]
                error[take, k] += move[take]
                slope[take] += move[take, None] * spread[k]
        if not moved:
            break
    return found.astype(np.int32)
