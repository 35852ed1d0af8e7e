"""Registry of what ``adapt`` does with a module: module type -> handler.

A new module type is one function with ``@handles(Type)``; a type of a private or optional library is
registered by its qualified name. The most specific registered base class answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spikingjelly.activation_based import base
from torch import nn

from ..spec.parameters import NeuronParameters
from .dataflow import Kind
from .members import LIBRARY_HOMES, holds_state

__all__ = [
    "HANDLERS",
    "Handler",
    "Outcome",
    "Site",
    "handler_of",
    "handles",
    "keep",
    "name",
    "replace",
    "train_only",
    "unknown_module",
]


@dataclass(frozen=True)
class Site:
    """One module in its network.

    Attributes:
        path: Name within the network, ``""`` for the network itself.
        module: The module.
        parent: Module that holds it, None for the network itself.
        code: Window (as its T) and tau that all nodes share.
        form: Form the nodes are in.
        step_mode: Step mode the module is called in.
        kind: What flows into it, None where unknown.
        hidden: Whether a container or the forward hides the time axis from it.
        sequence: Container of a sequence that can show it the time axis, see :class:`.ExactContainer`.
    """

    path: str
    module: nn.Module
    parent: nn.Module | None
    code: NeuronParameters
    form: str
    step_mode: str
    kind: Kind | None
    hidden: bool = False
    sequence: nn.Module | None = None

    @property
    def window_arguments(self) -> dict[str, Any]:
        """Keyword arguments of a replacement from this folder."""
        return {
            "time_steps": self.code.time_steps,
            "tau": self.code.tau,
            "form": self.form,
            "step_mode": self.step_mode,
        }


@dataclass(frozen=True)
class Outcome:
    """What a handler decided.

    Attributes:
        action: ``"keep"`` (commutes), ``"replace"`` (``module`` is exact), ``"name"`` (forms differ) or
            ``"train"`` (forms differ in training only).
        module: What stands at the site afterwards: another module, or the same one changed in place.
        reason: Why.
        remedy: What the user can do about a named one.
    """

    action: str
    module: nn.Module | None = None
    reason: str = ""
    remedy: str = ""


Handler = Callable[[Site], Outcome]
HANDLERS: dict[type[nn.Module] | str, Handler] = {}


def handles(*types: type[nn.Module] | str) -> Callable[[Handler], Handler]:
    """Register a handler for module types, or for qualified names of types."""

    def register(handler: Handler) -> Handler:
        for module_type in types:
            if module_type in HANDLERS:
                raise ValueError(f"adapt: {module_type} already has a handler")
            HANDLERS[module_type] = handler
        return handler

    return register


def handler_of(module: nn.Module) -> Handler | None:
    """Handler of the most specific registered base class of ``module``."""
    for ancestor in type(module).__mro__:
        found = HANDLERS.get(ancestor) or HANDLERS.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if found is not None:
            return found
    return None


def keep() -> Outcome:
    """The module commutes with the charge."""
    return Outcome("keep")


def replace(module: nn.Module, reason: str) -> Outcome:
    """``module`` is exact and stands in for the original."""
    return Outcome("replace", module, reason)


def name(reason: str, remedy: str) -> Outcome:
    """The forms differ here."""
    return Outcome("name", None, reason, remedy)


def train_only(reason: str, remedy: str) -> Outcome:
    """The forms agree in eval mode and differ in training."""
    return Outcome("train", None, reason, remedy)


def unknown_module(site: Site) -> Outcome:
    """What no handler knows: the user's composite modules are looked into, anything else is named."""
    kind = type(site.module)
    if isinstance(site.module, base.MemoryModule):
        return name(
            f"{kind.__name__} keeps a state from time step to time step",
            "leave it out, or register a handler if it acts on whole windows",
        )
    composite = next(site.module.children(), None) is not None
    traced = holds_state(site.module) or not kind.__module__.startswith(LIBRARY_HOMES)
    if kind.forward is nn.Module.forward or (composite and traced):
        return keep()
    return name(
        f"{kind.__name__} is not known to be affine in its spike trains",
        "wrap it in SpikePackWindow, or register a handler if it is affine",
    )
