"""Calibration batches: how they are passed to a network, and on which device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from ...spec.errors import DtypeError
from ..nested import tensors_in

__all__ = ["inputs_of", "placed"]


def inputs_of(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a calibration batch is passed: a tensor as it is, a dict by keyword, of a tuple or list the first.

    ``(inputs, targets)`` is what data loaders yield; ``inputs`` may itself be a list of images.
    """
    if isinstance(batch, (tuple, list)) and len(batch):
        batch = batch[0]
    return ((), dict(batch)) if isinstance(batch, Mapping) else ((batch,), {})


def placed(batches: Iterable[Any], device: Any) -> Iterator[Any]:
    """The batches that hold values, on the device.

    Raises:
        DtypeError: One holds no tensor.
    """
    for batch in batches:
        moved = _to(batch, device)
        first = next(tensors_in(moved), None)
        if first is None:
            raise DtypeError(
                f"convert: a calibration batch must hold a tensor, got {type(batch).__name__} without "
                "one; pass batches as the network takes them."
            )
        if first.numel():
            yield moved


def _to(batch: Any, device: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, (tuple, list)):
        moved = [_to(part, device) for part in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    if isinstance(batch, dict):
        return {key: _to(part, device) for key, part in batch.items()}
    return batch
