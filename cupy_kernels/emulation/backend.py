"""The kernels on a CPU: the same ``.cu`` files built by a C++ compiler over ``cuda_on_cpu.h``.

For checking what the kernels compute where there is no GPU; it is far too slow for anything else. The
calling convention is that of a CUDA launch (an array of pointers to the arguments), so the launcher is under
test too.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import KernelEnvironmentError
from ..execution import Kernel
from ..variants import Variant, shared_source

__all__ = ["EmulationBackend", "compiler"]

HERE = Path(__file__).parent
# No contraction, no value-changing optimisation: float arithmetic is IEEE 754 as written.
FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-Wno-attributes", "-x", "c++")


class _Order(ctypes.Structure):
    _fields_ = (
        ("threads", ctypes.c_uint),
        ("first_block", ctypes.c_uint),
        ("end_block", ctypes.c_uint),
        ("fibers", ctypes.c_uint),
    )


def compiler() -> list[str]:
    """Path of the C++ compiler and its options: those of ``CXX``, else ``g++``.

    Raises:
        KernelEnvironmentError: There is none.
    """
    named = os.environ.get("CXX", "")
    try:
        name, *options = shlex.split(named) or ["g++"]
    except ValueError:  # a quote that is not closed
        name, *options = named.split()
    found = shutil.which(name)
    if found is None:
        raise KernelEnvironmentError(
            f"emulation: needs a C++ compiler, {name} was not found; install it (apt install g++) or set CXX."
        )
    return [found, *options]


class EmulationBackend:
    """Builds and runs kernel variants on the host, one launch at a time.

    Args:
        order: Order of warps and lanes within a block: 0 ascending, 1 descending, more a permutation drawn
            from that seed. Results must not depend on it.
        flags: Further compiler flags, such as sanitizers.
        edit: Changes the source before it is compiled: plants a fault.
        folder: Where the libraries are kept; by default a per-user cache folder.

    Attributes:
        blocks: Part of the x grid to run (first, end), for grids too large to run whole.
    """

    name = "emulation"
    on_host = True

    def __init__(
        self,
        order: int = 0,
        flags: Sequence[str] = (),
        edit: Callable[[str], str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.order, self.flags, self.edit = order, tuple(flags), edit
        self.blocks: tuple[int, int] = (0, 2**32 - 1)
        self._folder = folder or default_folder()
        self._kernels: dict[str, ctypes._FuncPointer] = {}  # pyright: ignore[reportPrivateUsage]
        self._lock = threading.RLock()

    def kernel(self, variant: Variant, device: int | None) -> Kernel:
        """Return a variant as a function with the calling convention of a CUDA launch."""
        with self._lock:
            if variant.entry not in self._kernels:
                self.build([variant])
            function = self._kernels[variant.entry]

        def launch(
            grid: tuple[int, int, int],
            block: tuple[int, int, int],
            arguments: tuple[np.generic, ...],
            _stream: int,
        ) -> None:
            held = [np.array([value]) for value in arguments]
            pointers = (ctypes.c_void_p * len(held))(*[value.ctypes.data for value in held])
            order = _Order(self.order, *self.blocks, int(variant.spec.collective))
            with self._lock:
                function(
                    (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), pointers, ctypes.byref(order)
                )

        return launch

    def build(self, variants: Iterable[Variant]) -> None:
        """Compile several variants into one library; quicker than one by one."""
        wanted = {v.entry: v for v in variants if v.entry not in self._kernels}
        if not wanted:
            return
        source = self._source(list(wanted.values()))
        library = ctypes.CDLL(str(self._library(source)))
        with self._lock:
            for entry in wanted:
                self._kernels[entry] = getattr(library, f"run_{entry}")

    def _source(self, variants: list[Variant]) -> str:
        files = tuple(dict.fromkeys(file for variant in variants for file in variant.spec.files))
        kernels = shared_source(files)
        if self.edit is not None:
            kernels = self.edit(kernels)
        codes = {code.name: code.source for variant in variants for code in variant.codes}
        entries = "".join(variant.entry_source + _runner(variant.entry) for variant in variants)
        header = f'#define SPK_EMULATION 1\n#include "{HERE / "cuda_on_cpu.h"}"\n'
        return header + kernels + "".join(codes.values()) + entries

    def _library(self, source: str) -> Path:
        program = compiler()
        shim = (HERE / "cuda_on_cpu.h").read_text(encoding="utf-8")
        key = "\0".join([*program, *FLAGS, *self.flags, shim, source])
        target = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
        if not target.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            _compile(program, self.flags, source, target)
        return target


def default_folder() -> Path:
    """Per-user cache of built libraries."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "spikejelly-pack" / "emulation"


def _runner(entry: str) -> str:
    return (
        f'extern "C" void run_{entry}(const unsigned* grid, const unsigned* threads, void** arguments, '
        f"const cpu::Order* how) {{ cpu::launch(&{entry}, grid, threads, arguments, how); }}\n"
    )


def _compile(program: Sequence[str], flags: Sequence[str], source: str, target: Path) -> None:
    """Build beside the target and move it in place: two processes may build the same library."""
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        text, built = Path(work) / "kernels.cpp", Path(work) / "kernels.so"
        text.write_text(source, encoding="utf-8")
        command = [*program, *FLAGS, *flags, str(text), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KernelEnvironmentError(
                f"emulation: {program[0]} could not compile the kernels: {done.stderr.strip()[:2000]}"
            )
        built.replace(target)
