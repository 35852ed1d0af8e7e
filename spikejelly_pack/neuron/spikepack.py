"""SpikePackNode: the equations of :mod:`spikejelly_pack.functional` behind SpikingJelly's neuron contract."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import surrogate
from spikingjelly.activation_based.neuron.base_node import BaseNode

from .. import functional, ops
from ..functional import SpikePackState
from ..spec.errors import DtypeError, ParameterError, ShapeError
from ..spec.parameters import NeuronParameters, check_choice
from .settings import FORMS, SettingsMixin
from .threshold import ThresholdMixin, ThresholdValue, check_integer, check_threshold

__all__ = ["SpikePackNode"]

NAN_POLICIES = ("propagate", "raise")


class SpikePackNode(ThresholdMixin, SettingsMixin, BaseNode):
    """Spiking neuron whose T-step spike train is a T-digit number (SpikePack, arXiv 2501.14484).

    Equations: :mod:`spikejelly_pack.spec.equations`; gradients: :mod:`spikejelly_pack.spec.gradients`.

    Forms and layouts (W windows of L time steps each; L = T unless ``window`` says otherwise):

    ========  =========  ==================  =====================================================
    form      step_mode  input and output    meaning
    ========  =========  ==================  =====================================================
    packed    ``"s"``    ``[N, *]``          one window: membranes in, decoded values out
    packed    ``"m"``    ``[W, N, *]``       W windows
    serial    ``"m"``    ``[L*W, N, *]``     currents in, spikes {0, 1} out (signed: {-1, 0, 1})
    serial    ``"s"``    ``[N, *]`` a step   pipelined: charges window w, emits the digits of w - 1
    ========  =========  ==================  =====================================================

    Args:
        time_steps: T, digits per code, 1..16.
        tau: Base of the digits, 1 < tau <= 2.
        v_threshold: Threshold theta > 0. A number stays a constant (no entry in ``state_dict``, as in
            SpikingJelly's neurons); a tensor or sequence ``[]`` or ``[C]`` becomes the buffer ``theta``.
        leak: Share of the carry the next window starts from, 0..1.
        carry: ``"residual"`` or ``"membrane"``.
        signed: Fire on the absolute value, spikes in {-1, 0, 1}.
        rounding: ``"round_half_up"`` or ``"floor"``.
        learnable_threshold: False, True, ``"tensor"`` or ``"channel"``. True means per channel when
            ``channels`` is given (or ``v_threshold`` has one value per channel), else per tensor. The
            parameter is ``theta`` with threshold ``max(|theta|, 2^-20)`` and LSQ gradient scale
            ``1 / sqrt(n * (2^T - 1))``, n the elements of one sample that share a threshold.
        channels: Number of channels for one threshold each; None with ``"channel"`` reads it off the
            first input (the parameter object stays the same; run one forward before DDP and copies).
        scale_output: Packed output ``theta * d(s)``. Serial spikes stay {0, 1}: fold theta into the
            consumers' weights.
        form: ``"packed"`` or ``"serial"``; see :func:`set_form`.
        step_mode: ``"s"`` or ``"m"``.
        provider: ``"auto"``, ``"torch"`` or ``"cupy"``; a named one never falls back.
        surrogate_function: Taken because SpikingJelly's builders pass it; the gradient is straight-through.
        detach_reset: Taken for the same reason; there is no gradient through the digits to detach.
        v_reset: Must be None: the reset is soft.
        store_v_seq: Keep the membrane after each soft reset in ``v_seq``.
        nan_policy: ``"propagate"``: NaN input gives NaN output, in serial form NaN for all T digits.
            ``"raise"``: NaN input raises :class:`DtypeError` (one more pass and a host synchronisation).
        channel_dim: Dimension of the channels in ``[N, *]``; -1 for channels last.
        window: L, time steps per window, T..16; None: T. All nodes of a network share the window of the
            longest code. A shorter code is right-aligned: its leading ``L - T`` digits are zero, so its train
            and its packed output (unless ``scale_output``) stand for ``d(s) Q_T / Q_L``; consumers absorb
            ``window_gain = Q_L / Q_T``, as converted networks do.

    Attributes:
        start_window: First window with data in single-step form, for nodes with leak behind other
            nodes: windows before it leave no carry. Default 0.

    Raises:
        ParameterError: A parameter is outside its range; the message names it.
    """

    def __init__(
        self,
        time_steps: int = 4,
        tau: float = 2.0,
        v_threshold: ThresholdValue = 1.0,
        *,
        leak: float = 0.0,
        carry: str = "residual",
        signed: bool = False,
        rounding: str = "round_half_up",
        learnable_threshold: bool | str = False,
        channels: int | None = None,
        scale_output: bool = False,
        form: str = "serial",
        step_mode: str = "s",
        provider: str = "auto",
        surrogate_function: Any = None,
        detach_reset: bool = True,
        v_reset: float | None = None,
        store_v_seq: bool = False,
        nan_policy: str = "propagate",
        channel_dim: int = 1,
        window: int | None = None,
    ) -> None:
        if v_reset is not None:
            raise ParameterError(
                f"SpikePackNode: v_reset must be None, got {v_reset!r}; the reset is soft (by subtraction)."
            )
        value = check_threshold(v_threshold)
        self._number = 1.0
        super().__init__(
            v_threshold=1.0,
            v_reset=None,
            surrogate_function=surrogate.Sigmoid() if surrogate_function is None else surrogate_function,
            detach_reset=bool(detach_reset),
            step_mode=step_mode,
            store_v_seq=bool(store_v_seq),
        )
        # Kept for those who look, but no child: print(net) must not show a surrogate that is never used.
        self.__dict__["surrogate_function"] = vars(self)["_modules"].pop(
            "surrogate_function", surrogate_function
        )
        for name, start in SpikePackState()._asdict().items():
            if name != "v":
                self.register_memory(name, start)
        self.params = NeuronParameters(time_steps, tau, leak, carry, signed, rounding, window)
        self.scale_output = bool(scale_output)
        self.provider = ops.check_provider(provider)
        self.nan_policy = check_choice("SpikePackNode", "nan_policy", nan_policy, NAN_POLICIES)
        self.channel_dim = check_integer("channel_dim", channel_dim, None)
        self.channels = None if channels is None else check_integer("channels", channels, 1)
        self.start_window = 0
        self._form = check_choice("SpikePackNode", "form", form, FORMS)
        self._init_threshold(value, learnable_threshold)

    # -- forward ------------------------------------------------------------------------------------

    def encode(self, u: torch.Tensor) -> torch.Tensor:
        """Integer codes of membranes ``U`` ``[N, *]`` as if no carry came in (uint8 / uint16, signed wider).

        Raises:
            DtypeError: ``u`` is not floating point or holds NaN.
        """
        return functional.spikepack_code(u, self._theta_for(u, 0), self.params)

    def materialize_states(
        self, inputs: tuple[Any, ...], states: tuple[Any, ...], step_mode: str
    ) -> tuple[Any, ...]:
        """Check the input against the state and move the state to its device and dtype.

        Raises:
            DtypeError: The input is not floating point, or holds NaN with ``nan_policy="raise"``.
            ShapeError: The shape changed although the state still holds another one.
        """
        x: Any = inputs[0]
        # Not isinstance: a tracer's stand-in for a tensor has to get through.
        if not hasattr(x, "is_floating_point") or not x.is_floating_point():
            found = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
            raise DtypeError(
                f"SpikePackNode: the input must be a floating point tensor, got {found}; convert it first."
            )
        if self.nan_policy == "raise":
            _raise_on_nan(x)
        if step_mode == "m" and x.ndim < 1:
            raise ShapeError(
                "SpikePackNode: the input must be [T, N, *] in multi-step mode, got a scalar; add an axis."
            )
        shape = x.shape[1:] if step_mode == "m" else x.shape
        state = SpikePackState(*states)
        if self.form == "packed" or step_mode == "m":
            # v is an output there, not a state.
            state = state._replace(v=0.0)
        dtype = ops.compute_dtype(x.dtype)
        placed = []
        for value in state:
            if isinstance(value, torch.Tensor):
                if value.shape != shape:
                    raise ShapeError(
                        f"SpikePackNode: the input's shape must not change while a state is kept, got "
                        f"{tuple(shape)} after {tuple(value.shape)}; call reset_net first."
                    )
                value = value.to(device=x.device, dtype=dtype)
            placed.append(value)
        return tuple(placed)

    def single_step_functional_forward(
        self, inputs: tuple[torch.Tensor, ...], states: tuple[Any, ...], **_: Any
    ) -> tuple[tuple[torch.Tensor, ...], tuple[Any, ...]]:
        """One call in step mode ``"s"``: a time step (serial) or a window (packed), states explicit."""
        x, state = inputs[0], SpikePackState(*states)
        theta = self._theta_for(x, 0)
        if self.form == "packed":
            out, carry, start = functional.spikepack_packed(
                x, state.carry, theta, self.params, scale_output=self.scale_output, provider=self.provider
            )
            v = self._residual(start, theta) if self._wants_v else state.v
            return (out,), tuple(state._replace(v=v, carry=carry))
        out, state = functional.spikepack_step(
            x, state, theta, self.params, start_window=self.start_window, provider=self.provider
        )
        return (out,), tuple(state)

    def multi_step_functional_forward(
        self, inputs: tuple[torch.Tensor, ...], states: tuple[Any, ...], **_: Any
    ) -> tuple[tuple[torch.Tensor, ...], tuple[Any, ...]]:
        """One call in step mode ``"m"``: W windows, states explicit."""
        out, state, _theta, _start = self._sequence(inputs[0], SpikePackState(*states))
        return (out,), tuple(state)

    def _sequence(
        self, x_seq: torch.Tensor, state: SpikePackState
    ) -> tuple[torch.Tensor, SpikePackState, torch.Tensor, torch.Tensor]:
        """Output and new state of W windows, with the threshold and the membranes ``v_0``."""
        theta = self._theta_for(x_seq, 1)
        if self.form == "serial":
            out, carry, start = functional.spikepack_multi_step(
                x_seq, state.carry, theta, self.params, provider=self.provider
            )
        else:
            out, carry, start = functional.spikepack_windows(
                x_seq, state.carry, theta, self.params, scale_output=self.scale_output, provider=self.provider
            )
        if start.shape[0] and (self._wants_v or self.form == "serial"):
            state = state._replace(v=self._residual(start[-1], theta))
        return out, state._replace(carry=carry), theta, start

    def _residual(self, start: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return functional.residual_membrane(start, theta, self.params, provider=self.provider)

    @property
    def _wants_v(self) -> bool:
        # Without leak the packed form is stateless; keeping v there would cost a tensor per node.
        return self.store_v_seq or self.params.leak > 0.0

    def multi_step_forward(self, x_seq: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        """W windows in one call; with ``store_v_seq`` the membranes after each soft reset go to ``v_seq``."""
        states = self.materialize_states((x_seq,), tuple(self._memories.values()), "m")
        out, state, theta, start = self._sequence(x_seq, SpikePackState(*states))
        self._memories.update(state._asdict())
        if self.store_v_seq:
            serial = self.form == "serial"
            self.v_seq = (
                functional.membrane_sequence(start, theta, self.params)
                if serial
                else self._residual(start, theta)
            )
        return out


def _raise_on_nan(x: torch.Tensor) -> None:
    text = (
        "SpikePackNode: the input must not hold NaN with nan_policy='raise', got NaN; mend the layer before "
        "it or choose nan_policy='propagate'."
    )
    if torch.compiler.is_compiling():
        torch.ops.aten._assert_async.msg(~x.isnan().any(), text)
    elif bool(x.isnan().any()):
        raise DtypeError(text)
