"""Compile kernel variants with NVRTC alone: no GPU, no driver, no nvcc; read back registers and spills.

What CuPy will compile on a GPU machine is compiled here with the same options for any architecture.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import KernelEnvironmentError
from .variants import Variant, shared_source

__all__ = ["ARCHITECTURES", "Usage", "compile_variants", "find_library"]

#: Turing, Ampere, Hopper, Blackwell (consumer).
ARCHITECTURES = (75, 80, 90, 120)
# As CuPy's RawModule compiles: it adds the last two by itself.
OPTIONS = ("-std=c++17", "--device-as-default-execution-space", "-ftz=true")
_PLACES = ("nvidia/cu1?/lib", "nvidia/cuda_nvrtc/lib")
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True)
class Usage:
    """What the assembler says about one kernel.

    Attributes:
        registers: Registers of a thread.
        stack: Bytes of local memory of a thread.
        spills: Bytes spilled, stores and loads.
    """

    registers: int
    stack: int
    spills: int


def find_library() -> Path:
    """Path of libnvrtc.

    Raises:
        KernelEnvironmentError: It is not installed.
    """
    folders = [Path(entry) for entry in sys.path if entry]
    found = [
        path for folder in folders for place in _PLACES for path in folder.glob(f"{place}/libnvrtc.so.*")
    ]
    found += Path("/usr/local/cuda/lib64").glob("libnvrtc.so.*")
    found = [path for path in found if ".alt." not in path.name]
    if not found:
        raise KernelEnvironmentError(
            "nvrtc: libnvrtc was not found beside the installed packages; run: pip install nvidia-cuda-nvrtc"
        )
    return found[0]


@cache
def _library() -> ctypes.CDLL:
    path = find_library()
    for builtins in path.parent.glob("libnvrtc-builtins.so*"):
        if ".alt." not in builtins.name:
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def compile_variants(
    variants: Sequence[Variant], architecture: int, options: Sequence[str] = OPTIONS
) -> dict[str, Usage]:
    """Compile variants in one program; return the usage of each entry point.

    Args:
        variants: What to compile.
        architecture: Compute capability as a number, 90 for sm_90.
        options: Compiler options besides the architecture.

    Raises:
        KernelEnvironmentError: NVRTC is missing or refuses the program; the message holds its log.
    """
    files = tuple(dict.fromkeys(file for variant in variants for file in variant.spec.files))
    codes = {code.name: code.source for variant in variants for code in variant.codes}
    source = shared_source(files) + "".join(codes.values()) + "".join(v.entry_source for v in variants)
    log = _compile(source, [*options, f"-arch=sm_{architecture}", "-Xptxas=-v"])
    usage = _usage(log)
    missing = {variant.entry for variant in variants} - set(usage)
    if missing:
        raise KernelEnvironmentError(f"nvrtc: the log says nothing about {', '.join(sorted(missing))}.")
    return usage


def _compile(source: str, options: list[str]) -> str:
    library, program = _library(), ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"spikepack.cu", 0, None, None)
    try:
        words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = library.nvrtcCompileProgram(program, len(options), words)
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, text)
        log = text.value.decode(errors="replace")
        if status:
            reason = library.nvrtcGetErrorString(status).decode()
            raise KernelEnvironmentError(f"nvrtc: {reason} with {' '.join(options)}:\n{log[:4000]}")
        return log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _usage(log: str) -> dict[str, Usage]:
    usage: dict[str, Usage] = {}
    entry, stack, spills = "", 0, 0
    for line in log.splitlines():
        if found := _ENTRY.search(line):
            entry = found[1]
        elif found := _SPILLS.search(line):
            stack, spills = int(found[1]), int(found[2]) + int(found[3])
        elif entry and (found := _REGISTERS.search(line)):
            usage[entry] = Usage(int(found[1]), stack, spills)
    return usage
