"""A neuron chosen by its class path, with the arguments that make every kind comparable."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from spikingjelly.activation_based import base

from ..neuron import SpikePackNode
from ..spec.errors import ParameterError
from ..spec.parameters import check_time_steps

__all__ = ["DEFAULTS", "SPIKEPACK", "NeuronFactory", "class_at"]

SPIKEPACK = "spikejelly_pack.neuron.SpikePackNode"
_ATAN = {"class_path": "spikingjelly.activation_based.surrogate.ATan"}
_RECURRENT = {"detach_reset": True, "surrogate_function": _ATAN}
#: Arguments by class name where the class's own defaults are not what the field trains with: the arctangent
#: surrogate and no gradient through the reset (SpikingJelly's training examples), learned thresholds.
DEFAULTS: dict[str, dict[str, Any]] = {
    "SpikePackNode": {"learnable_threshold": True},
    "IFNode": _RECURRENT,
    "LIFNode": _RECURRENT,
    "ParametricLIFNode": _RECURRENT,
    "KLIFNode": _RECURRENT,
    "ILIFNode": {"detach_reset": True},
}
#: Names under which a class takes the number of time steps.
_STEPS = ("time_steps", "T")
#: What an encoder has no use for: memory, and the threshold of a membrane that sums windows.
_BETWEEN_WINDOWS = ("leak", "carry", "v_threshold")


class NeuronFactory:
    """Makes neurons of one kind; what SpikingJelly's builders take as ``spiking_neuron=``.

    Arguments come, later over earlier, from :data:`DEFAULTS`, ``by_class``, the builder's call and
    ``init_args``; ``time_steps`` goes in where the class has ``time_steps`` or ``T``.

    Args:
        class_path: Import path of the class, e.g. ``spikejelly_pack.neuron.SpikePackNode`` or
            ``spikingjelly.activation_based.neuron.LIFNode``.
        init_args: Arguments of the class. A mapping with ``class_path`` (and ``init_args``) inside makes an
            object, a surrogate for instance.
        time_steps: T of a code, or the steps of a sequence for neurons without codes.
        by_class: Arguments by class name; those of other classes are not used, so that the class path alone
            can be changed.

    Raises:
        ParameterError: There is no such class, it is no neuron, or it refuses an argument.
    """

    def __init__(
        self,
        class_path: str = SPIKEPACK,
        init_args: Mapping[str, Any] | None = None,
        *,
        time_steps: int = 4,
        by_class: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.class_path = class_path
        self.kind = class_at(class_path, "neuron")
        name = self.kind.__name__
        if not issubclass(self.kind, base.StepModule | base.MemoryModule):
            raise ParameterError(
                f"neuron: class_path must be a spiking neuron of SpikingJelly's kind, got {class_path!r}; "
                f"choose {SPIKEPACK}, for example."
            )
        self.time_steps = check_time_steps(time_steps, "train")
        self.defaults = {**DEFAULTS.get(name, {}), **(by_class or {}).get(name, {})}
        self.init_args = dict(init_args or {})
        accepted = inspect.signature(self.kind).parameters
        self._accepted = set(accepted)
        unknown = sorted({*self.defaults, *self.init_args} - self._accepted)
        if unknown:
            raise ParameterError(
                f"neuron {name}: init_args must be among {', '.join(sorted(self._accepted))}, got "
                f"{', '.join(unknown)}; remove or correct it."
            )
        self()

    @property
    def is_spikepack(self) -> bool:
        """Whether the neurons are SpikePack's: codes of T digits, one pass per window."""
        return issubclass(self.kind, SpikePackNode)

    @property
    def gives_threshold(self) -> bool:
        """Whether somebody chose where thresholds start."""
        return "v_threshold" in {**self.defaults, **self.init_args}

    def __call__(self, **from_builder: Any) -> Any:
        """One new neuron in multi-step mode."""
        arguments = {
            **{name: self.time_steps for name in _STEPS if name in self._accepted},
            **self.defaults,
            **{name: value for name, value in from_builder.items() if name in self._accepted},
            **self.init_args,
        }
        arguments = {name: _made(value) for name, value in arguments.items()}
        if self.is_spikepack:
            arguments["form"] = "packed"
        try:
            node = self.kind(**arguments)
        except Exception as error:
            raise ParameterError(
                f"neuron {self.kind.__name__}: must accept {_told(arguments)}, got {type(error).__name__}: "
                f"{' '.join(str(error).split()) or 'no reason'}; correct neuron.init_args."
            ) from error
        node.step_mode = "m"
        return node

    def encoder(self) -> Any:
        """One that codes every window of an input for itself: without leak, its threshold starts at 1.

        Neurons without codes are made as always.
        """
        if not self.is_spikepack:
            return self()
        kept, defaults = (
            {name: value for name, value in given.items() if name not in _BETWEEN_WINDOWS}
            for given in (self.init_args, self.defaults)
        )
        by_class = {self.kind.__name__: defaults}
        return NeuronFactory(self.class_path, kept, time_steps=self.time_steps, by_class=by_class)()

    def config(self) -> dict[str, Any]:
        """What makes the same factory again, as JSON values."""
        return {
            "class_path": self.class_path,
            "init_args": self.init_args,
            "time_steps": self.time_steps,
            "by_class": {self.kind.__name__: self.defaults},
        }


def class_at(path: str, owner: str) -> Any:
    """The class at an import path.

    Raises:
        ParameterError: There is none.
    """
    place, _, name = str(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ParameterError(
            f"{owner}: class_path must be importable, got {path!r} ({error}); write it as "
            "package.module.Class."
        ) from None
    if not inspect.isclass(found):
        raise ParameterError(
            f"{owner}: class_path must name a class, got {path!r}, a {type(found).__name__}; write it as "
            "package.module.Class."
        )
    return found


def _made(value: Any) -> Any:
    """An argument, with mappings that hold a class path made into objects."""
    if not isinstance(value, Mapping) or "class_path" not in value:
        return value
    kind = class_at(value["class_path"], "neuron argument")
    return kind(**{name: _made(inner) for name, inner in (value.get("init_args") or {}).items()})


def _told(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
