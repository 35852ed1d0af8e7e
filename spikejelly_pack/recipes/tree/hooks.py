"""Hooks by which every module says when it runs, and the pass that listens."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from ...spec.errors import UnsupportedError

__all__ = ["Enter", "Leave", "attach", "running"]

#: ``session`` is the pass that runs in this thread.
running = threading.local()


class Enter:
    """Forward pre-hook that tells the running pass where it is; nothing happens outside of one."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Called by torch."""
        session = getattr(running, "session", None)
        return None if session is None else session.enter(self.path, module, args, kwargs)


class Leave:
    """Forward hook, the counterpart of :class:`Enter`."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Called by torch."""
        session = getattr(running, "session", None)
        if session is not None:
            session.leave(module, output)


def attach(model: nn.Module) -> None:
    """Let every module say when it runs.

    Raises:
        UnsupportedError: A module is compiled by TorchScript, whose operations cannot be seen.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedError(
                f"layer {path!r}: a TorchScript module hides its operations; pass the Python module it was "
                "made from."
            )
        module.register_forward_pre_hook(Enter(path), prepend=True, with_kwargs=True)
        module.register_forward_hook(Leave())
