"""SpikePackQuantizedRecipe: a network trained with b-bit activations becomes one with T = b time steps."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from spikingjelly.activation_based.ann2snn.recipes import FXConversionRecipe
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from tqdm import tqdm

from ..layer.scale_chain import SpikeAmplitude
from ..neuron import SpikePackNode
from ..spec.errors import DtypeError, ParameterError, UnsupportedError
from ..spec.parameters import NeuronParameters
from ..spec.reason import reason
from .canonical import canonicalize
from .delays import balance_branches
from .graph import module_of, node_input
from .placement import RECTIFIERS
from .pooling import rectify_before_pooling
from .quantized_passes import fold, place_nodes, place_sites, read_sites, refuse_real_functions
from .quantized_site import QuantizerSite
from .quantizers import QUANTIZERS, Reader
from .quantizers.exported import is_exported, layers_of_export
from .quantizers.prepare import plain_network
from .report import ConversionReport, NodeEntry, SynapseEntry
from .shapes import check_shapes, shapes_of
from .signals import SYNAPSES, TRANSPOSED, Kind, kinds_of
from .spikepack import first_tensor
from .windows import share_window
from .wrappers import check_plain

__all__ = ["QuantizedReport", "SpikePackQuantizedRecipe"]


@dataclass
class QuantizedReport(ConversionReport):
    """Report of a quantized conversion.

    Attributes:
        compared: Calibration values on which each node was compared with its quantizer, by path.
        ties: How many of them the node codes one step away: exact ties that the quantizer rounds to even.
    """

    compared: dict[str, int] = field(default_factory=dict)
    ties: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        total = sum(self.compared.values())
        differing = f"codes that differ from the quantizers': {sum(self.ties.values())} of {total}"
        return f"{super().__str__()}\n{differing}"


class SpikePackQuantizedRecipe(FXConversionRecipe):
    """Exact conversion of a quantized network: activation bits become time steps, nothing is calibrated.

    Every activation quantizer becomes a SpikePack node with as many digits as the quantizer has bits; the
    weights stay what they are (fake-quantized weights become plain ones). Use it as
    ``ann2snn.Converter(SpikePackQuantizedRecipe(loader)).convert(ann)``. Each node is compared with its
    quantizer on every value of the data: differences beyond ties that round to even are an error. Quantizers
    that are read: QCFS (arXiv 2303.04347), LSQ (arXiv 1902.08153) and those of torch.ao.

    Args:
        dataloader: Batches on which nodes and quantizers are compared: a tensor, or a tuple, list or dict
            that holds one first.
        extra_quantizers: Type of a quantizer module -> ``reader(path, module, nonnegative)`` that returns its
            :class:`.QuantizerSpec`; for modules that have no ``spikepack_quantizer`` method of their own.
        fold: Put scales into thresholds and weights, as the integer form needs it. Without it (default) the
            scales stay layers of their own and the packed form repeats the quantized network's floats.
        mixed_time_steps: Accept quantizers of different bits: every node then has its own T, in the window
            of the longest code.
        progress: Show a progress bar while comparing.

    Raises:
        ParameterError: A parameter is outside its range.
        UnsupportedError: A quantizer or layer has no exact form (raised while converting; names it).
        DtypeError: The data is empty (while converting).
    """

    def __init__(
        self,
        dataloader: Iterable[Any],
        *,
        extra_quantizers: Mapping[type, Reader] | None = None,
        fold: bool = False,
        mixed_time_steps: bool = False,
        progress: bool = True,
    ) -> None:
        self.dataloader = dataloader
        self.readers = {**QUANTIZERS, **(extra_quantizers or {})}
        for kind, reader in self.readers.items():
            if not isinstance(kind, type) or not callable(reader):
                raise ParameterError(
                    "SpikePackQuantizedRecipe: extra_quantizers must map a module type to a function, got "
                    f"{kind!r}: {reader!r}; pass {{MyQuantizer: my_reader}}."
                )
        self.fold = bool(fold)
        self.mixed_time_steps = bool(mixed_time_steps)
        self.progress = bool(progress)

    # -- SpikingJelly's conversion steps ------------------------------------------------------------

    def validate(self, converter: Any) -> None:
        """Check what can be checked before tracing."""
        data = self.dataloader
        if not isinstance(data, Iterable) or isinstance(data, (Tensor, str, dict)):
            raise ParameterError(
                f"SpikePackQuantizedRecipe: dataloader must yield batches, got {type(data).__name__}; "
                "pass a DataLoader or a list of batches."
            )

    def before_trace(self, converter: Any, ann: nn.Module) -> nn.Module:
        """Rewrite a copy in evaluation mode: plain layers, a marker in the place of each quantizer."""
        check_plain(ann)
        if is_exported(ann):
            assert isinstance(ann, fx.GraphModule)
            return layers_of_export(ann).eval()
        plain = plain_network(copy.deepcopy(ann).eval(), self.readers, self.fold).eval()
        try:
            fx.Tracer().trace(plain)
        except TraceError as error:
            raise UnsupportedError(
                "SpikePackQuantizedRecipe: torch.fx must be able to trace the network, got: "
                f"{reason(error)}; a quantizer it does not know is traced too, register it with "
                "extra_quantizers, and move control flow that depends on the data out of forward."
            ) from None
        return plain

    def after_trace(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """One module per call site, quantizers in front of max-pooling, rectifiers merged into them."""
        inputs = [node.name for node in fx_model.graph.nodes if node.op == "placeholder" and node.users]
        if len(inputs) != 1:
            raise UnsupportedError(
                f"SpikePackQuantizedRecipe: the network must have one input, got {inputs}; convert the part "
                "behind them."
            )
        place_sites(fx_model)
        model = canonicalize(fx_model)
        rectify_before_pooling(model, RECTIFIERS)
        rectify_before_pooling(model, (QuantizerSite,))
        read_sites(model, self.readers)
        return model

    def insert_observers(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """The quantizers observe themselves; check that they are there and fit together."""
        sites = [module for module in fx_model.modules() if isinstance(module, QuantizerSite)]
        if not sites:
            raise UnsupportedError(
                "SpikePackQuantizedRecipe: the model must have an activation quantizer, got none of "
                f"{sorted(kind.__name__ for kind in self.readers)} and no module with spikepack_quantizer; "
                "register yours with extra_quantizers, or use SpikePackRecipe."
            )
        steps = sorted({site.description.time_steps for site in sites})
        if len(steps) > 1 and not self.mixed_time_steps:
            raise UnsupportedError(
                f"SpikePackQuantizedRecipe: all quantizers must have the same bits, got T = {steps}; pass "
                "mixed_time_steps=True to run them in the window of the longest."
            )
        self._report = QuantizedReport(steps[-1], "quantizers")
        return fx_model.to(converter.device)

    def calibrate(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Compare every node with its quantizer on the data."""
        self._shapes: dict[fx.Node, torch.Size] = {}
        for data in tqdm(self.dataloader, desc="comparing", disable=not self.progress, leave=False):
            batch = first_tensor(data).to(converter.device)
            if batch.numel():
                shapes = shapes_of(fx_model, batch, "SpikePackQuantizedRecipe")
                if not self._shapes:
                    check_shapes(fx_model, shapes)
                    self._shapes = {node: torch.Size((1, *shape[1:])) for node, shape in shapes.items()}
        if not self._shapes:
            raise DtypeError(
                "SpikePackQuantizedRecipe: the calibration data is empty; pass at least one batch."
            )
        return fx_model

    def replace(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Nodes for quantizers, delays into skip branches."""
        placed = place_nodes(fx_model)
        refuse_real_functions(fx_model)
        for site, place in placed:
            self._enter(str(place.node.target), site)
        self._count_synapses(fx_model)
        if self.fold:
            fold(fx_model, [place for _, place in placed], self._shapes)
        else:
            share_window(fx_model)
        fx_model.delete_all_unused_submodules()
        balance_branches(fx_model, NeuronParameters(self._report.time_steps))
        return fx_model.to(converter.device)

    def finalize(self, converter: Any, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Attach the report; copies and pickles of the network keep it."""
        kept = fx_model.meta.setdefault("_user_preserved_attributes", {})
        kept["report"] = self._report
        vars(fx_model)["report"] = self._report
        return fx_model.eval()

    # -- the report ---------------------------------------------------------------------------------

    def _enter(self, path: str, site: QuantizerSite) -> None:
        spec = site.description
        theta = spec.step.double() * spec.max_code
        spread = (float(theta.min()), float(theta.mean()), float(theta.max()))
        entry = NodeEntry(
            path, site.path, spec.time_steps, spec.signed, theta.numel(), spread, site.error, site.saturation
        )
        self._report.layers.append(entry)
        self._report.compared[path], self._report.ties[path] = site.seen, site.different

    def _count_synapses(self, model: fx.GraphModule) -> None:
        kinds = kinds_of(model, (SpikePackNode, SpikeAmplitude))
        for node in model.graph.nodes:
            module = module_of(model, node)
            if not isinstance(module, SYNAPSES):
                continue
            source = node_input(node)
            counted = source if isinstance(module, TRANSPOSED) else node
            shape = self._shapes.get(counted) or self._shape_behind(model, counted)
            macs = shape.numel() * module.weight.numel() // len(module.weight)
            on_spikes = kinds[source] in (Kind.SPIKES, Kind.POOLED)
            self._report.synapses.append(
                SynapseEntry(str(node.target), type(module).__name__, macs, on_spikes)
            )

    def _shape_behind(self, model: fx.GraphModule, node: fx.Node) -> torch.Size:
        """Shape of an amplitude: that of the node or pool it scales."""
        while node not in self._shapes:
            node = node_input(node)
        return self._shapes[node]
