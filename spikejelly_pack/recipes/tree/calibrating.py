"""The calibrating pass: finds synapses, watches what they read, and lists everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...spec.errors import UnsupportedError
from ...spec.parameters import NeuronParameters
from ..calibration import Calibrator
from ..nested import tensors_in
from ..observer import Observer
from ..resume import State, observers_state, restore_observers
from .constants import Constants
from .rules import is_float
from .session import Session

__all__ = ["Calibrating", "Seen", "ValueObserver"]

_PIECE = 2**22
_SAMPLE = 2**16
#: Not worth a line in a report: they move values, ask about them or make constants.
LAYOUT = {
    "view", "reshape", "permute", "transpose", "flatten", "unflatten", "cat", "concat", "concatenate",
    "stack",
    "chunk", "split", "unbind", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "repeat_interleave",
    "contiguous", "clone", "detach", "to", "float", "half", "double", "type", "type_as", "size", "dim",
    "numel", "movedim", "moveaxis", "swapaxes", "narrow", "select", "index_select", "gather", "take", "t",
    "roll", "flip", "tril", "triu", "pad", "unfold", "fold", "pixel_shuffle", "pixel_unshuffle",
    "unsafe_chunk",
    "unsafe_split", "tensor_split", "view_as", "reshape_as", "masked_fill", "dropout", "copy", "fill", "zero",
    "channel_shuffle", "item", "tolist", "stride", "is_contiguous", "__len__", "__getitem__", "__setitem__",
    "masked_select", "where", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d", "nan_to_num",
    "dropout1d", "dropout2d", "dropout3d", "tensor", "zeros_like", "ones_like", "empty_like", "new_zeros",
    "new_full", "new_ones", "new_empty", "full_like", "embedding", "nms", "topk", "sort", "argsort",
    "max_pool2d_with_indices",
}  # fmt: skip
#: They commute with the charge: a synapse of fixed weights, or a current.
AFFINE = {
    "add", "sub", "__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "rsub", "neg", "mean", "sum",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "interpolate", "upsample", "batch_norm", "cumsum", "lerp",
}  # fmt: skip


class ValueObserver(Observer):
    """Observes values of any shape, with their channels on any axis, in pieces of bounded size.

    Args:
        path: Place and operand, for messages.
        calibrator: Collects the statistics.
        axis: Axis of the channels, negative, or None for one threshold.

    Attributes:
        silent: Whether only zeros were seen.
    """

    def __init__(self, path: str, calibrator: Calibrator, axis: int | None) -> None:
        super().__init__(path, calibrator, unsigned=False)
        self.axis = axis
        self.silent = True

    def facts(self) -> dict[str, Any]:
        """As in :class:`.Observer`."""
        return super().facts() | {"silent": self.silent}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """As in :class:`.Observer`."""
        super().restore(tensors, facts)
        self.silent = bool(facts["silent"])

    def watch(self, x: Tensor) -> None:
        """Take in one tensor."""
        if not x.numel():
            return
        self.silent = self.silent and not bool(x.any())
        rows = x.detach().reshape(-1)
        if self.axis is not None:
            rows = x.detach().movedim(self.axis, -1).flatten(0, -2)
        for piece in rows.split(max(1, _PIECE // rows[0].numel())):
            self(piece)
        kept = max(1, _SAMPLE // rows[0].numel())
        self.sample = rows[:: max(1, len(rows) // kept)].clone()

    def threshold(self, parameters: NeuronParameters) -> Tensor:
        """As in :class:`.Observer`; where all values were zero any threshold is right, it is 1."""
        if not self.seen:
            raise UnsupportedError(
                f"layer {self.path!r}: saw no calibration data, every batch was empty there; pass data that "
                "reaches this layer (a detector may need a lower score threshold)."
            )
        if self.silent:
            return torch.ones((), device=self.sample.device)
        return super().threshold(parameters)


@dataclass
class Seen:
    """What is known about one place."""

    kind: str
    observers: dict[str, ValueObserver] = field(default_factory=dict)
    weight: str | None = None
    constant: bool = True
    on_spikes: bool = True
    macs: int = 0
    batch: int = -1


class Calibrating(Session):
    """Watches the source network at work.

    Args:
        model: The network that will run.
        make_calibrator: ``make_calibrator(channel_wise)``.
        channel_wise: One threshold per channel where the consumer has channels.
        extra_rules: As in :class:`.Session`.
        share_calls: As in :class:`.Session`.
    """

    def __init__(
        self,
        model: nn.Module,
        make_calibrator: Callable[[bool], Calibrator],
        channel_wise: bool,
        extra_rules: dict[Any, Any],
        share_calls: bool,
    ) -> None:
        super().__init__(extra_rules, share_calls)
        self.make_calibrator, self.channel_wise = make_calibrator, channel_wise
        self.constants = Constants(model)
        self.sites: dict[str, Seen] = {}
        self.calls: dict[str, set[int]] = {}
        self.soma: dict[str, dict[str, None]] = {}
        self.affine: dict[str, dict[str, None]] = {}
        self.entered: set[str] = set()
        self.batch = -1
        #: Axis of the channels of every output that a correction may act on, by place.
        self.outputs: dict[str, int] = {}
        self.device: Any = None

    def run(self, model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Observe one batch."""
        self.batch += 1
        self.counts = Counter()
        self.constants.written.clear()
        output = super().run(model, args, kwargs)
        for site, count in self.counts.items():
            self.calls.setdefault(site, set()).add(count)
        return output

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.entered.add(path)
        return super().enter(path, module, args, kwargs)

    def code(self, place: str, operand: int | str, x: Any, axis: int | None) -> Any:
        """Observe an operand, unless it is constant."""
        site = self.sites.setdefault(place, Seen(""))
        if self.constants.holds(x):
            site.weight = site.weight or self.constants.names.get(id(x))
            return x
        site.constant = False
        if not is_float(x):
            site.on_spikes = False
            return x
        axis = axis if self.channel_wise else None
        observer = site.observers.get(str(operand))
        if observer is None:
            observer = ValueObserver(f"{place}:{operand}", self.make_calibrator(axis is not None), axis)
            site.observers[str(operand)] = observer
        observer.watch(x)
        return x

    def synapse_done(
        self, place: str, kind: str, inputs: list[Any], macs: Callable[[], int], analog: bool = False
    ) -> None:
        site = self.sites.setdefault(place, Seen(kind))
        site.kind = kind
        if analog:
            site.on_spikes = False
            site.constant = all(self.constants.holds(tensor) for tensor in tensors_in(inputs))
            weights = [
                self.constants.names[id(x)] for x in tensors_in(inputs) if id(x) in self.constants.names
            ]
            site.weight = next(iter(weights), None)
        if site.batch in (-1, self.batch) or not site.macs:
            site.macs += macs()
            site.batch = self.batch

    def corrected(self, place: str, output: Any, axis: int) -> Any:
        """Remember the place: unless its weight is made from the data, its mean is a bias' affair."""
        site = self.sites.get(place)
        if site is None or not (site.constant or "1" in site.observers):
            self.outputs[place] = axis
        return output

    def done(self, name: str, inputs: tuple[Any, Any], output: Any) -> None:
        self.constants.follow(name, inputs, output)
        if not name or name.startswith(".") or name in LAYOUT:
            return
        floats = [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]
        if floats and not all(self.constants.holds(tensor) for tensor in tensors_in(inputs)):
            (self.affine if name in AFFINE else self.soma).setdefault(name, {})[self.path] = None

    # -- what a stopped calibration keeps ---------------------------------------------------------------

    def _observers(self) -> dict[str, ValueObserver]:
        return {
            f"{place}:{o}": seen for place, site in self.sites.items() for o, seen in site.observers.items()
        }

    def state(self) -> State:
        """All that was seen so far."""
        tensors, observers = observers_state(self._observers())
        sites = {
            place: {name: value for name, value in vars(site).items() if name != "observers"}
            | {"axes": {operand: found.axis for operand, found in site.observers.items()}}
            for place, site in self.sites.items()
        }
        facts = {
            "observers": observers, "sites": sites, "batch": self.batch, "outputs": self.outputs,
            "calls": {site: sorted(counts) for site, counts in self.calls.items()},
            "entered": sorted(self.entered),
            "soma": {name: list(at) for name, at in self.soma.items()},
            "affine": {name: list(at) for name, at in self.affine.items()},
            # JSON objects are stored sorted; the order in which places ran counts
            "order": list(self.sites), "outputs_order": list(self.outputs),
        }  # fmt: skip
        return tensors, facts

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for place in facts["order"]:
            known = dict(facts["sites"][place])
            axes = known.pop("axes")
            self.sites[place] = Seen(**known)
            for operand, axis in axes.items():
                made = ValueObserver(f"{place}:{operand}", self.make_calibrator(axis is not None), axis)
                self.sites[place].observers[operand] = made
        restore_observers(self._observers(), tensors, facts["observers"], self.device)
        self.batch = int(facts["batch"])
        self.outputs = {place: facts["outputs"][place] for place in facts["outputs_order"]}
        self.calls = {site: set(counts) for site, counts in facts["calls"].items()}
        self.entered = set(facts["entered"])
        self.soma = {name: dict.fromkeys(at) for name, at in facts["soma"].items()}
        self.affine = {name: dict.fromkeys(at) for name, at in facts["affine"].items()}
