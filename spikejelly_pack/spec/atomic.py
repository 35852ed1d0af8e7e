"""Write files whole or not at all: to a temporary name beside the target, then rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

__all__ = ["check_writable", "replacing", "write_bytes", "write_text"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` when the block succeeds.

    Args:
        path: Target file. Its folder is created when missing.

    Raises:
        OutputError: The folder cannot be created or written, or ``path`` cannot be replaced (a folder, say).
    """
    target = Path(path)
    temporary = _temporary_beside(target)
    try:
        yield temporary
        try:
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        except OSError as error:
            raise _refused(target, "must be a file that can be replaced", error) from None
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before a long run that its result could not be written; raises :class:`OutputError`."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{target}: must be a file, got a folder; choose another output path.")
    _temporary_beside(target).unlink()


def _temporary_beside(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:32]}.", suffix=".part", dir=target.parent)
        os.close(handle)
    except FileExistsError:
        raise _refused(target, "the folder must be writable", ValueError("a file of that name")) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _refused(target, "the folder must be writable", error) from None
    return Path(name)


def _refused(target: Path, requirement: str, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{target}: {requirement}, got {reason}; choose another output path.")


def _umask() -> int:
    # mkstemp makes files private; os.umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; raises :class:`OutputError` when it cannot."""
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:  # a full disk
            raise _refused(Path(path), "the disk must hold the file", error) from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically; raises :class:`OutputError` when it cannot."""
    write_bytes(path, text.encode("utf-8"))
