"""Mutants, the reviewed list of equivalent ones, samples, and the summary of a run."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomllib

__all__ = ["Mutant", "equivalents", "sample", "stale", "summary"]

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True, order=True)
class Mutant:
    """One change of one place; ``before`` and ``after`` are the changed lines without indentation."""

    file: str
    line: int
    before: str
    after: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies it in the list of equivalent mutants: no line number, which moves."""
        return self.file, self.before, self.after

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}\n    - {self.before}\n    + {self.after}"


def equivalents(path: Path = EQUIVALENT) -> dict[tuple[str, str, str], str]:
    """Reasons why mutants change nothing, by :attr:`Mutant.key`.

    Raises:
        ValueError: An entry repeats or gives no reason.
    """
    found: dict[tuple[str, str, str], str] = {}
    for group in tomllib.loads(path.read_text(encoding="utf-8")).get("group", []):
        for before, after in group["mutants"]:
            key = (group["file"], before, after)
            if key in found or not group["reason"].strip():
                raise ValueError(f"{path}: {key} must be listed once and with a reason; mend the list.")
            found[key] = group["reason"]
    return found


def stale(listed: Iterable[tuple[str, str, str]], root: Path = ROOT) -> list[str]:
    """Entries whose line is in their file no more: they would hide a mutant nobody looked at."""
    texts: dict[str, str] = {}
    gone: list[str] = []
    for file, before, after in listed:
        if file not in texts:
            texts[file] = " ".join((root / file).read_text(encoding="utf-8").split())
        if " ".join(before.split()) not in texts[file]:
            gone.append(f"{file}: {before} -> {after}")
    return gone


def sample(mutants: Sequence[Mutant], count: int | None, seed: int) -> list[Mutant]:
    """``count`` of the mutants, the same ones for the same seed; all of them for None."""
    ordered = sorted(mutants)
    return ordered if count is None or count >= len(ordered) else random.Random(seed).sample(ordered, count)


def summary(
    verdicts: Mapping[Mutant, str], fail_under: float, reasons: Mapping[tuple[str, str, str], str]
) -> int:
    """Print what came of the mutants; return the exit status.

    Args:
        verdicts: ``"killed"``, ``"survived"`` or ``"invalid"`` (does not build, not counted).
        fail_under: Smallest score that passes, in percent of the mutants that are valid and not equivalent.
        reasons: See :func:`equivalents`.
    """
    same = [m for m, word in verdicts.items() if word == "survived" and m.key in reasons]
    alive = sorted(m for m, word in verdicts.items() if word == "survived" and m.key not in reasons)
    wrong = sorted(m for m, word in verdicts.items() if word == "killed" and m.key in reasons)
    count = Counter(verdicts.values())
    judged = count["killed"] + len(alive)
    score = 100.0 * count["killed"] / judged if judged else 100.0
    for mutant in alive:
        print(f"survived: {mutant}")
    for mutant in wrong:
        print(f"listed as equivalent, but a test fails: {mutant}")
    print(
        f"{len(verdicts)} mutants: {count['killed']} killed, {len(alive)} survived, {len(same)} equivalent, "
        f"{count['invalid']} invalid; score {score:.1f} %, at least {fail_under:.1f} % wanted"
    )
    sys.stdout.flush()
    return int(score < fail_under or bool(wrong))
