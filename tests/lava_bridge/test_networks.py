"""A ResNet, a VGG and U-Nets from the exporter to Lava: every integer equal, in both spike modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from spikingjelly.activation_based import ann2snn

import lava_bridge
from lava_bridge.worker.find import Interpreter
from spikejelly_pack import SpikePackRecipe, build_integer, set_form
from spikejelly_pack.spec.bounds import accumulator_bounds
from spikejelly_pack.spec.execute import encode, run_packed


def assert_equals_the_reference(network: Any, x: Any) -> None:
    codes = encode(network.inputs[0], x.numpy())
    expected = run_packed(network, codes)
    for spikes in ("graded", "serial"):
        result = lava_bridge.simulate(
            network, codes, codes=True, engine="inline", spikes=spikes, record="all", progress=False
        )
        values = {**result.membranes, **result.codes}
        assert set(values) == set(expected)
        for name, value in expected.items():
            assert np.array_equal(values[name], value), f"{spikes} {name}"


@pytest.mark.parametrize("name", ["resnet18", "vgg", "unet", "unet_transposed"])
def test_equals_the_reference(name: str, map_networks: Any, lava: Interpreter) -> None:
    ann, x = map_networks(name, width=2, samples=4)
    snn = ann2snn.Converter(SpikePackRecipe([x], time_steps=4, progress=False)).convert(ann)
    assert_equals_the_reference(build_integer(set_form(snn, "serial"), x[:1], state_bits=32), x[:2])


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet18", 64), ("vgg", 64), ("unet", 16), ("unet_transposed", 32), ("unet_deep", 16)],
)
def test_full_widths_equal_the_reference(name: str, width: int, map_networks: Any, lava: Interpreter) -> None:
    """T = 6 in 24-bit registers."""
    ann, x = map_networks(name, width=width, samples=2)
    recipe = SpikePackRecipe([x], time_steps=6, calibrator="max", progress=False)
    network = build_integer(set_form(ann2snn.Converter(recipe).convert(ann), "serial"), x[:1])
    assert all(bound.fits and bound.state_bits == 24 for bound in accumulator_bounds(network))
    assert_equals_the_reference(network, x[:1])
