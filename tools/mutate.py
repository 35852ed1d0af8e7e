"""Mutation checks of the equations and the kernels: does a test fail when a line is wrong?

Usage: ``python tools/mutate.py {spec,kernels}`` in the tox environment "mutation"; see docs/contributing.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mutation import kernels, lines
from mutation.report import Mutant, equivalents, sample, stale, summary
from mutation.spec import SpecMutants

Judge = Callable[[Sequence[Mutant]], dict[Mutant, str]]


def _spec(work: Path, jobs: int) -> tuple[list[Mutant], Judge]:
    made, others = SpecMutants(work / "mutmut", jobs), lines.make()
    print(f"{made.left_out} mutants left out by the rules of docs/contributing.md")

    def judge(chosen: Sequence[Mutant]) -> dict[Mutant, str]:
        rest = [mutant for mutant in chosen if mutant not in made.names]
        verdicts = lines.judge(rest, work / "lines", jobs)
        return verdicts | made.judge([mutant for mutant in chosen if mutant in made.names])

    return [*made.names, *others], judge


def _kernels(work: Path, jobs: int) -> tuple[list[Mutant], Judge]:
    return kernels.make(), lambda chosen: kernels.judge(chosen, work, jobs)


PARTS = {"spec": _spec, "kernels": _kernels}


def main() -> int:
    """Judge the mutants of one part; the exit status says whether enough were killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--sample", type=int, help="how many mutants (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="which sample (default: 0)")
    parser.add_argument(
        "--file", nargs="+", default=[""], help="only files whose path holds one of these texts"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default: 1)")
    parser.add_argument(
        "--fail-under", type=float, default=0.0, help="smallest score in percent (default: 0)"
    )
    given = parser.parse_args()
    os.environ.setdefault("HYPOTHESIS_PROFILE", "mutation")
    reasons = equivalents()
    if gone := stale(reasons):
        print("tools/mutation/equivalent.toml names lines that are gone:", *gone, sep="\n  ")
        return 2
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        mutants, judge = PARTS[given.part](Path(work), given.jobs)
        mutants = [mutant for mutant in mutants if any(part in mutant.file for part in given.file)]
        chosen = sample(mutants, given.sample, given.seed)
        print(f"{given.part}: {len(chosen)} of {len(mutants)} mutants, seed {given.seed}", flush=True)
        status = summary(judge(chosen), given.fail_under, reasons)
    print(f"{time.monotonic() - start:.0f} s")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
