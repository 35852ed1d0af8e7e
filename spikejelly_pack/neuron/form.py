"""Switch a whole network between the packed and the serial form."""

from __future__ import annotations

import warnings
from typing import Any

from spikingjelly.activation_based import base
from torch import nn

from ..spec.errors import UnsupportedError
from ..spec.parameters import check_choice
from .spikepack import FORMS, SpikePackNode

__all__ = ["set_form"]


def set_form(net: nn.Module, form: str) -> nn.Module:
    """Put every node of ``net``, and every layer that depends on the form, into a form, in place.

    The step mode stays as it is: in mode ``"m"`` the packed form takes ``[W, N, *]`` (one entry per
    window) and the serial form ``[T*W, N, *]``. A builder that repeats its image ``T`` times by itself
    (an integer attribute ``T`` beside nodes) gets ``T = 1`` packed, one window, and the nodes'
    ``time_steps`` serial.

    Args:
        net: A node or any network that holds nodes.
        form: ``"packed"`` or ``"serial"``.

    Returns:
        ``net``.

    Raises:
        ParameterError: ``form`` is neither.
        UnsupportedError: ``net`` has no SpikePackNode, or a node stands in mid-window.
    """
    check_choice("set_form", "form", form, FORMS)
    nodes = {name: module for name, module in net.named_modules() if isinstance(module, SpikePackNode)}
    if not nodes:
        raise UnsupportedError(
            f"set_form: net must hold at least one SpikePackNode, got {type(net).__name__} without any; "
            "build it with spiking_neuron=SpikePackNode or convert it first."
        )
    formed: list[Any] = [module for module in net.modules() if _has_form(module)]
    if any(module.phase and module.form != form for module in formed):
        raise UnsupportedError(
            f"set_form: form must not change inside a window, got {form!r} after part of its time steps; "
            "finish the window or call functional.reset_net(net) first."
        )
    for module in formed:
        module.form = form
    for module in net.modules():
        _set_repeats(module, form)
    scaled = [name or "net" for name, node in nodes.items() if node.scale_output]
    if form == "serial" and scaled:
        warnings.warn(
            f"set_form: spikes stay 0 or 1 in serial form, so the amplitude theta of {', '.join(scaled[:5])} "
            f"({len(scaled)} nodes with scale_output) must be folded into their consumers' weights.",
            stacklevel=2,
        )
    return net


def _has_form(module: nn.Module) -> bool:
    # Nodes, and layers that look at whole windows: a property ``form`` beside a memory ``phase``.
    return isinstance(module, base.MemoryModule) and isinstance(getattr(type(module), "form", None), property)


def _set_repeats(module: nn.Module, form: str) -> None:
    repeats = vars(module).get("T")
    if isinstance(module, SpikePackNode) or not isinstance(repeats, int) or isinstance(repeats, bool):
        return
    steps = [child.time_steps for child in module.modules() if isinstance(child, SpikePackNode)]
    if steps:
        vars(module)["T"] = 1 if form == "packed" else max(steps)
