"""Verilator: the design as C++, the fastest."""

from __future__ import annotations

from .. import tools
from ..top import PROBES
from .bench import Bench, Engine, member_header

__all__ = ["ENGINE"]


def _compile(bench: Bench) -> list[str]:
    """Compile the bench; returns the command that runs it in the folder."""
    bench.add("bench.cpp")
    bench.add("verilator.h", "model.h")
    (bench.folder / "ports.h").write_text(
        member_header(bench, lambda port: port.replace("__", "___05F")), "utf-8"
    )
    tools.run(
        tools.find("verilator"),
        [
            "--cc", "--exe", "--build", "-O3", "--x-assign", "unique", "--x-initial", "unique", "-Wno-fatal",
            *([f"-D{PROBES}"] if bench.probes else []),
            "--top-module", bench.top, "--prefix", "Vmodel", "-CFLAGS", "-O2 -I..", "-o", "bench",
            "bench.cpp", *bench.sources,
        ],
        bench.folder, stage="compile for simulation", progress=bench.progress,
    )  # fmt: skip
    return [str(bench.folder / "obj_dir" / "bench")]


ENGINE = Engine(("verilator", "c++"), _compile)
