"""SpikePackModuleRecipe: any network becomes a SpikePack network by SpikingJelly's module-tree converter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from spikingjelly.activation_based.ann2snn.recipes import ModuleConversionRecipe
from torch import Tensor, nn
from tqdm import tqdm

from ...spec.errors import DtypeError, ParameterError, ShapeError, SpikePackError, UnsupportedError
from ...spec.parameters import NeuronParameters
from ..calibration import make_calibrator
from ..report import NodeEntry
from .calibrating import Calibrating, Site
from .constants import tensors_in
from .network import SpikePackNetwork
from .places import Operand, Place, Plan, node_name
from .report import ModuleReport, SiteEntry
from .rules import check_extra_rules
from .session import attach

__all__ = ["SpikePackModuleRecipe", "inputs_of"]

_LAYERS = (
    nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase,
)  # fmt: skip
_WRONG_INPUT = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


def inputs_of(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a calibration batch is passed: a tensor as it is, a dict by keyword, of a tuple or list the first.

    ``(inputs, targets)`` is what data loaders yield; ``inputs`` may itself be a list of images.
    """
    if isinstance(batch, (tuple, list)) and len(batch):
        batch = batch[0]
    return ((), dict(batch)) if isinstance(batch, Mapping) else ((batch,), {})


class SpikePackModuleRecipe(ModuleConversionRecipe):
    """A node at every input of every synaptic operation, whatever the code around it does.

    Use it as ``ann2snn.ModuleConverter(SpikePackModuleRecipe(loader, time_steps=8)).convert(ann)``. The
    result is a :class:`.SpikePackNetwork` in packed form, called as the source, which is left as it was.

    Args:
        dataloader: Calibration batches, see :func:`inputs_of`.
        time_steps: T of every node, 1..16.
        calibrator: As in :class:`.SpikePackRecipe`.
        channel_wise: One threshold per channel at convolutions and linear layers. Statistics then take
            32 KiB per channel with histogram calibrators.
        rounding: ``"round_half_up"`` or ``"floor"``.
        extra_rules: ``{module type or function: "soma" or SynapseRule}``, before the built-in rules.
        share_calls: One node for all calls of an operation in a module instead of one per call; for
            networks whose number of calls varies.
        forward: ``forward(model, batch)`` where a batch is not passed as :func:`inputs_of` says.
        strict: Refuse a result with a synaptic operation that spikes do not drive.
        progress: Show a progress bar while calibrating.

    Raises:
        ParameterError: A parameter is outside its range.
    """

    def __init__(
        self,
        dataloader: Iterable[Any],
        time_steps: int = 8,
        *,
        calibrator: str = "mse",
        channel_wise: bool = False,
        rounding: str = "round_half_up",
        extra_rules: Mapping[Any, Any] | None = None,
        share_calls: bool = False,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        strict: bool = False,
        progress: bool = True,
    ) -> None:
        self.dataloader = dataloader
        self.parameters = NeuronParameters(time_steps=time_steps, rounding=rounding)
        make_calibrator(calibrator, channel_wise=False)
        self.calibrator, self.channel_wise = calibrator, bool(channel_wise)
        self.extra_rules = check_extra_rules(extra_rules)
        self.share_calls, self.forward = bool(share_calls), forward
        self.strict, self.progress = bool(strict), bool(progress)

    def validate(self, converter: Any) -> None:
        """Check what can be checked before running.

        Raises:
            ParameterError: ``dataloader`` does not yield batches.
        """
        data = self.dataloader
        if not isinstance(data, Iterable) or isinstance(data, (Tensor, str, dict)):
            raise ParameterError(
                f"SpikePackModuleRecipe: dataloader must yield batches, got {type(data).__name__}; "
                "pass a DataLoader or a list of batches."
            )

    def convert_module(self, converter: Any, ann: nn.Module) -> nn.Module:
        """Calibrate a copy, then build the network around another.

        Raises:
            UnsupportedError: An operation has no rule, a layer saw no data, or ``strict`` is not met.
            DtypeError: The data is empty, or a value is not finite.
            ShapeError: The network does not take the data.
        """
        model = copy.deepcopy(ann).eval().to(converter.device)
        # calibration may change buffers and attributes, not parameters
        clean = copy.deepcopy(model, {id(p): p for p in model.parameters()})
        attach(model)
        session = Calibrating(model, self.calibrator, self.channel_wise, self.extra_rules, self.share_calls)
        self._calibrate(session, model, converter.device)
        report = ModuleReport(self.parameters.time_steps, self.calibrator)
        network = self._network(clean, session, report)
        report.soma = {name: list(at) for name, at in session.soma.items()}
        report.affine = {name: list(at) for name, at in session.affine.items()}
        report.unused = _unused(model, session)
        network.report = report
        if self.strict and report.analog:
            raise UnsupportedError(
                f"convert: strict=True needs every synaptic operation on spikes, got {report.coverage:.1%} "
                f"with {', '.join(report.analog[:5])} analog; give them a rule by extra_rules=, or leave out "
                "strict."
            )
        return network

    def _calibrate(self, session: Calibrating, model: nn.Module, device: Any) -> None:
        seen = 0
        for batch in tqdm(self.dataloader, desc="calibrating", disable=not self.progress, leave=False):
            placed = _to(batch, device)
            first = next(tensors_in(placed), None)
            if first is None:
                raise DtypeError(
                    f"convert: a calibration batch must hold a tensor, got {type(batch).__name__} without "
                    "one; pass batches as the network takes them."
                )
            if first.numel():
                self._observe(session, model, placed)
                seen += 1
        if not seen:
            raise DtypeError("convert: the calibration data is empty; pass at least one batch.")

    def _observe(self, session: Calibrating, model: nn.Module, batch: Any) -> None:
        try:
            if self.forward is not None:
                forward = self.forward
                session.run(lambda: forward(model, batch), (), {})
            else:
                session.run(model, *inputs_of(batch))
        except SpikePackError:
            raise
        except _WRONG_INPUT as error:
            reason = " ".join((str(error).strip() or type(error).__name__).split())[:300].rstrip(".")
            shapes = [tuple(tensor.shape) for tensor in tensors_in(batch)][:4]
            raise ShapeError(
                f"convert: the network must accept its calibration batches, got shapes {shapes}, in layer "
                f"{session.path!r}: {reason}; pass batches as the network takes them, or say how by forward=."
            ) from error

    def _network(self, model: nn.Module, session: Calibrating, report: ModuleReport) -> SpikePackNetwork:
        steps, rounding = self.parameters.time_steps, self.parameters.rounding
        plan = Plan(steps, rounding, self.share_calls)
        plan.calls = {site: sorted(counts) for site, counts in session.calls.items()}
        thresholds: dict[str, Tensor] = {}
        for place, site in session.sites.items():
            plan.places[place] = Place({}, site.weight)
            for operand, observer in site.observers.items():
                parameters = NeuronParameters(steps, signed=observer.negative, rounding=rounding)
                theta = observer.threshold(parameters)
                axis = observer.axis
                plan.places[place].operands[operand] = Operand(observer.negative, theta.numel(), axis)
                name = node_name(place, operand)
                thresholds[name] = theta
                spread = (float(theta.min()), float(theta.mean()), float(theta.max()))
                error, saturated = observer.coding_error(theta, parameters)
                report.layers.append(
                    NodeEntry(
                        f"nodes.{name}", f"{place}:{operand}", steps, observer.negative, theta.numel(),
                        spread, error, saturated,
                    )
                )  # fmt: skip
                if observer.silent:
                    report.silent.append(f"nodes.{name}")
            if not site.constant:
                report.synapses.append(_entry(place, site))
        if not report.synapses:
            raise UnsupportedError(
                "convert: the network must run a synaptic operation on its input, got none; there is nothing "
                "to convert."
            )
        network = SpikePackNetwork(model, plan, self.extra_rules)
        with torch.no_grad():
            for name, theta in thresholds.items():
                stored: Any = network.nodes[name].theta
                stored.copy_(theta.reshape(stored.shape))
        return network


def _entry(place: str, site: Site) -> SiteEntry:
    nodes = tuple(f"nodes.{node_name(place, operand)}" for operand in site.observers)
    return SiteEntry(place, site.kind, site.macs, site.on_spikes, nodes, site.weight)


def _unused(model: nn.Module, session: Calibrating) -> list[str]:
    read = {site.weight for site in session.sites.values()}
    names = session.constants.names
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, _LAYERS)
        and path not in session.entered
        and not any(names.get(id(p)) in read for p in module.parameters())
    ]


def _to(batch: Any, device: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, (tuple, list)):
        moved = [_to(part, device) for part in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    if isinstance(batch, dict):
        return {key: _to(part, device) for key, part in batch.items()}
    return batch
