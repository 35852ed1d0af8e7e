"""Mutants of the CUDA sources, each built and run by the tests of the kernels on a CPU.

universalmutator makes them from ``kernels.rules``. A mutant is a folder of ``.cu`` files of its own, which a
forked child names to the kernels before it runs the tests: the files of the package are read only. Lines that
only a GPU compiles are left out, because the CPU builds that run here never see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import forks
from .report import ROOT, Mutant
from .text import text_mutants

__all__ = ["judge", "make"]

CUDA = ROOT / "cupy_kernels" / "cuda"
# Quick to build; what leaves an array or overflows ends the process instead of going on by chance.
CHECKED = "-fsanitize=alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero"
FLAGS = ("-O0", CHECKED, "-fsanitize-undefined-trap-on-error")
NOT_BUILT = "could not compile the kernels"
_EVERY = ("fire", "codes", "pool", "products", "backward", "serial")
#: Modules of tests/kernels that launch something of a file, quickest first; the launcher's tests come last.
TESTS = {
    "arithmetic.cu": _EVERY,
    "backward.cu": ("backward",),
    "codes.cu": ("codes",),
    "fire.cu": ("fire",),
    "integer.cu": ("codes", "products"),
    "pool.cu": ("pool",),
    "product.cu": ("products",),
    "serial.cu": ("serial",),
    "spikepack.cu": ("fire", "codes", "backward", "serial"),
    "step.cu": ("serial",),
    "storage.cu": _EVERY,
    "tiles.cu": ("products",),
}


def _built_on_cpu(lines: Sequence[str]) -> set[int]:
    """Numbers of the lines a CPU build sees: not what follows ``#else`` or ``#elif`` of ``SPK_EMULATION``."""
    found: set[int] = set()
    emulated = other = False
    for number, line in enumerate(lines, start=1):
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        if word == "#ifdef" and "SPK_EMULATION" in line:
            emulated = True
        elif emulated and word in ("#else", "#elif"):
            other = True
        elif word == "#endif":
            emulated = other = False
        elif not other:
            found.add(number)
    return found


def make() -> list[Mutant]:
    """Every mutant of every ``.cu`` file."""
    found: list[Mutant] = []
    for path in sorted(CUDA.glob("*.cu")):
        wanted = _built_on_cpu(path.read_text(encoding="utf-8").splitlines())
        found += text_mutants(path, "kernels.rules", wanted)
    return found


def _run(mutant: Mutant, folder: Path) -> int:
    """Run the tests of the mutant's file, in the child."""
    from cupy_kernels import variants
    from cupy_kernels.emulation import backend

    forks.mutated_copy(mutant, CUDA, folder / "cuda")
    variants.CUDA_FOLDER = folder / "cuda"
    variants._file.cache_clear()  # pyright: ignore[reportPrivateUsage]
    backend.FLAGS = (*backend.FLAGS, *FLAGS)
    names = [*TESTS[Path(mutant.file).name], "launcher"]
    return forks.run_pytest(folder, [ROOT / "tests" / "kernels" / f"test_{name}.py" for name in names])


def judge(mutants: Sequence[Mutant], work: Path, jobs: int) -> dict[Mutant, str]:
    """See :func:`.forks.judge`; torch is imported once, before the forks."""
    import torch

    torch.set_num_threads(1)  # no pool of threads: a fork leaves them behind
    return forks.judge(_run, mutants, work, jobs, NOT_BUILT)
