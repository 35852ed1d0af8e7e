"""The rule of every operation kind: which Lava Processes execute it, exactly.

Importing this package fills :data:`RULES`; a new operation is one function under ``@rule("its kind")``,
in the file of its like.
"""

from __future__ import annotations

from ..assembly import RULES
from . import maps, populations, synapses

__all__ = ["RULES", "maps", "populations", "synapses"]
