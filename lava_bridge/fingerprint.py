"""A fingerprint of the code that both interpreters must share.

The caller and the Lava environment are two installations of one distribution. Versions do not tell whether
they are the same code; this hash does.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

__all__ = ["SHARED_PACKAGES", "fingerprint", "fingerprint_of"]

SHARED_PACKAGES = ("lava_bridge", "spikejelly_pack.spec")


def fingerprint_of(folders: dict[str, Path]) -> str:
    """Return a sha256 over the Python files of some package folders.

    Args:
        folders: Folder by package name; the names enter the hash, the places do not.
    """
    digest = hashlib.sha256()
    for package, folder in sorted(folders.items()):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def fingerprint() -> str:
    """Return the fingerprint of the packages installed here."""
    folders: dict[str, Path] = {}
    for package in SHARED_PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"No module named {package!r}")
        folders[package] = Path(next(iter(spec.submodule_search_locations)))
    return fingerprint_of(folders)
