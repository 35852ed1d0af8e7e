"""Where weights and thresholds are integers already, the integer form is the float form, code by code."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, set_form
from spikejelly_pack.integer import IntegerNetwork, build_integer
from spikejelly_pack.spec.bounds import accumulator_bounds
from spikejelly_pack.spec.execute import encode, outputs, run_packed, run_serial_multi_step
from spikejelly_pack.spec.stream import run_serial_single_step


def node_codes(net: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """Codes of every node in packed form, computed by the float network."""
    codes: dict[str, np.ndarray] = {}
    hooks = [
        module.register_forward_hook(
            lambda node, inputs, _out, p=path: codes.__setitem__(p, node.encode(inputs[0]).numpy())
        )
        for path, module in net.named_modules()
        if isinstance(module, SpikePackNode)
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return codes


@settings(max_examples=60)
@given(data=st.data())
def test_integer_codes_equal_float_codes(data: st.DataObject, exact_nets: Any) -> None:
    net, x = data.draw(exact_nets())
    _check_codes(net, x)


def test_unequal_amplitudes(unequal_net: tuple[nn.Module, Tensor]) -> None:
    _check_codes(*unequal_net)


def _check_codes(net: nn.Module, x: Tensor) -> None:
    set_form(net, "packed")
    network = build_integer(net, x, state_bits=32)
    codes = run_packed(network, encode(network.inputs[0], x.numpy()))
    expected = node_codes(net, x)
    assert set(expected) == {op.name for op in [*network.inputs, *network.neurons]}
    for path, code in expected.items():
        np.testing.assert_array_equal(codes[path].astype(np.int64), code.astype(np.int64), err_msg=path)
    _check_outputs(net, network, codes, x)


def _check_outputs(net: nn.Module, network: Any, codes: dict[str, np.ndarray], x: Tensor) -> None:
    """A readout's weights are off by half a unit at most, times the codes they meet; so is its bias."""
    with torch.no_grad():
        expected = net(x).numpy()
    (op,) = network.readouts
    (synapse,) = [s for s in network.synapses if s.name == "head"]
    most = 2**network.time_steps - 1
    bound = op.scale * (0.5 * most * synapse.weight.shape[1] + 0.5) * 1.000001
    assert (np.abs(outputs(network, codes)["output"] - expected) <= bound).all()


@settings(max_examples=25)
@given(data=st.data())
def test_every_executor_agrees(data: st.DataObject, exact_nets: Any) -> None:
    net, x = data.draw(exact_nets())
    network = build_integer(net, x, state_bits=data.draw(st.sampled_from([20, 24, 32])))
    codes = encode(network.inputs[0], x.numpy())
    packed = run_packed(network, codes)
    others = {
        "torch": {name: value.numpy() for name, value in IntegerNetwork(network)(codes).items()},
        "multi-step": run_serial_multi_step(network, codes),
        "single-step": run_serial_single_step(network, codes),
    }
    for executor, values in others.items():
        assert set(values) == set(packed)
        for name, value in packed.items():
            np.testing.assert_array_equal(values[name], value, err_msg=f"{executor} {name}")
    assert all(bound.fits for bound in accumulator_bounds(network))


@pytest.mark.parametrize(("state_bits", "coarse"), [(16, True), (20, False), (24, True)])
def test_narrow_registers_coarsen_the_scale(state_bits: int, coarse: bool) -> None:
    """T = 8 at fan-in 4608 needs more than 24 bits with full 8-bit weights."""
    fan_in = 4608
    generator = torch.Generator().manual_seed(0)
    steps = 8 if state_bits > 20 else 3
    linear = nn.Linear(fan_in, 3)
    linear.weight.data = torch.randn(3, fan_in, generator=generator)
    node = SpikePackNode(steps, v_threshold=float(fan_in) ** 0.5)
    net = nn.Sequential(SpikePackNode(steps, v_threshold=1.0), linear, node, nn.Linear(3, 2))
    example = torch.rand(1, fan_in, generator=generator)
    said = f"the {state_bits}-bit membrane leaves less than half of the weight levels"
    with pytest.warns(UserWarning, match=said) if coarse else nullcontext():
        network = build_integer(net, example, state_bits=state_bits)
    assert all(bound.fits for bound in accumulator_bounds(network))
    assert accumulator_bounds(network)[0].bits >= state_bits - 2
