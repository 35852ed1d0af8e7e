"""Which ProcessModels run: chosen by Lava's tag, with what the tag needs to know of the hardware."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spikejelly_pack.spec.bounds import accumulator_widths
from spikejelly_pack.spec.errors import BoundError, ParameterError
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array
from spikejelly_pack.spec.targets import Target, check_target, load_target

__all__ = ["DEFAULT_TARGET", "MODELS", "Model", "choose_model"]

MODELS: dict[str, str] = {
    "fixed_pt": "integers; a value that leaves its declared width is an error",
    "floating_pt": "Lava's floating point synapses, registers in float64 without a width",
    "fpga": "integers in the registers of a target, which wrap or saturate; every overflow is reported",
}
DEFAULT_TARGET = "generic_fpga"


@dataclass(frozen=True)
class Model:
    """A tag of Lava's run configuration and the registers of the hardware that ``fpga`` executes.

    Attributes:
        tag: One of :data:`MODELS`.
        widths: Width of every population's registers by name; empty for other tags.
        overflow: What a register does with a value that does not fit.
    """

    tag: str = "fixed_pt"
    widths: Mapping[str, int] = field(default_factory=dict[str, int])
    overflow: str = "wrap"

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for ``Model(**values)``."""
        return asdict(self)


def choose_model(
    network: Network,
    tag: str,
    target: str | os.PathLike[str] | Target | None,
    codes: Mapping[str, Array],
    spikes: str,
) -> Model:
    """The model of a run, after the network has been checked against its target.

    ``fpga`` executes the target's registers, so a state that is too narrow is no obstacle; other limits are.

    Raises:
        ParameterError: No such model or target.
        BoundError: The network does not keep a limit of the target.
    """
    if tag not in MODELS:
        raise ParameterError(
            f"simulate: model must be one of {sorted(MODELS)}, got {tag!r}; choose one of these."
        )
    if tag != "fpga":
        if target is not None:
            check_target(network, target, codes, spikes=spikes).require()
        return Model(tag)
    device = load_target(DEFAULT_TARGET if target is None else target)
    problems = check_target(network, device, spikes=spikes).problems
    for problem in problems:
        if problem.limit != "state_bits":
            raise BoundError(problem.text)
    widths = accumulator_widths(network)
    if device.state_bits is not None:
        widths = dict.fromkeys(widths, device.state_bits)
    return Model(tag, widths, device.overflow)
