"""Generated hardware, simulated: every code of every layer equals the numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, tools
from lava_bridge.fpga.simulators import SIMULATORS

# Binary digits with signs here, recoded ones in the other networks.
FOLDED = Options(lanes=2, fire=2, buffers=False, digits="binary")


@pytest.fixture(scope="module")
def dense(compiled: Any, dense_net: Any) -> Any:
    return compiled(dense_net, Options(digits="binary"))


def test_a_stream_of_samples(dense: Any, dense_net: Any, corner_codes: Any, assert_exact: Any) -> None:
    codes = corner_codes(dense_net, 300)
    assert_exact(dense.run(codes), dense_net, codes)


@pytest.mark.parametrize(("gaps", "stalls"), [(0.3, 0.3), (0.0, 0.9), (0.9, 0.0)])
def test_pauses_change_nothing(
    dense: Any, dense_net: Any, corner_codes: Any, assert_exact: Any, gaps: float, stalls: float
) -> None:
    codes = corner_codes(dense_net, 60, seed=1)
    assert_exact(dense.run(codes, gaps=gaps, stalls=stalls, seed=7), dense_net, codes)


def test_every_operation_folded(
    compiled: Callable[..., Any], residual_net: Any, corner_codes: Any, assert_exact: Any
) -> None:
    """Groups, dilation, skips across depth, concat, average pooling, mixed T, signs; two lanes."""
    bench = compiled(residual_net, FOLDED)
    codes = corner_codes(residual_net, 60)
    assert_exact(bench.run(codes), residual_net, codes)
    assert_exact(bench.run(codes, gaps=0.4, stalls=0.4), residual_net, codes)


def test_pools_and_two_inputs(
    compiled: Callable[..., Any], pool_net: Any, corner_codes: Any, assert_exact: Any
) -> None:
    """Maximum pooling, upsampling, depthwise convolution, thresholds of single neurons, two readouts."""
    bench = compiled(pool_net)
    codes = corner_codes(pool_net, 60)
    assert_exact(bench.run(codes), pool_net, codes)
    assert_exact(bench.run(codes, gaps=0.4, stalls=0.4), pool_net, codes)


@pytest.mark.parametrize("engine", SIMULATORS)
def test_simulators_agree(
    compiled: Callable[..., Any], dense_net: Any, corner_codes: Any, assert_exact: Any, engine: str
) -> None:
    if not all(tools.available(tool) for tool in SIMULATORS[engine].needs):
        pytest.skip(f"{engine} is not installed")
    codes = corner_codes(dense_net, 12)
    bench = compiled(dense_net, Options(fire=8), engine)
    run = bench.run(codes, gaps=0.2, stalls=0.2)
    assert_exact(run, dense_net, codes)
    if engine == "cxxrtl":  # a wire that feeds itself makes every step two evaluations
        assert "feedback" not in (bench.bench.folder / "translate-for-simulation.log").read_text("utf-8")
    assert np.all(np.diff(run.cycles["out"].reshape(-1)) > 0)
