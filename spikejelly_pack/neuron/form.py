"""Switch a whole network between the packed and the serial form."""

from __future__ import annotations

import warnings
from typing import Any

from spikingjelly.activation_based import base
from torch import nn

from ..spec.errors import UnsupportedError
from ..spec.parameters import check_choice
from .settings import FORMS
from .spikepack import SpikePackNode

__all__ = ["set_form"]


def set_form(net: nn.Module, form: str) -> nn.Module:
    """Put every node of ``net``, and every layer that depends on the form, into a form, in place.

    The step mode stays as it is: in mode ``"m"`` the packed form takes ``[W, N, *]`` (one entry per
    window) and the serial form ``[L*W, N, *]``, L the nodes' common ``window``. A builder that repeats its
    image ``T`` times by itself (an integer attribute ``T`` beside nodes) gets ``T = 1`` packed, one window,
    and ``T = L`` serial.

    Args:
        net: A node or any network that holds nodes.
        form: ``"packed"`` or ``"serial"``.

    Returns:
        ``net``.

    Raises:
        ParameterError: ``form`` is neither.
        UnsupportedError: ``net`` has no SpikePackNode, a node stands in mid-window, or the serial form is
            asked of nodes of different window or tau.
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
    if form == "serial":
        _check_one_window(net, nodes)
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


def _check_one_window(net: nn.Module, nodes: dict[str, SpikePackNode]) -> None:
    """Digits charge by the step of the window they arrive in: windows of other lengths read other numbers."""
    windows = {name or "net": (node.window, node.params.tau) for name, node in nodes.items()}
    longest = max(window for window, _ in windows.values())
    if len(set(windows.values())) > 1:
        (long, most), (short, least) = max(windows.items(), key=_second), min(windows.items(), key=_second)
        raise UnsupportedError(
            f"set_form: nodes must share one window and tau in serial form, got {_told(most)} at {long!r} "
            f"and {_told(least)} at {short!r}; call adapt(net), which gives all the longest and "
            f"scales the weights behind the others, or build them with window={longest}, and with one tau."
        )
    for name, module in net.named_modules():
        steps = getattr(module, "time_steps", longest)
        if _has_form(module) and name not in nodes and steps != longest:
            raise UnsupportedError(
                f"set_form: {type(module).__name__} {name!r} must have the nodes' window of {longest} time "
                f"steps in serial form, got {steps}; call adapt(net) again, or set its time_steps."
            )


def _told(window: tuple[int, float]) -> str:
    return f"window={window[0]}, tau={window[1]}"


def _second(item: tuple[str, tuple[int, float]]) -> tuple[int, float]:
    return item[1]


def _has_form(module: nn.Module) -> bool:
    # Nodes, and layers that look at whole windows: a property ``form`` beside a memory ``phase``.
    return isinstance(module, base.MemoryModule) and isinstance(getattr(type(module), "form", None), property)


def _set_repeats(module: nn.Module, form: str) -> None:
    repeats = vars(module).get("T")
    if isinstance(module, SpikePackNode) or not isinstance(repeats, int) or isinstance(repeats, bool):
        return
    steps = [child.window for child in module.modules() if isinstance(child, SpikePackNode)]
    if steps:
        vars(module)["T"] = 1 if form == "packed" else max(steps)
