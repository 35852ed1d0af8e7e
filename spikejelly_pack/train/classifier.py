"""A spiking network as a function from inputs to logits, whatever its neuron and form."""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ..functional import decode_output
from ..layer import adapt
from ..neuron import SpikePackNode, set_form
from ..spec.errors import ParameterError, ShapeError, UnsupportedError
from .neurons import NeuronFactory

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """``[N, *]`` (windowed: ``[N, W, *]``) to logits ``[N, K]``; states are reset before every call.

    =============  ====================  ==============================  ==============================
    neuron         form                  what the body sees              logits
    =============  ====================  ==============================  ==============================
    SpikePack      packed (training)     ``[1, N, *]`` / ``[W, N, *]``   the mean over windows
    SpikePack      serial                each window repeated T times    ``decode_output``, then that
    other          step by step          T repetitions / W real steps    the mean over steps
    =============  ====================  ==============================  ==============================

    Real time steps of windowed data stay windows: the T digits of a code code one window's value.

    Args:
        body: Network in multi-step mode, ``[S, N, *]`` to ``[S, N, K]``.
        neuron: What its neurons were made by.
        windowed: Inputs carry real time steps.
        config: What :func:`.build_network` made it from.

    Raises:
        ParameterError: A SpikePack body has parts whose packed and serial forms would differ.
    """

    def __init__(
        self, body: nn.Module, neuron: NeuronFactory, *, windowed: bool, config: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.body, self.windowed = body, windowed
        self.is_spikepack, self.time_steps = neuron.is_spikepack, neuron.time_steps
        self.config: dict[str, Any] = config or {}
        #: Learned thresholds are to start from data (:func:`.fit_thresholds`): new, and none was given.
        self.fits_thresholds = neuron.is_spikepack and not neuron.gives_threshold
        self.register_load_state_dict_post_hook(_loaded)
        functional.set_step_mode(body, "m")
        if self.is_spikepack:
            found = adapt(body)
            if found.named:
                first = found.named[0]
                raise ParameterError(
                    f"train: every layer must have a packed and a serial form, got {first.name!r}: "
                    f"{first.reason}; {first.remedy}."
                )
            set_form(body, "packed")

    @property
    def form(self) -> str:
        """``"packed"`` or ``"serial"``; neurons other than SpikePack know the serial form only."""
        forms = {module.form for module in self.body.modules() if isinstance(module, SpikePackNode)}
        return forms.pop() if forms else "serial"

    def set_form(self, form: str) -> Classifier:
        """Switch a SpikePack network to ``"packed"`` or ``"serial"``, in place; returns it.

        Nodes of different time steps (a budget plan's) have windows of their own while they are packed. The
        serial form gives all the longest one (:func:`.adapt`); the weights absorb it, and the function stays.
        """
        functional.reset_net(self.body)
        if form == "serial" and self.is_spikepack:
            self.join_windows()
        set_form(self.body, form)
        return self

    def join_windows(self) -> None:
        """Give nodes of different windows the longest of them; files of the network remember it."""
        nodes = [module for module in self.body.modules() if isinstance(module, SpikePackNode)]
        windows = {node.window for node in nodes}
        if len(windows) > 1:
            adapt(self.body)
            self.config = {**self.config, "joined": True}
        self.time_steps = max(windows)

    def one_window(self) -> nn.Module:
        """The body for one window ``[N, *]`` in packed form: what integer conversion and export take.

        Of windowed data, :func:`.export` takes the windows of a sample one after the other (``windows=W``,
        examples ``[W, N, *]``), and nodes carry from one to the next where their leak is ``2^-k``. The class
        is the largest of the outputs summed over the windows.

        Returns:
            This network's own body, in step mode ``"s"`` from here on; a copy keeps both usable.

        Raises:
            UnsupportedError: Neurons have no codes.
        """
        if not self.is_spikepack:
            raise UnsupportedError(
                f"export: the neurons must be SpikePack's, got {self.config['neuron']['class_path']}; train "
                "the network with spikejelly_pack.neuron.SpikePackNode."
            )
        self.set_form("packed")
        functional.set_step_mode(self.body, "s")
        return self.body

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, K]``.

        Raises:
            ShapeError: The input has no batch and data axes.
        """
        if x.ndim < 2 + self.windowed:
            raise ShapeError(
                f"train: the input must be {'[N, W, *]' if self.windowed else '[N, *]'}, got shape "
                f"{tuple(x.shape)}; add the missing axes."
            )
        functional.reset_net(self.body)
        steps = x.transpose(0, 1) if self.windowed else x.unsqueeze(0)
        if self.is_spikepack:
            if self.form == "packed":
                return self.body(steps.contiguous()).mean(0)
            train = self.body(steps.repeat_interleave(self.time_steps, 0))
            return decode_output(train, self.time_steps, self._tau).mean(0)
        if not self.windowed:
            steps = steps.expand(self.time_steps, *x.shape)
        return self.body(steps.contiguous()).mean(0)

    @property
    def _tau(self) -> float:
        return next(module.params.tau for module in self.body.modules() if isinstance(module, SpikePackNode))


def _loaded(net: Any, _keys: Any) -> None:
    """Thresholds that come from a file stay."""
    net.fits_thresholds = False
