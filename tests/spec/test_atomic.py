"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from spikejelly_pack.spec.atomic import check_writable, replacing, write_bytes, write_text
from spikejelly_pack.spec.errors import OutputError


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.txt"
    write_text(target, "größer")
    assert target.read_bytes() == "größer".encode()
    write_bytes(str(target), b"2")
    assert target.read_bytes() == b"2"
    assert os.listdir(target.parent) == ["a.txt"]


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    """Temporary files are private; the result is as open() would make it."""
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_library_that_makes_its_own_private_file_changes_no_permissions(tmp_path: Path) -> None:
    """Safetensors does: it writes elsewhere and renames."""
    (tmp_path / "usual").write_bytes(b"")
    with replacing(tmp_path / "a") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT, 0o600))
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_mask_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the whole process: another thread would make its files with a mask set for a moment."""
    changed: list[int] = []
    monkeypatch.setattr(os, "umask", changed.append)
    write_bytes(tmp_path / "a", b"")
    check_writable(tmp_path / "b")
    assert changed == []


def test_the_target_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with replacing(target) as temporary:
        assert temporary.parent == tmp_path
        assert (temporary.name[:3], temporary.suffix) == (".a.", ".part")  # what a killed process leaves
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert not temporary.exists()


def test_whoever_reads_the_old_file_reads_all_of_it(tmp_path: Path) -> None:
    """A rename, not a copy over it: there is no moment with half of each."""
    target = tmp_path / "a"
    target.write_text("old")
    with target.open() as reader:
        write_text(target, "newer")
        assert reader.read() == "old"
    assert target.read_text() == "newer"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a"
    target.write_text("old")

    def fail_half_way() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OutputError, match="a: the disk must hold the file, got No space left on device; choose"
    ):
        write_bytes(tmp_path / "a", b"x")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_gets_full_in_the_block_is_named(tmp_path: Path, number: int) -> None:
    def write() -> None:
        with replacing(tmp_path / "a") as temporary, temporary.open("wb") as file:
            file.write(b"half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=f"a: the disk must hold the file, got {os.strerror(number)};"):
        write()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_devices_and_pipes_are_no_targets(tmp_path: Path) -> None:
    """Root could rename a file over /dev/null; a link to a pipe is what /dev/stdout is."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        for write in (check_writable, lambda path: write_text(path, "x")):
            with pytest.raises(
                OutputError, match=f"{name}: must be a file or a new name, got a device or a pipe"
            ):
                write(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    """The portable unwritable folder: root may write anywhere else."""
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match=r"file/b: the folder must be writable, got a file of that name; choose"
    ):
        write_bytes(tmp_path / "file" / "b", b"x")
    with pytest.raises(OutputError, match="the folder must be writable"):
        write_bytes(tmp_path / "file" / "b" / "c", b"x")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into any folder")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="the folder must be writable, got Permission denied"):
        write_bytes(tmp_path / "a", b"x")


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: must be a file that can be replaced, got Is a directory"):
        write_bytes(tmp_path / "folder", b"x")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_impossible_names_are_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(OutputError, match=r"; choose another output path\."):
        write_bytes(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == []


def test_the_longest_name_is_allowed(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("x" * 255), b"x")
    assert os.listdir(tmp_path) == ["x" * 255]


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(OutputError, match="must be"):
        write_bytes("", b"x")


def test_a_target_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "file")
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").write_text("kept")
    check_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(OutputError, match="new: must be a file, got a folder; choose"):
        check_writable(tmp_path / "new")
    with pytest.raises(
        OutputError, match=r"file/below: the folder must be writable, got a file of that name"
    ):
        check_writable(tmp_path / "file" / "below")
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]
