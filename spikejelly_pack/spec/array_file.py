"""Numpy's files ``.npy`` and ``.npz`` from anywhere: no pickle, no more memory than the limit, one error."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np

from .errors import DtypeError
from .graph.base import Array
from .reason import reason

__all__ = ["MOST_BYTES", "read_arrays"]

#: Of all arrays of an archive together: a megabyte of zeros unpacks to a gigabyte.
MOST_BYTES = 1 << 31

# What numpy and the modules behind it raise on bytes they cannot read.
_FAULTS = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    SyntaxError, TokenError, TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_arrays(path: str | os.PathLike[str], wanted: str, remedy: str) -> dict[str, Array]:
    """Arrays by name; the one of an ``.npy`` file has the name ``""``.

    Args:
        path: The file; its content, not its name, tells the kind.
        wanted: What it must be, for the message.
        remedy: For the message.

    Raises:
        DtypeError: It is missing, damaged, too large, or holds objects.
    """
    try:
        if zipfile.is_zipfile(path):
            _check_size(path)
        with warnings.catch_warnings():
            # a header that Python 2 could have written is read all the same
            warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file", UserWarning)
            return _load(path)
    except _FAULTS as error:
        raise DtypeError(f"{path}: must be {wanted}, got {reason(error)}; {remedy}.") from None


def _load(path: str | os.PathLike[str]) -> dict[str, Array]:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return {"": found}
    with found:
        arrays = {name: found[name] for name in found.files}
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _check_size(path: str | os.PathLike[str]) -> None:
    with zipfile.ZipFile(Path(path)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_BYTES:
        raise ValueError(f"arrays of {size} bytes where {MOST_BYTES} may be read")
