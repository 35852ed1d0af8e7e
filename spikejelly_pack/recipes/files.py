"""Safetensors files with JSON in their metadata: written whole or not at all, read with clear errors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..spec.atomic import replacing
from ..spec.errors import ExchangeFileError, OutputError
from ..spec.reason import reason

__all__ = ["read_about", "read_tensors", "write_tensors"]


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], key: str = "", about: Any = None
) -> None:
    """Write tensors (as they are on the CPU) and ``about`` as JSON under ``key``.

    Raises:
        OutputError: The file cannot be written.
    """
    stored = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    metadata = {"format": "pt"} | ({key: json.dumps(about, sort_keys=True)} if key else {})
    with replacing(path) as temporary:
        try:
            save_file(stored, temporary, metadata)
        except (OSError, SafetensorError) as error:  # a full disk
            raise OutputError(f"{path}: the disk must hold the file, got {error}; free some space.") from None


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        ExchangeFileError: It is no safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        # The last four: dtypes that torch lacks.
        raise ExchangeFileError(
            f"{path}: must be a safetensors file, got {reason(error)}; make it again."
        ) from None


def read_about(path: str | os.PathLike[str], key: str, maker: str) -> Any:
    """What :func:`write_tensors` stored under ``key``.

    Raises:
        ExchangeFileError: There is no file, or it was not made by ``maker``.
    """
    if not Path(path).is_file():
        raise ExchangeFileError(f"{path}: must be a file that exists, got none; check the path.")
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})[key])
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise ExchangeFileError(
            f"{path}: must be written by {maker}, got {type(error).__name__}: {reason(error)}; make it again."
        ) from None
