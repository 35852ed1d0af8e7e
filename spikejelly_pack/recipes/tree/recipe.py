"""SpikePackModuleRecipe: any network becomes a SpikePack network by SpikingJelly's module-tree converter."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spikingjelly.activation_based.ann2snn.recipes import ModuleConversionRecipe
from torch import nn
from tqdm import tqdm

from ...spec.errors import DtypeError, ParameterError, ShapeError, SpikePackError, UnsupportedError
from ...spec.parameters import NeuronParameters
from ..choices import Choices
from ..improve import IMPROVERS
from ..nested import tensors_in
from ..report import NodeEntry
from ..resume import Resume
from ..time_steps import TimeSteps
from .batches import inputs_of, placed
from .calibrating import Calibrating, Seen
from .coded import CodedTree, TreeSite
from .hooks import attach
from .network import SpikePackNetwork
from .places import Operand, Place, Plan, node_name
from .report import ModuleReport, SiteEntry
from .rules import check_extra_rules

__all__ = ["SpikePackModuleRecipe", "inputs_of"]

_LAYERS = (
    nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd,  # pyright: ignore[reportPrivateUsage]
    nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase,
)  # fmt: skip
_WRONG_INPUT = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


class SpikePackModuleRecipe(ModuleConversionRecipe):
    """A node (arXiv 2501.14484) at every input of every synaptic operation, whatever the code around it does.

    Use it as ``ann2snn.ModuleConverter(SpikePackModuleRecipe(loader, time_steps=8)).convert(ann)``. The
    result is a :class:`.SpikePackNetwork` in packed form, called as the source, which is left as it was.

    Args:
        dataloader: Calibration batches, see :func:`inputs_of`.
        time_steps: As in :class:`.SpikePackRecipe`; a node is named by ``path`` or ``stands_for`` in
            ``report.layers``, by the place before its operand, or by its module.
        calibrator: As in :class:`.SpikePackRecipe`.
        channel_wise: One threshold per channel at convolutions and linear layers. Statistics then take
            32 KiB per channel with histogram calibrators.
        rounding: ``"round_half_up"`` or ``"floor"``.
        error_bound: As in :class:`.SpikePackRecipe`.
        improve: ``"batchnorm"``, ``"bias_correction"``.
        compare: Modules whose outputs a search compares with the source's, where the network's own have
            another number of values each time (a detector's boxes); empty: the network's outputs.
        extra_rules: ``{module type or function: "soma" or SynapseRule}``, before the built-in rules.
        share_calls: One node for all calls of an operation in a module instead of one per call; for
            networks whose number of calls varies.
        forward: ``forward(model, batch)`` where a batch is not passed as :func:`inputs_of` says.
        strict: Refuse a result with a synaptic operation that spikes do not drive.
        progress: Show a progress bar while calibrating.
        resume: As in :class:`.SpikePackRecipe`.
        resume_every: As there.

    Raises:
        ParameterError: A parameter is outside its range.
        UnsupportedError, DtypeError, ShapeError: While converting, see :meth:`convert_module`.
    """

    def __init__(
        self,
        dataloader: Iterable[Any],
        time_steps: TimeSteps = 8,
        *,
        calibrator: str = "mse",
        channel_wise: bool = False,
        rounding: str = "round_half_up",
        error_bound: float | None = None,
        improve: Sequence[str] = (),
        compare: Sequence[str] = (),
        extra_rules: Mapping[Any, Any] | None = None,
        share_calls: bool = False,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        strict: bool = False,
        progress: bool = True,
        resume: str | os.PathLike[str] | None = None,
        resume_every: int = 10,
    ) -> None:
        self.dataloader = dataloader
        self.choices = Choices("SpikePackModuleRecipe", time_steps, error_bound, calibrator, improve)
        self.parameters = NeuronParameters(time_steps=self.choices.window, rounding=rounding)
        self.channel_wise, self.compare = bool(channel_wise), check_names("compare", compare)
        self.extra_rules = check_extra_rules(extra_rules)
        self.share_calls, self.forward = bool(share_calls), forward
        self.strict, self.progress = bool(strict), bool(progress)
        self.resume = Resume(resume, resume_every)

    def validate(self, converter: Any) -> None:
        """Check what can be checked before running.

        Raises:
            ParameterError: ``dataloader`` does not yield batches, or not as often as needed.
            UnsupportedError: An improver needs a graph.
        """
        self.choices.check_data(self.dataloader)
        if rewriting := [name for name in self.choices.improve if IMPROVERS[name].repair is None]:
            raise UnsupportedError(
                f"SpikePackModuleRecipe: improve must do without {rewriting}, which rewrites a graph that "
                "torch.fx traces and the module tree has none; leave it out, or use route='fx'."
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
        self.resume.belongs_to(ann, "module", self._settings)
        attach(model)
        session = Calibrating(
            model, self.choices.make_calibrator, self.channel_wise, self.extra_rules, self.share_calls
        )
        session.device = converter.device
        self._calibrate(session, model, converter.device)
        report = ModuleReport(self.parameters.time_steps, self.choices.calibrator)
        network = self._network(clean, session, report, converter.device)
        report.unused = _unused(model, session)
        network.report = report
        if self.strict and report.analog:
            raise UnsupportedError(
                f"convert: strict=True needs every synaptic operation on spikes, got {report.coverage:.1%} "
                f"with {', '.join(report.analog[:5])} analog; give them a rule by extra_rules=, or leave out "
                "strict."
            )
        return network

    @property
    def _settings(self) -> dict[str, Any]:
        """What the statistics depend on."""
        rules = {
            getattr(key, "__qualname__", str(key)): rule if isinstance(rule, str) else str(rule.operands)
            for key, rule in self.extra_rules.items()
        }
        return {
            "calibrator": self.choices.calibrator, "channel_wise": self.channel_wise, "extra_rules": rules,
            "share_calls": self.share_calls, "forward": getattr(self.forward, "__qualname__", None),
        }  # fmt: skip

    def _calibrate(self, session: Calibrating, model: nn.Module, device: Any) -> None:
        seen = 0
        data = tqdm(self.dataloader, desc="calibrating", disable=not self.progress, leave=False)
        for batch, fresh in self.resume.over(data, session):
            for one in placed([batch], device):
                if fresh:
                    self._observe(session, model, one)
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

    def _network(
        self, model: nn.Module, session: Calibrating, report: ModuleReport, device: Any
    ) -> SpikePackNetwork:
        """The network with its final nodes, and the report about it."""
        steps, rounding = self.parameters.time_steps, self.parameters.rounding
        sites = [
            TreeSite(place, operand, observer, steps, rounding)
            for place, seen in session.sites.items()
            for operand, observer in seen.observers.items()
        ]
        report.synapses.extend(
            _entry(place, seen) for place, seen in session.sites.items() if not seen.constant
        )
        if not report.synapses:
            raise UnsupportedError(
                "convert: the network must run a synaptic operation on its input, got none; there is nothing "
                "to convert."
            )
        network = SpikePackNetwork(model, _plan(session, sites, rounding), self.extra_rules)
        coded = CodedTree(
            network, sites, session, lambda: placed(self.dataloader, device), self._run, self.compare
        )
        self.choices.settle(coded, report, self.progress)
        coded.build()
        network.replan()
        report.layers.extend(map(_node_entry, sites))
        report.silent.extend(site.path for site in sites if site.observer.silent)
        report.soma = {name: list(at) for name, at in session.soma.items()}
        report.affine = {name: list(at) for name, at in session.affine.items()}
        return network.to(device)

    def _run(self, network: SpikePackNetwork, batch: Any) -> Any:
        if self.forward is not None:
            forward = self.forward
            return network.run(lambda: forward(network.model, batch))
        args, kwargs = inputs_of(batch)
        return network(*args, **kwargs)


def _plan(session: Calibrating, sites: list[TreeSite], rounding: str) -> Plan:
    plan = Plan(max((site.time_steps for site in sites), default=1), rounding, session.share_calls)
    plan.calls = {name: sorted(counts) for name, counts in session.calls.items()}
    plan.places = {place: Place({}, seen.weight) for place, seen in session.sites.items()}
    for site in sites:
        observer = site.observer
        plan.places[site.place].operands[site.operand] = Operand(
            observer.negative, site.theta.numel(), observer.axis, site.time_steps
        )
    return plan


def _node_entry(site: TreeSite) -> NodeEntry:
    theta = site.theta
    spread = (float(theta.min()), float(theta.mean()), float(theta.max()))
    error, saturated = site.observer.coding_error(theta, site.parameters)
    return NodeEntry(
        site.path, site.stands_for, site.time_steps, site.observer.negative, theta.numel(), spread, error,
        saturated,
    )  # fmt: skip


def check_names(parameter: str, names: Any) -> list[str]:
    """Names as a list.

    Raises:
        ParameterError: One string was given instead of several, or something else than strings.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ParameterError(
            f"SpikePackModuleRecipe: {parameter} must be a tuple of names, got {names!r}; write ('name',)."
        )
    return list(names)


def _entry(place: str, site: Seen) -> SiteEntry:
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
