"""One architecture in four codings: an ANN, quantized ANNs, an LIF network and a SpikePack network."""

from __future__ import annotations

import copy
import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from ..neuron import SpikePackNode
from ..recipes import convert
from ..spec.energy import EnergyTable
from ..spec.errors import UnsupportedError
from .measure import measure
from .report import BudgetReport

__all__ = ["Comparison", "compare", "lif_twin"]

_SHOWN = (
    "macs", "s_ace", "ns_ace", "synops", "spikes", "weight_memory", "parameter_memory", "state_memory",
    "energy",
)  # fmt: skip


@dataclass
class Comparison:
    """Reports side by side.

    Attributes:
        reports: One per coding; their names say which.
        notes: What is missing, and what a row rests on.
    """

    reports: list[BudgetReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """One line per coding."""
        return [
            {"network": report.name, **{name: report.totals()[name] for name in _SHOWN}}
            for report in self.reports
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "comparison": self.rows(),
            "notes": self.notes,
            "networks": [report.to_dict() for report in self.reports],
        }

    def to_csv(self) -> str:
        """The table as CSV text with a header."""
        out = io.StringIO()
        writer = csv.DictWriter(out, ["network", *_SHOWN], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return out.getvalue()

    def __str__(self) -> str:
        unit = self.reports[0].table.unit if self.reports else ""
        head = (
            f"{'network':34} {'S-ACE or ACE':>18} {'NS-ACE':>18} {'SynOps':>14} {'weights, bit':>13} "
            f"{'state, bit':>12} {'energy, ' + unit:>14}"
        )
        lines = [
            f"{row['network'][:34]:34} {row['s_ace']:18,} {row['ns_ace']:18,.0f} {row['synops']:14,.0f} "
            f"{row['weight_memory']:13,} {row['state_memory']:12,} {row['energy']:14,.0f}"
            for row in self.rows()
        ]
        return "\n".join([head, *lines, *self.notes])


def lif_twin(snn: nn.Module) -> nn.Module:
    """A copy of a converted network whose SpikePack nodes are SpikingJelly's LIF nodes, in single-step mode.

    The weights hold the nodes' amplitudes already, so a spike of 1 stands for the same value. Thresholds are
    the converted ones, their mean where there is one per channel; signed nodes become ternary LIF nodes.
    Nothing is trained: costs are those of such a network, its rates only indicate one.

    Raises:
        UnsupportedError: The network has no form that runs step by step.
    """
    twin = copy.deepcopy(snn)
    found = [(path, module) for path, module in twin.named_modules() if isinstance(module, SpikePackNode)]
    if not found or any(node.scale_output for _, node in found):
        raise UnsupportedError(
            f"lif_twin: the network must have nodes with spikes of 0 and 1, got {len(found)} nodes of "
            f"{type(snn).__name__}; convert with route='fx'."
        )
    for path, node in found:
        parent, _, name = path.rpartition(".")
        owner: Any = twin.get_submodule(parent)
        owner._modules[name] = _lif(node)
    return twin


def _lif(node: Any) -> nn.Module:
    theta = float(node.v_threshold if node.theta is None else node.theta.detach().mean())
    if node.params.signed:
        return neuron.TernaryLIFNode(v_threshold=theta, v_reset=None)
    return neuron.LIFNode(tau=2.0, decay_input=False, v_threshold=theta, v_reset=None)


def compare(
    model: nn.Module,
    x: Tensor,
    calibration: Iterable[Any],
    *,
    time_steps: int = 4,
    weight_bits: int = 8,
    widths: tuple[int, ...] = (8, 4),
    input_bits: int = 32,
    rate: str = "digit",
    energy: EnergyTable | None = None,
    progress: bool = True,
) -> Comparison:
    """Measure a trained network as it is, quantized, with LIF nodes, and with SpikePack nodes.

    Args:
        model: The source network.
        x: Input ``[N, *]`` to measure on.
        calibration: Batches to convert with.
        time_steps: T of the SpikePack nodes, and steps of the LIF network.
        weight_bits: b_w of both spiking networks.
        widths: Bits of weights and activations of the quantized networks.
        input_bits: Bits of the analog input, where it is not encoded.
        rate: NS-ACE by the ``"digit"`` or the ``"word"`` rate.
        energy: Energies; default Horowitz, 45 nm.
        progress: Show a progress bar while converting.
    """
    common: dict[str, Any] = {"rate": rate, "energy": energy}
    found = Comparison()
    name = "ANN, float32"
    found.reports.append(measure(model, x, name=name, input_bits=input_bits, **common))
    for bits in widths:
        name = f"QANN, {bits} x {bits} bits"
        quantized = {"weight_bits": bits, "activation_bits": bits}
        found.reports.append(measure(model, x, name=name, input_bits=input_bits, **quantized, **common))
    snn = convert(model, calibration, time_steps, progress=progress)
    common |= {"weight_bits": weight_bits, "input_bits": input_bits}
    name = f"{time_steps} x {weight_bits} bits"
    try:
        twin = lif_twin(snn)
    except UnsupportedError as error:
        found.notes.append(f"no LIF network: {error}")
    else:
        found.reports.append(measure(twin, x, name=f"LIF, T x b_w = {name}", steps=time_steps, **common))
        found.notes.append(
            "The LIF network has the thresholds of the conversion and is not trained: its S-ACE is exact, "
            "its rates indicate."
        )
    found.reports.append(measure(snn, x, name=f"SpikePack, T x b_w = {name}", **common))
    return found
