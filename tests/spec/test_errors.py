"""The text of an error is one line of printable characters, whatever a file brought into it."""

from __future__ import annotations

import pytest

from spikejelly_pack.spec import errors
from spikejelly_pack.spec.reason import reason


@pytest.mark.parametrize("name", errors.__all__)
def test_text_is_printable(name: str) -> None:
    error = getattr(errors, name)("net\x1b[2J.spk: a\nb must be é\u2028, got \ud800 and \x00.")
    assert str(error) == "net\\x1b[2J.spk: a b must be é , got \\ud800 and \\x00."
    assert str(error).isprintable()


def test_plain_text_is_as_it_was() -> None:
    assert str(errors.ParameterError("größe: must be 1..16, got 17; lower it.")).startswith("größe: must")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a\n  b."), "a b"),
        (KeyError(), "KeyError"),
        (OSError(2, "No such file"), "[Errno 2] No such file"),
        (ValueError("x" * 500), "x" * 160),
    ],
)
def test_reason_of_another_librarys_error(error: Exception, said: str) -> None:
    assert reason(error) == said
