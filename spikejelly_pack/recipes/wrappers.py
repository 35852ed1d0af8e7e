"""Modules that stand around a network and hide it: refused, with the name of what they hold."""

from __future__ import annotations

from torch import nn

from ..spec.errors import UnsupportedError

__all__ = ["check_plain"]

# By name: importing torch's compiler and its FSDP takes seconds.
_WRAPPERS = {
    "DataParallel": ("runs it on several devices", "the network it holds, its .module"),
    "DistributedDataParallel": ("runs it in several processes", "the network it holds, its .module"),
    "FullyShardedDataParallel": ("holds a part of it", "the whole network"),
    "OptimizedModule": ("is compiled", "the network it was made from, its ._orig_mod"),
    "ScriptModule": ("hides its operations", "the Python module it was made from"),
}


def check_plain(model: nn.Module) -> None:
    """Refuse a network in which a wrapper hides modules or operations from conversion.

    Raises:
        UnsupportedError: A module is a wrapper of several devices, compiled, or TorchScript.
    """
    for path, module in model.named_modules():
        bases = [base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.")]
        for name in bases:
            if name in _WRAPPERS:
                does, remedy = _WRAPPERS[name]
                raise UnsupportedError(
                    f"layer {path!r}: the network must come without wrappers, got {name}, which {does}; "
                    f"pass {remedy}."
                )
