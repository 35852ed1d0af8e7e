"""What exceptions of other libraries say, fit to stand inside a sentence of ours."""

from __future__ import annotations

__all__ = ["reason"]


def reason(error: BaseException, most: int = 160) -> str:
    """The exception's text, short, on one line and without the full stop; its type where it says nothing."""
    return " ".join(str(error).split())[:most].rstrip(".") or type(error).__name__
