"""How Lava compiles our networks, whichever engine runs them."""

from __future__ import annotations

from typing import Any

from lava.magma.compiler.compiler import Compiler
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv

from ..build import Assembly
from ..processes.conv_models import PyConvIm2col

__all__ = ["compile_assembly"]

# Slots of a channel's ring. Lava's default of 64 multiplies shared memory without a gain.
CHANNEL_SIZE = 4
# Where a stock Process runs with another model than the stock one.
MODELS = {Conv: PyConvIm2col}


def compile_assembly(assembly: Assembly, configuration_type: type[Any] = Loihi2SimCfg) -> Any:
    """Lava's executable: stock compiler, fixed-point models, the gathering model for Conv."""
    configuration = configuration_type(select_tag="fixed_pt", exception_proc_model_map=MODELS)
    compiler = Compiler({"pypy_channel_size": CHANNEL_SIZE})
    return compiler.compile(assembly.processes[0], configuration)
