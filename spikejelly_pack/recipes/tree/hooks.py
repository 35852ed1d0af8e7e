"""Hooks by which every module says when it runs, and the pass that listens."""

from __future__ import annotations

import threading
from typing import Any

from torch import nn

from ..wrappers import check_plain

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
        UnsupportedError: A module is a wrapper that hides operations, see :func:`.check_plain`.
    """
    check_plain(model)
    for path, module in model.named_modules():
        module.register_forward_pre_hook(Enter(path), prepend=True, with_kwargs=True)
        module.register_forward_hook(Leave())
