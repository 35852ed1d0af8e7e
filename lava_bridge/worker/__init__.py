"""Runs Lava in another interpreter: how it is found, driven and ended.

``find`` and ``client`` run on the caller's Python, ``server`` on Python 3.10; ``protocol`` is what they
share.
"""

from __future__ import annotations
