"""convert: any trained network becomes a SpikePack network, by whichever recipe takes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from spikingjelly.activation_based.ann2snn import Converter, ModuleConverter
from torch import nn

from ..spec.errors import ParameterError, ShapeError, SpikePackError, UnsupportedError
from ..spec.parameters import check_choice
from .report import ConversionReport
from .resume import stored_route
from .spikepack import SpikePackRecipe
from .time_steps import TimeSteps
from .tree import ModuleReport, SpikePackModuleRecipe

__all__ = ["ROUTES", "convert"]

ROUTES = ("auto", "fx", "module")
# What tracing a network that was not made for it can raise.
_UNTRACEABLE = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    IndexError,
    NameError,
    AssertionError,
)


def convert(
    model: nn.Module,
    dataloader: Iterable[Any],
    time_steps: TimeSteps = 8,
    *,
    calibrator: str = "mse",
    channel_wise: bool = False,
    rounding: str = "round_half_up",
    error_bound: float | None = None,
    improve: Sequence[str] = (),
    compare: Sequence[str] = (),
    strict: bool = False,
    extra_rules: Mapping[Any, Any] | None = None,
    share_calls: bool = False,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    route: str = "auto",
    device: Any = None,
    progress: bool = True,
    resume: str | os.PathLike[str] | None = None,
    resume_every: int = 10,
) -> nn.Module:
    """A trained network, unmodified, as a SpikePack network in packed form: called as the source.

    Networks that torch.fx traces and whose every operation has a rule there go through
    :class:`.SpikePackRecipe`; they have every form. All others go through :class:`.SpikePackModuleRecipe`:
    a node stands at each input of every synaptic operation, all else stays a function of decoded values;
    packed form only. ``.report`` says which, why, and what was done. The source is left as it was.

    Args:
        model: The source network.
        dataloader: Calibration batches: tensors, ``(inputs, targets)``, or dicts of keyword arguments.
        time_steps: T of every node, 1..16; or T by name, ``{"layer1.0.relu": 4, "*": T of the others}``, by
            names in ``report.layers``; or ``"auto"``: chosen under ``error_bound``.
        calibrator: ``"mse"``, ``"max"``, ``"percentile"``, a percentile such as ``"99.9%"``, or
            ``"divergence"`` (searches for the least divergence of the logits).
        channel_wise: One threshold per channel instead of one per tensor.
        rounding: ``"round_half_up"`` or ``"floor"``.
        error_bound: For ``time_steps="auto"``: largest relative error of the outputs on the calibration data,
            dimensionless. Such a search reads the data many times over.
        improve: Improvers, names from ``IMPROVERS``; ``"equalization"`` takes the FX route.
        compare: Modules whose outputs a search compares, see :class:`.SpikePackModuleRecipe`; takes the
            module route.
        strict: Refuse a result with a synaptic operation that spikes do not drive.
        extra_rules: ``{module type or function: "soma" or SynapseRule}``; takes the module route.
        share_calls: One node for all calls of an operation in a module; takes the module route.
        forward: ``forward(model, batch)`` where batches are passed otherwise; takes the module route.
        route: ``"auto"``, ``"fx"`` or ``"module"``.
        device: Where to calibrate and leave the result; None: where the network is.
        progress: Show a progress bar while calibrating.
        resume: File that keeps what calibration saw: a calibration that was stopped goes on from there when
            called again with the same network, settings and data. T may differ.
        resume_every: Batches between two writes of it.

    Returns:
        The network, with ``.report``: a ``torch.fx.GraphModule``, or a :class:`.SpikePackNetwork`.

    Raises:
        UnsupportedError: An operation has no rule, a layer saw no data, or ``strict`` is not met.
        DtypeError: The data is empty, or a value is not finite.
        ShapeError: The network does not take the data.
        ParameterError: A parameter is outside its range.
    """
    check_choice("convert", "route", route, ROUTES)
    if not isinstance(model, nn.Module):
        raise ParameterError(
            f"convert: model must be a torch.nn.Module, got {type(model).__name__}; pass the network itself."
        )
    common: dict[str, Any] = {
        "calibrator": calibrator, "channel_wise": channel_wise, "rounding": rounding, "progress": progress,
        "error_bound": error_bound, "improve": improve, "resume": resume, "resume_every": resume_every,
    }  # fmt: skip
    data = _Counted(dataloader)
    recipe = SpikePackModuleRecipe(
        data, time_steps, **common, extra_rules=extra_rules, share_calls=share_calls, forward=forward,
        strict=strict, compare=compare,
    )  # fmt: skip
    recipe.choices.check_data(dataloader)
    options = {"extra_rules": extra_rules, "share_calls": share_calls, "forward": forward, "compare": compare}
    asked = [name for name, value in options.items() if value]
    if route == "fx" and asked:
        raise ParameterError(
            f"convert: route='fx' must come without {', '.join(asked)}, got both; choose route='module'."
        )
    if route == "fx" or (route == "auto" and not asked and stored_route(resume) != "module"):
        network, reason = _by_fx(
            model, SpikePackRecipe(data, time_steps, **common), route, device, data, strict
        )
        if network is not None:
            return network
    elif route == "auto":
        reason = f"{', '.join(asked)} given" if asked else f"calibration continued from {resume}"
    else:
        reason = f"{', '.join(asked)} given" if asked else "asked for"
    converted = ModuleConverter(recipe, device=device).convert(model)
    report: Any = converted.report
    report.reason = reason
    return converted


def _by_fx(
    model: nn.Module, recipe: SpikePackRecipe, route: str, device: Any, data: _Counted, strict: bool
) -> tuple[nn.Module | None, str]:
    """The network of the FX route; or None, and why the module tree has to do."""
    try:
        network = Converter(recipe, device=device).convert(model)
        reason = "asked for" if route == "fx" else "every operation has a rule there"
        return _labelled(network, strict, reason), reason
    except (UnsupportedError, ShapeError, *_UNTRACEABLE) as error:
        if route == "fx" or not _another_way(error, data):
            raise
        path = recipe.resume.path
        if path is not None and stored_route(path) == "fx":
            path.unlink()  # that route leads nowhere, nobody can continue it
        return None, f"not by fx: {' '.join(str(error).split())[:300]}"


class _Counted:
    """Iterates over data and remembers whether it began."""

    def __init__(self, data: Iterable[Any]) -> None:
        self.data, self.begun = data, False

    def __iter__(self) -> Iterator[Any]:
        for item in self.data:
            self.begun = True
            yield item

    def __len__(self) -> int:
        return len(self.data) if hasattr(self.data, "__len__") else 0  # pyright: ignore[reportArgumentType]

    @property
    def exhausted(self) -> bool:
        """Whether a second pass would find less."""
        return self.begun and isinstance(self.data, Iterator)


def _another_way(error: Exception, data: Any) -> bool:
    """Whether the module tree may be tried after an error of the FX recipe."""
    if isinstance(error, SpikePackError) and not isinstance(error, (UnsupportedError, ShapeError)):
        return False
    if isinstance(data, _Counted) and data.exhausted:
        raise ParameterError(
            "convert: dataloader must be readable twice when the FX route gives up, got an iterator; pass a "
            "list or a DataLoader, or route='module'."
        ) from error
    return True


def _labelled(network: Any, strict: bool, reason: str) -> nn.Module:
    found: ConversionReport = network.report
    known = {field.name: getattr(found, field.name) for field in fields(found)}
    report = ModuleReport(**known, route="fx", reason=reason)
    network.meta["_user_preserved_attributes"]["report"] = report
    vars(network)["report"] = report
    if strict and report.analog:
        raise UnsupportedError(
            f"convert: strict=True needs every synaptic operation on spikes, got {report.coverage:.1%} with "
            f"{', '.join(report.analog[:5])} analog; leave out strict."
        )
    return network
