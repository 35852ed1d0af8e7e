"""Write files whole or not at all: to a temporary name beside the target, then rename."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

__all__ = ["DISK_FULL", "check_writable", "replacing", "write_bytes", "write_text"]

#: What the system says where the target cannot take more bytes.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` when the block succeeds.

    Args:
        path: Target file. Its folder is created when missing.

    Raises:
        OutputError: The folder cannot be created or written, the disk gets full in the block, or ``path``
            cannot be replaced (a folder or a device, say).
    """
    target = Path(path)
    temporary = _temporary_beside(target)
    try:
        usual = stat.S_IMODE(temporary.stat().st_mode)
        try:
            yield temporary
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise _refused(target, "the disk must hold the file", error) from None
        try:
            os.chmod(temporary, usual)  # a library may have put a private file of its own there
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
    if _is_special(target):  # a rename would put a file in the place of /dev/null
        raise _refused(target, "must be a file or a new name", ValueError("a device or a pipe"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.name[:32]}.{secrets.token_hex(8)}.part"
        # Not tempfile, whose files are private: this one has the permissions that open() gives.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        raise _refused(target, "the folder must be writable", ValueError("a file of that name")) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _refused(target, "the folder must be writable", error) from None
    return temporary


def _is_special(target: Path) -> bool:
    """Whether something is there that is neither file nor folder, links followed."""
    try:
        mode = target.stat().st_mode
    except (OSError, ValueError):  # nothing there, or not to be seen: writing beside it says why
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _refused(target: Path, requirement: str, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{target}: {requirement}, got {reason}; choose another output path.")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; raises :class:`OutputError` when it cannot."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically; raises :class:`OutputError` when it cannot."""
    write_bytes(path, text.encode("utf-8"))
