"""From the integer network to connected Lava Processes: one rule per kind of operation.

A value of the network is a list of Lava out-ports that sum up (usually one): an ``add`` is several
connections on one in-port, as on neuromorphic hardware. Tensors travel with their axes reversed (``C H
W`` as ``W H C``), Lava's own order for images.

Timing: every synapse takes one time step, everything else none, so that all populations share one
phase and a layer costs exactly one window (see :mod:`lava_bridge.processes.neuron`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array

from .assembly import Assembly, Value, connect
from .batching import Deal
from .models import Model
from .processes.endpoints import Sink
from .rules import RULES

__all__ = ["assemble"]


def assemble(
    network: Network,
    codes: Mapping[str, Array],
    record: Sequence[str],
    folder: Path,
    processes: list[Any] | None = None,
    graded: bool = False,
    model: Model | None = None,
    batch: int = 1,
) -> Assembly:
    """Build and connect the Lava Processes of a network.

    Args:
        network: Integer network; delays are inserted where its branches meet in different windows.
        codes: Input codes by name, the stream ``[N * W, *]`` of all windows, sample after sample.
        record: Inputs and neurons whose codes (and membranes) are recorded; readouts always are.
        folder: Existing folder for the recorders' files.
        processes: List to keep the Processes in, the caller's even when a rule raises.
        graded: Codes travel as graded spikes.
        model: The ProcessModels that will run; default: tag ``fixed_pt``.
        batch: Samples side by side.

    Raises:
        UnsupportedError: An operation kind has no rule, or none for graded spikes of this length.
    """
    network = network.balanced()
    kept = [] if processes is None else processes
    samples = len(next(iter(codes.values()))) // network.windows
    deal = Deal(batch, samples, network.windows)
    assembly = Assembly(network, codes, deal, folder, record, graded, model or Model(), kept)
    values: dict[str, Value] = {}
    for op in network.ops.values():
        if op.kind not in RULES:
            raise UnsupportedError(
                f"{op.label}: Lava has no rule for this kind of operation, only for {sorted(RULES)}."
            )
        values[op.name] = RULES[op.kind](assembly, op, [values[name] for name in op.inputs])
        if op.name in record:
            recorder = assembly.record_codes(op.name)
            sink = assembly.add(
                Sink(
                    shape=assembly.shape(op),
                    window=assembly.window,
                    recorder=recorder,
                    name=f"{op.name}/sink",
                )
            )
            connect(assembly, values[op.name], sink.s_in)
    return assembly
