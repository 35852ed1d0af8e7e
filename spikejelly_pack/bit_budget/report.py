"""The result of counting: a table per layer and its totals."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

from ..spec.budget import FLOAT_BITS, RATES, SynapticCost, ace
from ..spec.energy import EnergyTable, load_energy_table, synaptic_energy
from ..spec.parameters import check_choice
from .memory import Memory
from .text import as_text

__all__ = ["ACE_WIDTHS", "BudgetReport", "Columns"]

#: ACE of the source network is shown as it is, and quantized to 8 and to 4 bits.
ACE_WIDTHS = (FLOAT_BITS, 8, 4)
Columns = dict[str, Any]


@dataclass
class BudgetReport:
    """What one inference costs; all numbers per sample.

    Attributes:
        name: Of the network.
        layers: Synaptic operations in the order in which they ran.
        memory: Bits stored.
        spikes: Digits that are one, by emitting module.
        elementwise: Operations that are no synapses and count nothing, with their calls.
        inside: Multiply-accumulates inside neurons, outside S-ACE.
        analog: Module path -> origin of the analog values it reads.
        unsupported: Operations without a rule, with their calls: nothing is known of their cost.
        rate: Which rate NS-ACE, energy and the rate column use: ``"digit"`` or ``"word"``.
        table: Energies.
    """

    name: str
    layers: list[SynapticCost]
    memory: Memory
    spikes: dict[str, float] = field(default_factory=dict)
    elementwise: dict[str, int] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)
    analog: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsupported: dict[str, int] = field(default_factory=dict)
    rate: str = "digit"
    table: EnergyTable = field(default_factory=load_energy_table)

    def __post_init__(self) -> None:
        check_choice("BudgetReport", "rate", self.rate, RATES)

    @property
    def synapses(self) -> list[SynapticCost]:
        """Layers inside S-ACE."""
        return [layer for layer in self.layers if not layer.plumbing]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one window: those of the source network."""
        return sum(layer.macs for layer in self.synapses)

    @property
    def s_ace(self) -> int:
        """S-ACE; ACE of a network that does not spike."""
        return sum(layer.s_ace for layer in self.synapses)

    @property
    def ns_ace(self) -> float:
        """NS-ACE by :attr:`rate`."""
        return sum(layer.ns_ace(self.rate) for layer in self.synapses)

    @property
    def plumbing(self) -> int:
        """S-ACE of synapses that exist in the integer form only."""
        return sum(layer.s_ace for layer in self.layers if layer.plumbing)

    @property
    def synops(self) -> float:
        """Synaptic operations: multiply-accumulates whose digits are one."""
        return sum(layer.digit_events or 0.0 for layer in self.synapses)

    @property
    def energy(self) -> float:
        """Arithmetic energy in the table's unit, plumbing included."""
        return sum(synaptic_energy(layer, self.table, self.rate) for layer in self.layers)

    def ace(self, bits: int) -> int:
        """ACE of the source network with weights and activations of ``bits`` bits."""
        return sum(ace(layer.macs, bits, bits) for layer in self.synapses)

    def totals(self) -> Columns:
        """The last line of the table."""
        return {
            "macs": self.macs,
            "s_ace": self.s_ace,
            "ns_ace": self.ns_ace,
            "synops": self.synops,
            **{f"ace_{bits}": self.ace(bits) for bits in ACE_WIDTHS},
            "plumbing": self.plumbing,
            "energy": self.energy,
            "weight_memory": self.memory.weights,
            "parameter_memory": self.memory.parameters,
            "state_memory": self.memory.state,
            "spikes": sum(self.spikes.values()),
        }

    def rows(self) -> list[Columns]:
        """One line per layer."""
        return [self._row(layer) for layer in self.layers]

    def _row(self, layer: SynapticCost) -> Columns:
        first, second = layer.operands
        spikes = layer.digit_events is not None
        return {
            "layer": layer.path,
            "operation": layer.kind,
            "reads": first.kind,
            "from": " + ".join(first.sources),
            "macs": layer.macs,
            "windows": layer.windows,
            "word_bits": first.bits,
            "weight_bits": second.bits,
            "bb": layer.bit_budget,
            "s_ace": 0 if layer.plumbing else layer.s_ace,
            "ns_ace": 0.0 if layer.plumbing else layer.ns_ace(self.rate),
            "plumbing": layer.s_ace if layer.plumbing else 0,
            "digit_rate": layer.rate("digit") if spikes else None,
            "word_rate": layer.rate("word") if spikes else None,
            "synops": layer.digit_events,
            **{f"ace_{bits}": 0 if layer.plumbing else ace(layer.macs, bits, bits) for bits in ACE_WIDTHS},
            "weights": layer.weights,
            "energy": synaptic_energy(layer, self.table, self.rate),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "name": self.name,
            "rate": self.rate,
            "energy_table": {"name": self.table.name, "source": self.table.source, "unit": self.table.unit,
                             "technology_nm": self.table.technology_nm, "scope": self.table.scope},
            "layers": self.rows(),
            "totals": self.totals(),
            "spikes": self.spikes,
            "elementwise": self.elementwise,
            "inside_neurons": self.inside,
            "analog": {path: list(origin) for path, origin in self.analog.items()},
            "unsupported": self.unsupported,
        }  # fmt: skip

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_csv(self) -> str:
        """The layers as CSV text with a header."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(self.rows()[0]) if self.layers else ["layer"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return out.getvalue()

    def __str__(self) -> str:
        return as_text(self.to_dict())
