"""SpikingJelly's containers that hide the time axis from their members, which some members need to see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from .handlers import Outcome, Site, name
from .members import is_node
from .time_axis import HIDDEN
from .window import FormModule

__all__ = ["ExactContainer", "in_time", "sequence_around"]

_HIDING = (
    layer.SeqToANNContainer,
    layer.MultiStepContainer,
    layer.StepModeContainer,
    layer.TLastSeqToANNContainer,
    layer.TLastMultiStepContainer,
)


class ExactContainer(layer.SeqToANNContainer):
    """``SeqToANNContainer`` whose members with a form see the sequence, the others single steps."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return _one_by_one(self, x_seq)


def _one_by_one(members: Iterable[nn.Module], x_seq: Tensor) -> Tensor:
    for module in members:
        if isinstance(module, FormModule):
            x_seq = cast("Tensor", module(x_seq))
        elif type(module) is nn.Sequential:
            x_seq = _one_by_one(module, x_seq)
        else:
            x_seq = cast("Tensor", functional.seq_to_ann_forward(x_seq, module))
    return x_seq


def sequence_around(current: nn.Module, site: Site) -> tuple[nn.Module | None, bool]:
    """For the members of ``current``, which stands at ``site``: see ``sequence`` and ``hidden`` there."""
    if site.hidden:
        return site.sequence, True
    if type(current) in (layer.SeqToANNContainer, ExactContainer):
        return current, False
    if site.sequence is not None:
        return site.sequence, type(current) is not nn.Sequential
    return None, isinstance(current, _HIDING)


def in_time(site: Site, outcome: Outcome) -> Outcome:
    """The outcome where the module sees the time axis, is shown it by its container, or else is named."""
    if is_node(site.module):
        return name(*HIDDEN) if site.sequence is not None else outcome
    if outcome.action != "replace":
        return outcome
    if site.hidden:
        return name(*HIDDEN)
    if site.sequence is not None:
        site.sequence.__class__ = ExactContainer
    return outcome
