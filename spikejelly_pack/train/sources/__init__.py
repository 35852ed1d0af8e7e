"""Data modules of ``spikepack train``, one per kind of source."""

from __future__ import annotations

from .base import SplitData
from .embedded import EmbeddedData
from .frames import EventFrameData
from .images import CifarData, ImageFolderData

__all__ = ["CifarData", "EmbeddedData", "EventFrameData", "ImageFolderData", "SplitData"]
