"""Windows of one sample: how they are laid out, and in which order hardware sees them.

A run of W windows takes codes ``[W, N, *]`` (``[N, *]`` where W is 1). Executors work on the stream
``[N * W, *]`` that hardware sees: sample after sample, the windows of each in order, the carry of every
neuron reset at the first window of each sample. numpy arrays and torch tensors go through the same lines.
"""

from __future__ import annotations

from typing import Any

from .errors import UnsupportedError
from .graph import Network
from .graph.network import check_windows

__all__ = ["by_window", "in_order", "refuse_windows", "windows_of"]


def windows_of(network: Network, windows: int | None, owner: str = "run") -> int:
    """W of a run: ``windows``, or the network's own where none is given.

    Raises:
        ParameterError: ``windows`` is no positive integer.
    """
    return network.windows if windows is None else check_windows(owner, windows)


def refuse_windows(network: Network, owner: str) -> None:
    """Raise for an executor that runs every window for itself where a sample has several.

    Raises:
        UnsupportedError: Samples have several windows, or a neuron carries from one to the next.
    """
    carrying = next((op for op in network.neurons if op.carries), None)
    if carrying is not None:
        raise UnsupportedError(
            f"{owner}: {carrying.label} must have no leak here, got leak_shift = {carrying.leak_shift}; run "
            "the network with spec.execute, IntegerNetwork or accelerate."
        )
    if network.windows > 1:
        raise UnsupportedError(
            f"{owner}: a sample must be one window here, got windows = {network.windows}; run the network "
            "with spec.execute, IntegerNetwork or accelerate."
        )


def in_order(values: Any, windows: int) -> Any:
    """``[W, N, *]`` as the stream ``[N * W, *]``; ``[N, *]`` where W is 1."""
    return values if windows == 1 else values.swapaxes(0, 1).reshape(-1, *values.shape[2:])


def by_window(stream: Any, windows: int) -> Any:
    """The stream ``[N * W, *]`` as ``[W, N, *]``; ``[N, *]`` where W is 1."""
    if windows == 1:
        return stream
    return stream.reshape(len(stream) // windows, windows, *stream.shape[1:]).swapaxes(0, 1)
