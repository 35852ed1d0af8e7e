"""SpikePackRecipe: a trained ANN becomes a SpikePack network through SpikingJelly's own converter."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from spikingjelly.activation_based.ann2snn.recipes import FXConversionRecipe
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from tqdm import tqdm

from ..neuron import SpikePackNode
from ..spec.errors import DtypeError, ShapeError, UnsupportedError
from ..spec.parameters import NeuronParameters
from ..spec.reason import reason
from .batchnorm import fold_batchnorm, normalized_synapses
from .canonical import canonicalize
from .choices import Choices
from .coded_graph import CodedGraph, GraphSite
from .delays import balance_branches
from .graph import module_of, node_input
from .improve import IMPROVERS
from .observer import Observer
from .placement import RECTIFIERS, insert_observers
from .pooling import exact_max_pools, rectify_before_pooling
from .report import ConversionReport, NodeEntry, SynapseEntry
from .resume import Resume, State, observers_state, restore_observers
from .scales import fold_amplitudes
from .shapes import check_shapes, shapes_of
from .signals import SYNAPSES, TRANSPOSED, Kind, kinds_of
from .time_steps import TimeSteps
from .wrappers import check_plain

__all__ = ["SpikePackRecipe"]


class SpikePackRecipe(FXConversionRecipe):
    """Near-lossless conversion (arXiv 2501.14484): rectifiers become SpikePack nodes, synapses read spikes.

    Use it as ``ann2snn.Converter(SpikePackRecipe(loader, time_steps=8)).convert(ann)``. The result is a
    ``GraphModule`` in packed form (``[N, *]`` in and out) that :func:`.set_form` and SpikingJelly's
    ``functional.set_step_mode`` switch to spike trains; ``.report`` says what was done. The source
    network is left as it was.

    Args:
        dataloader: Calibration batches: a tensor, or a tuple, list or dict that holds one first.
        time_steps: T of every node, 1..16; or T per layer, ``{"path": T, ..., "*": T of the others}``, by the
            node's path or that of what it stands for in ``report.layers``; or ``"auto"``: chosen under
            ``error_bound``. The window of a network of different T is that of the longest code.
        calibrator: ``"mse"``, ``"max"``, ``"percentile"``, a percentile such as ``"99.9%"``, or
            ``"divergence"`` (of the logits; searches).
        channel_wise: One threshold per channel instead of one per tensor.
        rounding: ``"round_half_up"`` or ``"floor"``.
        encode_input: Put a node (signed if the data is) at the network's input as well; without it
            the first layer reads analog values.
        progress: Show a progress bar while calibrating.
        error_bound: For ``time_steps="auto"``: largest relative error of the outputs on the calibration data,
            dimensionless. Such a search reads the data many times over.
        improve: Improvers, names from ``IMPROVERS``: ``"equalization"``, ``"batchnorm"``,
            ``"bias_correction"``.
        resume: File that keeps what calibration saw: a calibration that was stopped goes on from there.
        resume_every: Batches between two writes of it.

    Raises:
        ParameterError: A parameter is outside its range.
        UnsupportedError: A layer has no rule (raised while converting; the message names it).
        DtypeError: The data is empty (while converting).
    """

    def __init__(
        self,
        dataloader: Iterable[Any],
        time_steps: TimeSteps = 8,
        *,
        calibrator: str = "mse",
        channel_wise: bool = True,
        rounding: str = "round_half_up",
        encode_input: bool = True,
        progress: bool = True,
        error_bound: float | None = None,
        improve: Sequence[str] = (),
        resume: str | os.PathLike[str] | None = None,
        resume_every: int = 10,
    ) -> None:
        self.dataloader = dataloader
        self.choices = Choices("SpikePackRecipe", time_steps, error_bound, calibrator, improve)
        self.parameters = NeuronParameters(time_steps=self.choices.window, rounding=rounding)
        self.channel_wise = bool(channel_wise)
        self.encode_input = bool(encode_input)
        self.progress = bool(progress)
        self.resume = Resume(resume, resume_every)

    # -- SpikingJelly's conversion steps ------------------------------------------------------------

    def validate(self, converter: Any) -> None:
        """Check what can be checked before tracing."""
        self.choices.check_data(self.dataloader)

    def before_trace(self, converter: Any, ann: nn.Module) -> nn.Module:
        """Convert a copy in evaluation mode: the source network stays untouched."""
        settings = {
            "calibrator": self.choices.calibrator, "channel_wise": self.channel_wise,
            "encode_input": self.encode_input,
            "prepared": [name for name in self.choices.improve if IMPROVERS[name].prepare is not None],
        }  # fmt: skip
        check_plain(ann)
        self.resume.belongs_to(ann, "fx", settings)
        copied = copy.deepcopy(ann).eval()
        try:
            fx.Tracer().trace(copied)
        except TraceError as error:
            raise UnsupportedError(
                "SpikePackRecipe: torch.fx must be able to trace the network, got: "
                f"{reason(error)}; "
                "move control flow that depends on the data out of forward."
            ) from None
        return copied

    def after_trace(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """One module per call site, BatchNorm folded, rectifiers before max-pooling."""
        inputs = [node.name for node in fx_model.graph.nodes if node.op == "placeholder" and node.users]
        if len(inputs) != 1:
            raise UnsupportedError(
                f"SpikePackRecipe: the network must have one input, got {inputs}; convert the part behind "
                "them."
            )
        self._report = ConversionReport(self.parameters.time_steps, self.choices.calibrator)
        self._window = self.parameters
        model = canonicalize(fx_model)
        self._normalized = normalized_synapses(model)
        self._report.folded_batchnorms = fold_batchnorm(model)
        rectify_before_pooling(model, RECTIFIERS)
        for name in self.choices.improve:
            if (prepare := IMPROVERS[name].prepare) is not None:
                prepare(model)
        return model

    def insert_observers(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Observers wherever a node will stand."""

        def make(path: str, unsigned: bool) -> Observer:
            return Observer(path, self.choices.make_calibrator(self.channel_wise), unsigned)

        modules = list(fx_model.modules())
        if not any(isinstance(module, (*RECTIFIERS, *SYNAPSES)) for module in modules):
            raise UnsupportedError(
                "SpikePackRecipe: the model must have a rectifier or a synaptic layer, got neither; "
                "there is nothing to convert."
            )
        insert_observers(fx_model, make, self.encode_input)
        return fx_model.to(converter.device)

    def calibrate(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Stream the calibration data through the observers."""
        self._shapes: dict[fx.Node, torch.Size] = {}
        shown = tqdm(self.dataloader, desc="calibrating", disable=not self.progress, leave=False)
        for data, fresh in self.resume.over(shown, _Observers(fx_model, converter.device)):
            batch = first_tensor(data).to(converter.device)
            if not batch.numel():
                continue
            if not self._shapes:
                self._shapes = _first_look(fx_model, batch[:1])
            if fresh:
                shapes_of(fx_model, batch, "SpikePackRecipe")
        if not self._shapes:
            raise DtypeError("SpikePackRecipe: the calibration data is empty; pass at least one batch.")
        self._decide(fx_model, converter.device)
        return fx_model

    def _decide(self, model: fx.GraphModule, device: Any) -> None:
        """Sites of the future nodes, with their T and thresholds."""
        at = [node for node in model.graph.nodes if isinstance(module_of(model, node), Observer)]
        self._sites = [
            GraphSite(model, node, self.parameters.time_steps, self.parameters.rounding) for node in at
        ]

        def batches() -> Iterable[Tensor]:
            return (x for x in (first_tensor(data).to(device) for data in self.dataloader) if x.numel())

        network = CodedGraph(model, self._sites, batches, self._normalized)
        window = self.choices.settle(network, self._report, self.progress)
        self._window = dataclasses.replace(self.parameters, time_steps=window)

    def replace(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Nodes for observers, amplitudes into the weights, delays into skip branches."""
        firing: dict[fx.Node, Tensor] = {}
        for site in self._sites:
            firing[site.node] = self._node_for(fx_model, site)
        exact_max_pools(fx_model, (SpikePackNode,), self._window)
        self._count_synapses(fx_model)
        fx_model.delete_all_unused_submodules()
        fold_amplitudes(fx_model, firing, self._shapes)
        balance_branches(fx_model, self._window)
        return fx_model.to(converter.device)

    def finalize(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Attach the report; copies and pickles of the network keep it."""
        kept = fx_model.meta.setdefault("_user_preserved_attributes", {})
        kept["report"] = self._report
        vars(fx_model)["report"] = self._report
        return fx_model.eval()

    # -- steps of replace ---------------------------------------------------------------------------

    def _node_for(self, model: fx.GraphModule, site: GraphSite) -> Tensor:
        """Put the SpikePack node in the observer's place; returns its amplitude."""
        node, parameters, theta = site.node, site.parameters, site.theta
        source = node_input(node)
        error, saturation = site.observer.coding_error(theta, parameters)
        spread = (float(theta.min()), float(theta.mean()), float(theta.max()))
        model.add_submodule(
            str(node.target),
            SpikePackNode(
                parameters.time_steps, v_threshold=theta, signed=parameters.signed,
                rounding=parameters.rounding, form="packed",
            ),
        )  # fmt: skip
        if isinstance(module_of(model, source), RECTIFIERS):
            node.args = source.args[:1]
            model.graph.erase_node(source)
        self._report.layers.append(
            NodeEntry(
                str(node.target), site.stands_for, parameters.time_steps, parameters.signed, theta.numel(),
                spread, error, saturation, site.cap,
            )
        )  # fmt: skip
        return theta

    def _count_synapses(self, model: fx.GraphModule) -> None:
        kinds = kinds_of(model, (SpikePackNode,))
        for node in model.graph.nodes:
            module = module_of(model, node)
            if not isinstance(module, SYNAPSES):
                continue
            source = node_input(node)
            counted = source if isinstance(module, TRANSPOSED) else node  # each meets one row of the weight
            macs = self._shapes[counted].numel() * module.weight.numel() // len(module.weight)
            on_spikes = kinds[source] in (Kind.SPIKES, Kind.POOLED)
            kind = type(module).__name__
            self._report.synapses.append(SynapseEntry(str(node.target), kind, macs, on_spikes))


class _Observers:
    """Those of a graph, as what a stopped calibration keeps."""

    def __init__(self, model: fx.GraphModule, device: Any) -> None:
        self.found = {name: module for name, module in model.named_modules() if isinstance(module, Observer)}
        self.device = device

    def state(self) -> State:
        return observers_state(self.found)

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        restore_observers(self.found, tensors, facts, self.device)


def first_tensor(data: Any, owner: str = "SpikePackRecipe") -> Tensor:
    """The input tensor of a calibration batch: the batch itself, or the first tensor in it.

    Raises:
        DtypeError: There is none, or it is not floating point.
        ShapeError: It is a scalar.
    """
    while isinstance(data, (tuple, list, dict)) and len(data):
        data = next(iter(data.values())) if isinstance(data, dict) else data[0]
    if not isinstance(data, Tensor) or not data.is_floating_point():
        got = data.dtype if isinstance(data, Tensor) else type(data).__name__
        raise DtypeError(
            f"{owner}: a batch must hold a floating point tensor first, got {got}; "
            "convert the data as the network takes it."
        )
    if not data.dim():
        raise ShapeError(f"{owner}: batches must be [N, *], got a scalar; add the batch axis.")
    return data


def _first_look(model: fx.GraphModule, sample: Tensor) -> dict[fx.Node, torch.Size]:
    """Shapes for one sample, checked, without observing it."""
    observers = [module for module in model.modules() if isinstance(module, Observer)]
    for observer in observers:
        observer.enabled = False
    shapes = shapes_of(model, sample, "SpikePackRecipe")
    for observer in observers:
        observer.enabled = True
    check_shapes(model, shapes)
    return shapes
