"""The report of adapt as text, and adapt after T changed."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import functional, layer
from spikingjelly.activation_based.model import sew_resnet
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, adapt, decode_output, latency, set_form


class Rectified(nn.Module):
    """A rectifier called in the forward, behind a node."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(layer.Linear(4, 4), SpikePackNode(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(-self.a(x))


def test_report_reads_as_lines() -> None:
    net = sew_resnet.sew_resnet18(cnf="ADD", spiking_neuron=SpikePackNode, time_steps=3).eval()
    lines = str(adapt(net)).splitlines()
    assert lines[0] == "packed and serial multi-step form agree in eval mode"
    assert lines[1].startswith("replaced: MaxPool2d -> SpikePackMaxPool2d at maxpool: ")
    assert len([line for line in lines if "BatchNorm2d at bn1 and 19 more" in line]) == 1
    assert lines[-1] == "single-step latency: 51 time steps, 8 skip branches delayed"
    lines = str(adapt(Rectified())).splitlines()
    assert lines[0].endswith("differ in eval mode")
    assert any(line.startswith("left: relu at ") for line in lines)


def test_time_steps_change_after_adapt() -> None:
    def parts() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(
            layer.Conv2d(1, 3, 3, padding=1),
            SpikePackNode(3, v_threshold=0.5),
            layer.MaxPool2d(2),
            layer.Conv2d(3, 2, 3),
            SpikePackNode(3),
        )

    changed, wanted = parts().double(), parts().double()
    adapt(changed)
    for net in (changed, wanted):
        for child in net.modules():
            if isinstance(child, SpikePackNode):
                child.time_steps = 5
        assert adapt(net).exact
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    functional.set_step_mode(changed, "m")
    serial = decode_output(changed(x.expand(5, *x.shape)), 5)[0]
    set_form(changed, "packed")
    functional.set_step_mode(changed, "s")
    set_form(wanted, "packed")
    assert torch.equal(changed(x), wanted(x))
    assert torch.equal((serial * 31).round(), (changed(x) * 31).round())
    assert latency(changed) == 10
