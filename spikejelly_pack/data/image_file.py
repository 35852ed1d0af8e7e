"""An image file from anywhere, through Pillow: the image, or one error that names the file."""

from __future__ import annotations

import os
import struct
import zlib
from typing import Any

from ..spec.errors import DtypeError
from ..spec.reason import reason

__all__ = ["read_image"]

# What Pillow raises on bytes it cannot read; a picture above its limit of pixels is refused as well.
_FAULTS = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


def read_image(path: str | os.PathLike[str], owner: str = "data") -> Any:
    """The image, decoded.

    Args:
        path: The file.
        owner: Who wants it, for the message.

    Raises:
        DtypeError: It is missing, damaged or too large.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (*_FAULTS, Image.DecompressionBombError) as error:
        raise DtypeError(
            f"{owner}: {path} must be an image that can be read, got: {reason(error)}; check it."
        ) from None
