"""The optional package ``nir``: imported late, its faults told in one sentence."""

from __future__ import annotations

import importlib
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..spec.errors import EnvironmentMissingError, ExchangeFileError, SpikePackError
from ..spec.reason import reason

__all__ = ["check_arrays", "faults_of_nir", "nir_package"]

_MOST_BYTES = 1 << 31  # of all arrays of a file together
_STRUCTURE = 1 << 29  # to look at a file without its arrays
#: Signature and version of HDF5's local and global heaps; three reserved bytes and the size follow.
_HEAPS = re.compile(rb"HEAP\x00|GCOL\x01")

# What nir and h5py raise on input they cannot read: asserts and look-ups without a check are among it.
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RecursionError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip


def nir_package() -> Any:
    """The module ``nir``.

    Raises:
        EnvironmentMissingError: It is not installed.
    """
    try:
        return importlib.import_module("nir")
    except ImportError as error:
        raise EnvironmentMissingError(
            f"NIR: the package nir must be importable, got {error}; pip install 'spikejelly-pack[nir]'."
        ) from None


def check_arrays(path: Any) -> None:
    """Refuse a file whose arrays would not fit: a damaged or crafted header may claim any size.

    Raises:
        ValueError: They take more than 2 GiB together.
    """
    _check_heaps(Path(path).read_bytes())
    h5py = importlib.import_module("h5py")  # what nir reads its files with
    sizes: list[int] = []

    def measure(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            sizes.append(item.nbytes)

    with _memory_for(_STRUCTURE), h5py.File(path) as file:
        file.visititems(measure)
    if sum(sizes) > _MOST_BYTES:
        raise ValueError(f"arrays of {sum(sizes)} bytes where {_MOST_BYTES} may be read")


def _check_heaps(content: bytes) -> None:
    """Refuse heaps larger than the file: libhdf5 takes memory for the size that they claim."""
    for found in _HEAPS.finditer(content):
        size = int.from_bytes(content[found.end() + 3 : found.end() + 11], "little")
        if size > len(content):
            raise ValueError(f"a heap of {size} bytes in a file of {len(content)}")


@contextmanager
def _memory_for(more: int) -> Generator[None]:
    """Let this process take so many bytes more (Linux): libhdf5 takes whatever a header claims."""
    status = Path("/proc/self/status")
    if not status.is_file():
        yield
        return
    resource: Any = importlib.import_module("resource")
    (held,) = re.findall(r"VmData:\s+(\d+) kB", status.read_text("utf-8"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int(held) * 1024 + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit if soft < 0 else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def faults_of_nir(owner: str, requirement: str, remedy: str) -> Generator[None]:
    """Tell what the library says about a graph or file in one sentence.

    Raises:
        ExchangeFileError: The library raised.
    """
    try:
        yield
    except SpikePackError:
        raise
    except _FAULTS as error:
        said = f"{type(error).__name__}: {reason(error)}"
        raise ExchangeFileError(f"{owner}: {requirement}, got {said}; {remedy}.") from None
