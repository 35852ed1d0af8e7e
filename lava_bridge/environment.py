"""What ``spikepack info`` says about Lava."""

from __future__ import annotations

import os
import sys
from typing import Any

from .engines import ENGINES
from .fingerprint import fingerprint
from .simulation import has_lava
from .worker.find import LAVA_VERSION, cache_folder, look

__all__ = ["commands", "info"]


def commands() -> list[str]:
    """Commands that make an interpreter where it is looked for: in a clone, or anywhere from a wheel."""
    folder = cache_folder()
    install = f"uv pip install --python {folder / 'bin' / 'python'} WHEEL_OF_SPIKEJELLY_PACK"
    return ["tox run -e lava --notest", f"uv venv --python 3.10 {folder} && {install}"]


def info(python: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Which interpreter would run Lava, and every place that was looked at on the way.

    Args:
        python: As in :func:`lava_bridge.simulate`.

    Returns:
        ``available``; ``python`` (path or None), ``python_version``, ``lava`` (versions or None),
        ``places`` (a list of ``origin``, ``path`` and ``reason``, None where it will do), ``commands`` (that
        make an interpreter; empty where one was found), ``engines`` and the ``fingerprint`` of the code.
    """
    if python is None and has_lava():
        version = ".".join(map(str, sys.version_info[:3]))
        places = [{"origin": "this interpreter", "path": sys.executable, "reason": None}]
        found = {"python": sys.executable, "python_version": version, "lava": LAVA_VERSION}
    else:
        seen = look(python)
        places = [{"origin": item.origin, "path": item.path, "reason": item.reason} for item in seen]
        best = seen[-1].interpreter
        found = {
            "python": best.executable if best else None,
            "python_version": best.python if best else None,
            "lava": best.lava if best else None,
        }
    return {
        "available": found["python"] is not None,
        **found,
        "places": places,
        "commands": [] if found["python"] else commands(),
        "engines": sorted(ENGINES),
        "fingerprint": fingerprint(),
    }
