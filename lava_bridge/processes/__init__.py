"""Lava Processes and their models: only pairs of ``x.py`` (Process) and ``x_models.py`` (ProcessModels).

Lava's compiler executes every file of this directory for every Process it meets, to find models. Therefore:
absolute imports only, no scripts, no sub-packages, nothing heavy, and no other kind of file here.
"""

from __future__ import annotations
