"""Files of arrays: what comes out is what numpy wrote, and what cannot be read is named."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikejelly_pack.spec import array_file
from spikejelly_pack.spec.errors import DtypeError
from spikejelly_pack.spec.reason import reason

ONE, TWO = np.arange(6, dtype=np.int16).reshape(2, 3), np.linspace(0, 1, 5)


def refusal(path: Path) -> str:
    """The sentence that reading raises."""
    with pytest.raises(DtypeError) as caught:
        array_file.read_arrays(path, "an array", "write it anew")
    said = str(caught.value)
    assert said.startswith(f"{path}: must be an array, got ")
    assert said.endswith("; write it anew.")
    assert "\n" not in said
    return said


def test_one_array_has_no_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONE)
    (found,) = array_file.read_arrays(tmp_path / "a.npy", "an array", "write it anew").items()
    assert found[0] == ""
    assert found[1].dtype == np.int16
    assert np.array_equal(found[1], ONE)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_of_an_archive_has_its_name(tmp_path: Path, save: Any) -> None:
    with (tmp_path / "archive").open("wb") as file:  # its content tells the kind, not its name
        save(file, one=ONE, two=TWO)
    found = array_file.read_arrays(tmp_path / "archive", "an array", "write it anew")
    assert list(found) == ["one", "two"]
    assert found["one"].dtype == np.int16
    assert np.array_equal(found["one"], ONE)
    assert np.array_equal(found["two"], TWO)


def test_an_archive_may_unpack_to_the_limit_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, one=np.zeros(1000), two=np.zeros(1000))
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    assert path.stat().st_size < 16000 < size
    monkeypatch.setattr(array_file, "MOST_BYTES", size)
    assert list(array_file.read_arrays(path, "an array", "write it anew")) == ["one", "two"]
    monkeypatch.setattr(array_file, "MOST_BYTES", size - 1)
    assert f"arrays of {size} bytes where {size - 1} may be read" in refusal(path)


def test_no_file_no_array_and_no_objects(tmp_path: Path) -> None:
    refusal(tmp_path / "nowhere.npy")
    (tmp_path / "text.npy").write_text("1, 2, 3")
    refusal(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    refusal(tmp_path / "objects.npy")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    refusal(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("two\nlines,\r\n\ttold."), "two lines, told"),
        (ValueError("x" * 200), "x" * 160),
        (ValueError(), "ValueError"),
        (KeyError("name"), "'name'"),
    ],
)
def test_reasons_are_one_short_line(error: Exception, said: str) -> None:
    assert reason(error) == said
    assert reason(ValueError("abcdef"), 3) == "abc"


def test_a_header_of_python_2_is_read_without_a_warning(tmp_path: Path) -> None:
    """Python 2 wrote whole numbers with an L; numpy takes it away and warns."""
    path = tmp_path / "x.npy"
    np.save(path, np.arange(6, dtype=np.int8))
    written = path.read_bytes()
    path.write_bytes(written.replace(b"(6,), } ", b"(6L,), }"))
    assert path.read_bytes() != written
    with pytest.warns(UserWarning, match="Python 2"):
        np.load(path, allow_pickle=False)
    assert array_file.read_arrays(path, "an array", "save it")[""].tolist() == [0, 1, 2, 3, 4, 5]
