"""The converted network: the source's own code, with a node at every input of its synaptic operations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...neuron import SpikePackNode
from ...spec.errors import ExchangeFileError, ParameterError, UnsupportedError
from ...spec.reason import reason
from ..files import read_tensors, write_tensors
from ..moments import Moments
from .hooks import attach
from .places import Operand, Plan, module_name, node_name
from .rules import is_float
from .session import NORMALIZATION, Session

__all__ = ["Correction", "SpikePackNetwork", "ValueNode"]


class ValueNode(SpikePackNode):
    """A node that hands on ``theta * d(s)``; it has the packed form only."""

    @property
    def form(self) -> str:
        """Always ``"packed"``."""
        return self._form

    @form.setter
    def form(self, value: str) -> None:
        if value != "packed":
            raise UnsupportedError(
                f"SpikePackNetwork: form must be 'packed', got {value!r}; its normalisations and activations "
                "act on decoded values, so it has no step-by-step form: convert with route='fx' where the "
                "network allows it."
            )

    def supported_step_mode(self) -> tuple[str]:
        """Only ``"s"``: one window per call."""
        return ("s",)


class Correction(nn.Module):
    """``gain * y + shift`` per channel, in float64 until it is applied: what an improver found.

    Args:
        channels: C.
    """

    gain: Tensor
    shift: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(channels, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(channels, dtype=torch.float64))

    def then(self, gain: Tensor, shift: Tensor) -> None:
        """Correct what it put out so far once more."""
        self.gain, self.shift = self.gain * gain, self.shift * gain + shift

    def forward(self, output: Tensor, axis: int) -> Tensor:
        """Any shape with its channels on ``axis``."""
        shape = [1] * output.dim()
        shape[axis] = -1
        return output * self.gain.view(shape).to(output.dtype) + self.shift.view(shape).to(output.dtype)


class _Spiking(Session):
    """The pass that runs on spikes."""

    def __init__(self, network: SpikePackNetwork) -> None:
        super().__init__(network.extra_rules, network.plan.share_calls)
        self.network, self.plan, self.nodes = network, network.plan, network.nodes
        self.names = {id(p): name for name, p in network.model.named_parameters()}

    def code(self, place: str, operand: int | str, x: Any, axis: int | None) -> Any:
        """The operand as spikes, decoded."""
        known = self.plan.places.get(place)
        if known is None:
            raise self._changed(place)
        name = self.names.get(id(x))
        if known.weight is not None and name is not None and name != known.weight and not self.share_calls:
            raise UnsupportedError(
                f"layer {place!r}: must read the parameter {known.weight!r} as in calibration, got {name!r}: "
                "the control flow changed; give both branches layers of their own, or pass share_calls=True."
            )
        if str(operand) not in known.operands or self.network.transparent or not x.numel():
            return x
        if not is_float(x):
            raise UnsupportedError(
                f"layer {place!r}: operand {operand} must be floating point as in calibration, got "
                f"{x.dtype}; convert it first."
            )
        return self.nodes[node_name(place, operand)](x)

    def corrected(self, place: str, output: Any, axis: int) -> Any:
        """With the correction of this place, if it has one."""
        name = module_name(place)
        if name in self.network.corrections and not self.network.transparent:
            output = self.network.corrections[name](output, axis)
        if place in self.network.watched:
            self.network.watched[place].add(output, axis)
        return output

    def _changed(self, place: str) -> UnsupportedError:
        return UnsupportedError(
            f"layer {place!r}: this call saw no data in calibration, the control flow changed; calibrate "
            "with data that takes this path, or pass share_calls=True if the number of calls varies."
        )

    def check_calls(self) -> None:
        """A place that was called another number of times than in calibration has mixed up its nodes."""
        for site, count in self.counts.items():
            if not self.plan.corrections and site.endswith(f":{NORMALIZATION}"):
                continue  # nothing stands there
            seen = self.plan.calls.get(site, [])
            if count not in seen and not self.share_calls:
                raise UnsupportedError(
                    f"layer {site!r}: must be called {' or '.join(map(str, seen))} times per pass as in "
                    f"calibration, got {count}: the control flow changed; calibrate with such data too, or "
                    "pass share_calls=True."
                )


class SpikePackNetwork(nn.Module):
    """A converted network: call it as the source network.

    Args:
        model: A copy of the source, in evaluation mode; this network owns it.
        plan: Places and their nodes.
        extra_rules: As in :func:`.convert`.

    Attributes:
        model: The copy.
        nodes: One node per coded input, named ``path/of/module:operation`` with the number of the call
            and the operand.
        transparent: True lets values pass the nodes as they are; for comparison with the source.
        corrections: What improvers add to outputs, by place.
        watched: Moments of outputs to keep, by place.
        report: What conversion did, None after :meth:`load`.

    Shape:
        Those of the source network, for instance ``[N, C, H, W]`` to ``[N, classes]``.
    """

    plan_bytes: Tensor

    def __init__(self, model: nn.Module, plan: Plan, extra_rules: dict[Any, Any] | None = None) -> None:
        super().__init__()
        attach(model)
        self.model, self.extra_rules = model, dict(extra_rules or {})
        self.transparent = False
        self.report: Any = None
        self.nodes, self.corrections = nn.ModuleDict(), nn.ModuleDict()
        self.watched: dict[str, Moments] = {}
        self.plan = plan
        self.register_buffer("plan_bytes", plan.to_tensor())
        self._build_nodes()
        self.eval()

    def _build_nodes(self) -> None:
        self.nodes.clear()
        self.corrections.clear()
        for place, found in self.plan.places.items():
            for operand, about in found.operands.items():
                self.nodes[node_name(place, operand)] = _node(self.plan, about)
        for place, channels in self.plan.corrections.items():
            self.corrections[module_name(place)] = Correction(channels)

    def set_node(self, place: str, operand: str, time_steps: int, theta: Tensor) -> None:
        """Give a node its T and thresholds; :meth:`replan` when all are set."""
        about = self.plan.places[place].operands[operand]
        about.time_steps = time_steps
        node: Any = _node(self.plan, about).to(theta.device).train(self.training)
        with torch.no_grad():
            node.theta.copy_(theta.reshape(node.theta.shape))
        self.nodes[node_name(place, operand)] = node

    def correct(self, place: str, gain: Tensor, shift: Tensor) -> None:
        """Let a place put out ``gain * y + shift`` per channel; :meth:`replan` when all are set."""
        name = module_name(place)
        if name not in self.corrections:
            self.plan.corrections[place] = len(gain)
            self.corrections[name] = Correction(len(gain)).to(gain.device)
        correction: Any = self.corrections[name]
        correction.then(gain.double(), shift.double())

    def replan(self) -> None:
        """Bring the stored plan up to date."""
        steps = [about.time_steps for place in self.plan.places.values() for about in place.operands.values()]
        self.plan.time_steps = max(steps, default=self.plan.time_steps)
        self.plan_bytes = self.plan.to_tensor().to(self.plan_bytes.device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the source network.

        Raises:
            UnsupportedError: The control flow is not the one of calibration; the message names the place.
        """
        return self.run(lambda: self.model(*args, **kwargs))

    def run(self, call: Callable[[], Any]) -> Any:
        """Run code that calls ``model`` or parts of it, on spikes; errors as for :meth:`forward`."""
        session = _Spiking(self)
        output = session.run(call, (), {})
        session.check_calls()
        return output

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(prefix + "plan_bytes")
        if stored is not None and not torch.equal(stored.cpu(), self.plan_bytes.cpu()):
            device = self.plan_bytes.device
            self.plan = Plan.from_tensor(stored)
            self.plan_bytes = stored.detach().to(device).clone()
            self._build_nodes()
            self.nodes.to(device)
            self.corrections.to(device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, nodes and plan to a safetensors file; tied weights are written once each."""
        write_tensors(path, self.state_dict())

    @classmethod
    def load(
        cls, model: nn.Module, path: str | os.PathLike[str], extra_rules: dict[Any, Any] | None = None
    ) -> SpikePackNetwork:
        """Rebuild a saved network without calibration data.

        Args:
            model: The architecture, with any weights; it becomes part of the result.
            path: File of :meth:`save`.
            extra_rules: The rules it was converted with.

        Raises:
            ExchangeFileError: The file is no saved network, or its tensors do not fit ``model``.
        """
        try:
            tensors = read_tensors(path)
            plan = Plan.from_tensor(tensors["plan_bytes"])
            _check_sizes(plan, tensors)
            network = cls(model.eval(), plan, extra_rules)
            network.load_state_dict(tensors)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ExchangeFileError(
                f"{path}: must hold a converted network that fits {type(model).__name__}, got "
                f"{reason(error)}; pass the architecture it was saved from."
            ) from None
        return network


def _check_sizes(plan: Plan, tensors: dict[str, Any]) -> None:
    """Refuse a plan that asks for more numbers than the file holds, before memory is taken for them."""
    for place, found in plan.places.items():
        for operand, about in found.operands.items():
            held = tensors[f"nodes.{node_name(place, operand)}.theta"].numel()
            if about.thresholds != held:
                raise ValueError(f"{about.thresholds} thresholds for {held} in the file at {place!r}")
    for place, channels in plan.corrections.items():
        held = tensors[f"corrections.{module_name(place)}.gain"].numel()
        if channels != held:
            raise ValueError(f"{channels} corrected channels for {held} in the file at {place!r}")


def _node(plan: Plan, about: Operand) -> ValueNode:
    if about.thresholds < 1:
        raise ParameterError(
            f"SpikePackNetwork: a node must have at least one threshold, got {about.thresholds}; convert "
            "again."
        )
    theta = torch.ones(about.thresholds) if about.axis is not None else torch.ones(())
    return ValueNode(
        about.time_steps, v_threshold=theta, signed=about.signed, rounding=plan.rounding, scale_output=True,
        form="packed", channel_dim=1 if about.axis is None else about.axis,
    )  # fmt: skip
