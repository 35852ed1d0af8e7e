"""Which tensors of a pass are constants: parameters, buffers and what is computed from nothing else."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..nested import tensors_in

__all__ = ["Constants"]

#: Their later arguments lend a type or a shape, no value.
_LIKE = {"to", "type_as", "expand_as", "view_as", "reshape_as", "contiguous"}
_MARK = "_spikepack_constant"


def _storage(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except RuntimeError:  # sparse and other layouts have none
        return 0


class Constants:
    """Follows constants through the operations of a pass; what it does not know is no constant.

    Args:
        model: Its parameters and buffers are constants until a pass writes data into them.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names = {id(p): name for name, p in model.named_parameters(remove_duplicate=True)}
        held = [*model.parameters(), *model.buffers()]
        self.storages = {_storage(tensor) for tensor in held} - {0}
        self.written: set[int] = set()

    def holds(self, value: Any) -> bool:
        """Whether a tensor is constant."""
        if not isinstance(value, Tensor):
            return True
        storage = _storage(value)
        if storage in self.written:
            return False
        return storage in self.storages or getattr(value, _MARK, False)

    def follow(self, name: str, inputs: tuple[Any, Any], output: Any) -> None:
        """An operation was run on ``(args, kwargs)``: mark what it made, or overwrote."""
        args, kwargs = inputs
        given = list(tensors_in([args, kwargs]))
        if name in _LIKE:
            given = given[:1]
        if all(self.holds(tensor) for tensor in given):
            for tensor in tensors_in(output):
                setattr(tensor, _MARK, True)
            return
        # what overwrites gives its target back, or nothing
        target = kwargs.get("out", given[0])
        if name not in _LIKE and (output is None or any(target is tensor for tensor in tensors_in(output))):
            self.written.update({_storage(tensor) for tensor in tensors_in(target)} - {0})
