"""The optional package ``nir``: imported late, its faults told in one sentence."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..spec.errors import EnvironmentMissingError, ExchangeFileError, SpikePackError
from ..spec.reason import reason

__all__ = ["check_arrays", "faults_of_nir", "nir_package"]

_MOST_BYTES = 1 << 31  # of all arrays of a file together

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
    h5py = importlib.import_module("h5py")  # what nir reads its files with
    sizes: list[int] = []

    def measure(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            sizes.append(item.nbytes)

    with h5py.File(path) as file:
        file.visititems(measure)
    if sum(sizes) > _MOST_BYTES:
        raise ValueError(f"arrays of {sum(sizes)} bytes where {_MOST_BYTES} may be read")


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
