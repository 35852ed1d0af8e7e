"""Every SpikingJelly builder that takes ``spiking_neuron=``, in packed and serial form."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.neuron.base_node import BaseNode

from spikejelly_pack import SpikePackNode, adapt, decode_output, set_form
from spikejelly_pack.spec.errors import UnsupportedError

# The one table entry that needs adapt to run packed: its attention over time is built for T steps.
NEEDS_ADAPT = {"masnn"}


def test_holds_no_other_neuron(builder: Any) -> None:
    neurons = {type(module) for module in builder.build().modules() if isinstance(module, BaseNode)}
    assert neurons == {SpikePackNode}


@pytest.mark.parametrize("adapted", [False, True], ids=["as-built", "adapted"])
@pytest.mark.parametrize("form", ["packed", "serial"])
def test_runs_forward_and_backward(builder: Any, form: str, adapted: bool, forms: ModuleType) -> None:
    """Training mode: a finite gradient reaches the first layer."""
    steps = 2
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(7)  # dropout draws from the global generator: some draws leave no gradient at all
    net = builder.build(time_steps=steps)
    forms.randomise(net, generator)
    image = builder.image(generator, torch.float32, batch=6 if builder.name == "masnn" else 2)
    if adapted:
        adapt(net, builder.serial(image, steps))
    set_form(net, form)
    if builder.name in NEEDS_ADAPT and form == "packed" and not adapted:
        with pytest.raises(RuntimeError, match="size"):
            net(image)
        return
    output = net(image if form == "packed" else builder.serial(image, steps))
    assert output.shape[-1] in (5, 10)
    assert bool(output.isfinite().all())
    output.square().sum().backward()
    first = next(p for p in net.parameters() if p.requires_grad)
    assert first.grad is not None
    assert bool(first.grad.isfinite().all())
    assert float(first.grad.abs().max()) > 0
    functional.reset_net(net)


def test_forms_agree_after_adapt(builder: Any, forms: ModuleType, tolerance: Any) -> None:
    """Eval mode, float64: equal to 1e-9 unless a code flipped, and a code flips only at a rounding tie."""
    generator = torch.Generator().manual_seed(11)
    net = builder.build().double().eval()
    forms.randomise(net, generator)
    image = builder.image(generator)
    keys = list(net.state_dict())
    as_built, difference = _as_built(builder, net, image)
    report = adapt(net, builder.serial(image))
    assert report.exact, report.named or report.trace_error
    assert list(net.state_dict()) == keys
    result = forms.compare(net, image, builder.repeats, tolerance)
    assert result.unexplained == 0
    assert result.difference(result.forced) <= 1e-9
    if not result.flips:
        assert result.difference(result.serial) <= 1e-9
    # A product of codes is a fraction of small integers and can meet a tie exactly; a convolution does not.
    assert result.flips == 0 or any(
        "Product" in entry.after or "Attention" in entry.after for entry in report.replaced
    )
    # The test sees something: without adapt the forms are different networks.
    assert report.replaced
    assert difference is None or difference > 1e-4
    # Packed, a builder's own operations act on decoded values: they say what the exact modules must compute.
    assert as_built is None or result.difference(as_built) <= 1e-12
    again = adapt(net, builder.serial(image))
    assert again.replaced == ()
    assert again.named == ()


# Every node of these is read by weights; the others add, multiply or average spikes of different nodes.
ABSORBING = {"spiking_vgg11_bn", "ms_resnet", "max_resnet", "att_ms_resnet"}


def test_time_steps_per_node(builder: Any, forms: ModuleType, tolerance: Any) -> None:
    """T of 4, 3 and 2 in turn: adapt joins the windows in place, or says where no weight can absorb it."""
    generator = torch.Generator().manual_seed(11)
    net = builder.build().double().eval()
    forms.randomise(net, generator)
    image = builder.image(generator)
    nodes = list(forms.nodes(net).values())
    for index, node in enumerate(nodes):
        node.params = dataclasses.replace(node.params, time_steps=4 - index % 3)
    if builder.name not in ABSORBING:
        with pytest.raises(
            UnsupportedError, match="put a synapse in between, or build all nodes with window=4"
        ):
            adapt(net, builder.serial(image))
        assert [node.window for node in nodes] == [4 - index % 3 for index in range(len(nodes))]
        return
    report = adapt(net, builder.serial(image))
    assert report.exact
    assert {node.window for node in nodes} == {4}
    result = forms.compare(net, image, builder.repeats, tolerance)
    assert (result.flips, result.unexplained) == (0, 0)
    assert result.difference(result.serial) <= 1e-9
    assert not builder.repeats or net.T == 4


def test_gradients_agree_after_adapt(builder: Any, forms: ModuleType) -> None:
    """The digits' gradients make the packed gradient, through pools, products and readouts too."""
    generator = torch.Generator().manual_seed(12)
    net = builder.build().double().eval()
    forms.randomise(net, generator)
    image = builder.image(generator)
    adapt(net, builder.serial(image))
    gradients, outputs = [], []
    for form in ("packed", "serial"):
        output = set_form(net, form)(image if form == "packed" else builder.serial(image))
        if output.shape[:-1] == (4, 2):
            output = decode_output(output, 4)
        net.zero_grad()
        output.square().sum().backward()
        first = next(p for p in net.parameters() if p.requires_grad)
        assert first.grad is not None
        gradients.append(first.grad.clone())
        outputs.append(output.detach())
        functional.reset_net(net)
    if float((outputs[0] - outputs[1]).abs().max()) > 1e-9:
        pytest.skip("a code flipped at a tie: the gradients are those of different codes")
    scale = float(gradients[0].abs().max())
    assert scale > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-9 * scale)


def _as_built(
    builder: Any, net: torch.nn.Module, image: torch.Tensor
) -> tuple[torch.Tensor | None, float | None]:
    """Return the packed output without adapt, and how far the serial form is from it."""
    if builder.name in NEEDS_ADAPT:
        return None, None
    with torch.no_grad():
        serial = net(builder.serial(image))
        functional.reset_net(net)
        packed = set_form(net, "packed")(image)
        functional.reset_net(net)
        set_form(net, "serial")
    if serial.shape != packed.shape:
        serial = decode_output(serial, 4)
    return packed, float((serial - packed).abs().max())


def test_builder_that_repeats_its_image_runs_one_window(builder: Any) -> None:
    """set_form sets the builder's own T: one window packed, T steps serial."""
    net = builder.build()
    if not builder.repeats:
        assert not hasattr(net, "T")
        return
    assert set_form(net, "packed").T == 1
    assert set_form(net, "serial").T == 4
