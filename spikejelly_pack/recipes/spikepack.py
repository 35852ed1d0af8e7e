"""SpikePackRecipe: a trained ANN becomes a SpikePack network through SpikingJelly's own converter."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from spikingjelly.activation_based.ann2snn.recipes import FXConversionRecipe
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from tqdm import tqdm

from ..neuron import SpikePackNode
from ..spec.errors import DtypeError, ParameterError, UnsupportedError
from ..spec.parameters import NeuronParameters
from .batchnorm import fold_batchnorm
from .calibration import make_calibrator
from .canonical import canonicalize, module_of
from .observer import Observer
from .placement import RECTIFIERS, insert_observers
from .report import ConversionReport, NodeEntry, SynapseEntry
from .scales import fold_amplitudes
from .signals import SYNAPSES, Kind, kind_of, leading_synapses

__all__ = ["SpikePackRecipe"]


class SpikePackRecipe(FXConversionRecipe):  # type: ignore[misc]
    """Near-lossless conversion: every rectifier becomes a SpikePack node, every synapse reads spikes.

    Use it as ``ann2snn.Converter(SpikePackRecipe(loader, time_steps=8)).convert(ann)``. The result is a
    ``GraphModule`` in packed form (``[N, *]`` in and out) that :func:`.set_form` and SpikingJelly's
    ``functional.set_step_mode`` switch to spike trains; ``.report`` says what was done. The source
    network is left as it was.

    Args:
        dataloader: Calibration batches: a tensor, or a tuple, list or dict that holds one first.
        time_steps: T of every node, 1..16.
        calibrator: ``"mse"``, ``"max"``, ``"percentile"`` or a percentile such as ``"99.9%"``.
        channel_wise: One threshold per channel instead of one per tensor.
        rounding: ``"round_half_up"`` or ``"floor"``.
        encode_input: Put a node (signed if the data is) at the network's input as well; without it
            the first layer reads analog values.
        progress: Show a progress bar while calibrating.

    Raises:
        ParameterError: A parameter is outside its range.
        UnsupportedError: A layer has no rule (raised while converting; the message names it).
    """

    def __init__(
        self,
        dataloader: Iterable[Any],
        time_steps: int = 8,
        *,
        calibrator: str = "mse",
        channel_wise: bool = True,
        rounding: str = "round_half_up",
        encode_input: bool = True,
        progress: bool = True,
    ) -> None:
        self.dataloader = dataloader
        self.parameters = NeuronParameters(time_steps=time_steps, rounding=rounding)
        self.calibrator = calibrator
        self.channel_wise = bool(channel_wise)
        self.encode_input = bool(encode_input)
        self.progress = bool(progress)
        make_calibrator(calibrator, self.channel_wise)

    # -- SpikingJelly's conversion steps ------------------------------------------------------------

    def validate(self, converter: Any) -> None:
        """Check what can be checked before tracing."""
        if not isinstance(self.dataloader, Iterable):
            raise ParameterError(
                f"SpikePackRecipe: dataloader must be iterable, got {type(self.dataloader).__name__}; "
                "pass batches of calibration data."
            )

    def before_trace(self, converter: Any, ann: nn.Module) -> nn.Module:
        """Convert a copy: the source network stays untouched."""
        return copy.deepcopy(ann).eval()

    def after_trace(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """One module per call site, BatchNorm folded."""
        self._report = ConversionReport(self.parameters.time_steps, self.calibrator)
        model = canonicalize(fx_model)
        self._report.folded_batchnorms = fold_batchnorm(model)
        return model

    def insert_observers(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Observers wherever a node will stand."""

        def make(path: str, unsigned: bool) -> Observer:
            return Observer(path, make_calibrator(self.calibrator, self.channel_wise), unsigned)

        if not insert_observers(fx_model, make, self.encode_input):
            raise UnsupportedError(
                "SpikePackRecipe: the model must have a rectifier or a synaptic layer, got neither; "
                "there is nothing to convert."
            )
        return fx_model.to(converter.device)

    def calibrate(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Stream the calibration data through the observers."""
        batch = None
        for data in tqdm(self.dataloader, desc="calibrating", disable=not self.progress, leave=False):
            batch = first_tensor(data).to(converter.device)
            if not len(batch):
                continue
            fx_model(batch)
        if batch is None:
            raise DtypeError("SpikePackRecipe: the calibration data is empty; pass at least one batch.")
        self._shapes = _shapes(fx_model, batch[:1])
        return fx_model

    def replace(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Nodes for observers, amplitudes into the weights."""
        amplitudes: dict[fx.Node, Tensor] = {}
        for node in list(fx_model.graph.nodes):
            observer = module_of(fx_model, node)
            if isinstance(observer, Observer):
                amplitudes[node] = self._node_for(fx_model, node, observer)
        self._replace_max_pools(fx_model)
        fx_model.delete_all_unused_submodules()
        fold_amplitudes(fx_model, amplitudes, self._shapes)
        self._count_synapses(fx_model)
        return fx_model.to(converter.device)

    def finalize(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Attach the report."""
        fx_model.report = self._report
        return fx_model.eval()

    # -- steps of replace ---------------------------------------------------------------------------

    def _node_for(self, model: fx.GraphModule, node: fx.Node, observer: Observer) -> Tensor:
        """Put the SpikePack node in the observer's place; returns its amplitude."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        parameters = NeuronParameters(
            self.parameters.time_steps, signed=observer.negative, rounding=self.parameters.rounding
        )
        theta = observer.threshold(parameters)
        cap = module_of(model, source)
        if isinstance(cap, nn.ReLU6):
            theta = theta.clamp(max=6.0)
        error, saturation = observer.coding_error(theta, parameters)
        spread = (float(theta.min()), float(theta.mean()), float(theta.max()))
        model.add_submodule(
            str(node.target),
            SpikePackNode(
                parameters.time_steps, v_threshold=theta, signed=parameters.signed,
                rounding=parameters.rounding, form="packed",
            ),
        )  # fmt: skip
        stands_for = str(source.target)
        if isinstance(cap, RECTIFIERS):
            node.args = source.args[:1]
            model.graph.erase_node(source)
        self._report.layers.append(
            NodeEntry(
                str(node.target), stands_for, parameters.time_steps, parameters.signed, theta.numel(),
                spread, error, saturation,
            )
        )  # fmt: skip
        return theta

    def _replace_max_pools(self, model: fx.GraphModule) -> None:
        for node in model.graph.nodes:
            if isinstance(module_of(model, node), (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)):
                raise UnsupportedError(
                    f"layer {node.target!r}: max-pooling of spikes has no conversion rule yet; use average pooling."
                )

    def _count_synapses(self, model: fx.GraphModule) -> None:
        kinds: dict[fx.Node, Kind] = {}
        for node in model.graph.nodes:
            kinds[node] = Kind.VALUE if node.op == "output" else kind_of(model, node, kinds, (SpikePackNode,))
        for node in leading_synapses(model):
            module = module_of(model, node)
            assert isinstance(module, SYNAPSES)
            source = node.all_input_nodes[0]
            weight = module.weight
            outputs = (
                self._shapes[node].numel()
                if not isinstance(module, _TRANSPOSED)
                else self._shapes[source].numel()
            )
            macs = outputs * weight.numel() // weight.shape[0]
            self._report.synapses.append(
                SynapseEntry(str(node.target), type(module).__name__, macs, kinds[source] is not Kind.VALUE)
            )


_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def first_tensor(data: Any) -> Tensor:
    """The input tensor of a calibration batch: the batch itself, or the first tensor in it.

    Raises:
        DtypeError: There is none.
    """
    while isinstance(data, (tuple, list, dict)) and len(data):
        data = next(iter(data.values())) if isinstance(data, dict) else data[0]
    if not isinstance(data, Tensor):
        raise DtypeError(
            f"SpikePackRecipe: a calibration batch must hold a tensor first, got {type(data).__name__}."
        )
    return data


def _shapes(model: fx.GraphModule, batch: Tensor) -> dict[fx.Node, torch.Size]:
    ShapeProp(model).propagate(batch)
    return {
        node: node.meta["tensor_meta"].shape
        for node in model.graph.nodes
        if hasattr(node.meta.get("tensor_meta"), "shape")
    }
