"""Simulators that run a generated design.

To add one: a file with an :class:`.bench.Engine`, and one line here.
"""

from __future__ import annotations

from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError

from .. import tools
from . import cxxrtl, icarus, verilator
from .bench import Engine

__all__ = ["SIMULATORS", "choose"]

# The fastest first.
SIMULATORS: dict[str, Engine] = {
    "verilator": verilator.ENGINE,
    "cxxrtl": cxxrtl.ENGINE,
    "icarus": icarus.ENGINE,
}


def choose(engine: str) -> str:
    """The simulator to use: ``engine``, or for ``auto`` the fastest that is installed.

    Raises:
        ParameterError: Unknown name.
        EnvironmentMissingError: Its tools, or (auto) those of every simulator, are missing.
    """
    if engine in SIMULATORS:
        for name in SIMULATORS[engine].needs:
            tools.find(name)
        return engine
    if engine != "auto":
        raise ParameterError(
            f"simulate: engine must be auto or one of {', '.join(SIMULATORS)}, got {engine!r}; choose one."
        )
    for name, known in SIMULATORS.items():
        if all(tools.available(tool) for tool in known.needs):
            return name
    raise EnvironmentMissingError(
        "simulate: needs Verilator, Yosys with a C++ compiler, or Icarus Verilog, none was found; install "
        f"one: {tools.TOOLS['yosys'].install} and {tools.TOOLS['c++'].install}"
    )
