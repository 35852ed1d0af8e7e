"""What a network costs in bits (arXiv 2311.10802), and where its bits are best spent."""

from __future__ import annotations
