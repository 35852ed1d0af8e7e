"""Networks to and from NIR, the Neuromorphic Intermediate Representation (package ``nir``, extra ``nir``).

What each side keeps of the other is written in ``docs/nir.md``. The package ``nir`` is imported when one
of the functions is called.
"""

from __future__ import annotations

from .read import read_nir
from .write import write_nir

__all__ = ["read_nir", "write_nir"]
