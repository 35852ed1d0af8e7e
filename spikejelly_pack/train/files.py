"""How checkpoints reach the disk and come back: whole or not at all, tensors and plain values only."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ..spec.atomic import replacing
from ..spec.errors import OutputError
from ..spec.reason import reason
from .saved import read_checkpoint

__all__ = ["AtomicCheckpoints"]


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes beside the target, then renames: a full disk leaves the previous checkpoint as it was."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: It cannot be written; what was at ``path`` stays.
        """
        with replacing(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
                said = getattr(error, "strerror", None) or reason(error)
                raise OutputError(
                    f"{path}: the disk must hold the checkpoint, got {said}; earlier checkpoints are kept; "
                    "free some space and resume, or choose another --out."
                ) from None

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; no code in it runs.

        Raises:
            ParameterError: It is missing, damaged or not of ``spikepack train``.
        """
        return read_checkpoint(path)
