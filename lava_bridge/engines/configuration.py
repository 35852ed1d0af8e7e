"""How Lava compiles our networks, whichever engine runs them."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from lava.magma.compiler.compiler import Compiler
from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense

from ..assembly import Assembly
from ..processes.batched import BatchedConv
from ..processes.conv_models import PyBatchedConv, PyBatchedConvFloat, PyConvIm2col, PyConvIm2colFloat

__all__ = ["compile_assembly"]

# Slots of a channel's ring. Lava's default of 64 multiplies shared memory without a gain.
CHANNEL_SIZE = 4
# Models by Process class, found so far; Lava's compiler is not made for threads.
_FOUND: dict[type, list[Any]] = {}
_COMPILING = threading.Lock()
# By tag: where a stock Process runs with another model than the one Lava would select. No stock synapse has a
# model of tag fpga: those of fixed_pt are exact.
STOCK_MODELS: dict[str, dict[Any, Any]] = {
    "fixed_pt": {Conv: PyConvIm2col, BatchedConv: PyBatchedConv},
    "floating_pt": {Conv: PyConvIm2colFloat, BatchedConv: PyBatchedConvFloat},
    "fpga": {Conv: PyConvIm2col, BatchedConv: PyBatchedConv, Dense: PyDenseModelBitAcc},
}


def compile_assembly(assembly: Assembly, configuration_type: type[Any] = Loihi2SimCfg) -> Any:
    """Lava's executable: stock compiler, the models of the assembly's tag."""
    tag = assembly.model.tag
    configuration = configuration_type(select_tag=tag, exception_proc_model_map=STOCK_MODELS[tag])
    compiler = Compiler({"pypy_channel_size": CHANNEL_SIZE})
    with _remembered_models():
        return compiler.compile(assembly.processes[0], configuration)


@contextmanager
def _remembered_models() -> Generator[None]:
    """Let Lava look for the models of a Process class once instead of once per Process.

    The search executes every file beside the class: it takes most of the compilation of a deep network.
    """

    def find(proc: Any) -> list[Any]:
        kind = type(proc)
        if kind not in _FOUND:
            _FOUND[kind] = search(proc)
        return list(_FOUND[kind])

    with _COMPILING:
        search = ProcGroupDiGraphs._find_proc_models
        ProcGroupDiGraphs._find_proc_models = staticmethod(find)
        try:
            yield
        finally:
            ProcGroupDiGraphs._find_proc_models = staticmethod(search)
