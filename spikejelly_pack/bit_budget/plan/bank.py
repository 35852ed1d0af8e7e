"""One network per number of time steps, all calibrated alike: what the planner mixes layer by layer."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from tqdm import tqdm

from ...neuron import SpikePackNode, set_form
from ...recipes import convert
from ...spec.errors import ParameterError

__all__ = ["Bank", "build_bank", "is_spiking", "retimed"]

#: T -> network.
Bank = dict[int, nn.Module]


def is_spiking(model: nn.Module) -> bool:
    """Whether the model holds SpikePack nodes already and is planned as it is."""
    return any(isinstance(module, SpikePackNode) for module in model.modules())


def build_bank(
    model: nn.Module, data: Iterable[Any], steps: Sequence[int], *, progress: bool = True, **conversion: Any
) -> Bank:
    """Convert a trained network once per T; a network of SpikePack nodes is retimed instead.

    Args:
        model: Source network.
        data: Calibration batches, read once per T.
        steps: Values of T.
        progress: Show a bar.
        conversion: Further arguments of :func:`.convert`.
    """
    if is_spiking(model):
        return {t: retimed(model, t) for t in steps}
    bank: Bank = {}
    route = conversion.pop("route", "auto")
    for t in tqdm(steps, desc="calibrating", unit="T", disable=not progress, leave=False):
        bank[t] = convert(model, data, t, route=route, progress=False, **conversion)
        found: Any = bank[t].report
        route = found.route  # the same for all
    return bank


def retimed(model: nn.Module, time_steps: int) -> nn.Module:
    """A copy in packed form with another T in every node; thresholds stay.

    Raises:
        ParameterError: Its nodes stand in mid-window.
    """
    net = copy.deepcopy(model).eval()
    set_form(net, "packed")
    for module in net.modules():
        if isinstance(module, SpikePackNode):
            set_time_steps(module, time_steps)
    return net


def set_time_steps(node: SpikePackNode, time_steps: int) -> None:
    """Another T for one node, with a window of its own."""
    if node.phase:
        raise ParameterError(
            f"budget plan: T must change between windows, got a node after {node.phase} of {node.window} "
            "steps; call functional.reset_net first."
        )
    if node.window != node.time_steps:
        raise ParameterError(
            f"budget plan: every node must have a window of its own length, got T = {node.time_steps} in a "
            f"window of {node.window}, which weights account for; plan a network converted with one T."
        )
    node.params = dataclasses.replace(node.params, time_steps=time_steps, window=None)
