"""Data that comes with the package (scanned digits, event clips, generated scenes) and folder formats.

``digits()`` and ``event_digits()`` return a :class:`Split` of tensors with a fixed train and test part.
"""

from __future__ import annotations

from .digits import digits
from .events import event_clips, event_digits
from .splits import Split

__all__ = ["Split", "digits", "event_clips", "event_digits"]
