"""The threshold of a node: a constant, a calibrated buffer or a learned parameter."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .. import ops
from ..spec.errors import ParameterError, ShapeError
from ..spec.parameters import NeuronParameters

__all__ = [
    "MIN_THRESHOLD",
    "ThresholdMixin",
    "ThresholdValue",
    "check_integer",
    "check_threshold",
    "positive",
]

LEARNABLE = (False, True, "tensor", "channel")

ThresholdValue = float | Sequence[float] | torch.Tensor

# Smallest threshold a learned one can reach; its LSB at T = 16 is still a normal float32 number.
MIN_THRESHOLD = 2.0**-20


def check_integer(name: str, value: Any, low: int | None) -> int:
    """Return ``value`` as an ``int`` not below ``low``, or raise :class:`ParameterError` naming it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or (low is not None and number < low):
        bound = "" if low is None else f" >= {low}"
        raise ParameterError(
            f"SpikePackNode: {name} must be an integer{bound}, got {value!r}; pass a whole number."
        )
    return number


def check_threshold(value: Any, owner: str = "SpikePackNode") -> float | torch.Tensor:
    """Return a positive finite number, or a tensor ``[]`` or ``[C]`` of such.

    Raises:
        ParameterError: Another type or shape, or a value that is not positive and finite.
    """
    remedy = "pass a positive number or one per channel"
    if isinstance(value, torch.Tensor | list | tuple):
        tensor = _floats(value)
        if tensor is None:
            raise ParameterError(f"{owner}: v_threshold must be a number or [C], got {value!r}; {remedy}.")
        if tensor.ndim > 1 or tensor.numel() == 0:
            raise ParameterError(
                f"{owner}: v_threshold must be a number or [C], got shape {tuple(tensor.shape)}; {remedy}."
            )
        if not bool(((tensor > 0) & tensor.isfinite()).all()):
            raise ParameterError(
                f"{owner}: v_threshold must be positive and finite, got {tensor.tolist()}; {remedy}."
            )
        return tensor
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not (math.isfinite(number) and number > 0):
        raise ParameterError(f"{owner}: v_threshold must be positive and finite, got {value!r}; {remedy}.")
    return number


def _floats(value: Any) -> torch.Tensor | None:
    """A floating point tensor of its own with the same values; None where they are no real numbers."""
    try:
        tensor = torch.as_tensor(value).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        return None
    if tensor.is_complex():
        return None
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def positive(raw: torch.Tensor) -> torch.Tensor:
    """``theta = max(|raw|, MIN_THRESHOLD)``, the positive parametrisation of a learned threshold.

    Exact at any starting value (softplus or exp would round it away from a tie); its gradient is the
    sign of ``raw``, also where the floor holds, so that a threshold can leave the floor again.
    """
    magnitude = torch.where(raw < 0, -raw, raw)
    floored = magnitude.detach()
    return magnitude + (floored.clamp_min(MIN_THRESHOLD) - floored)


def make_store(
    value: float | torch.Tensor, learnable: bool, per_channel: bool, channels: int | None
) -> torch.Tensor | nn.Parameter | None:
    """What a node stores: None for a plain number, a tensor for a buffer, a Parameter if learned."""
    tensor = value if isinstance(value, torch.Tensor) else None
    if tensor is None and (learnable or per_channel):
        tensor = torch.tensor(value, dtype=torch.get_default_dtype())
    if tensor is None:
        return None
    if per_channel and tensor.ndim == 0:
        # One entry until the first forward shows the number of channels.
        tensor = tensor.repeat(channels or 1)
    return nn.Parameter(tensor) if learnable else tensor


def _check_outside_ddp() -> None:
    """DistributedDataParallel takes the shapes of all parameters when it wraps a network."""
    if getattr(nn.parallel.DistributedDataParallel, "_active_ddp_module", None) is not None:
        raise ShapeError(
            "SpikePackNode: a threshold per channel must know its channels before DistributedDataParallel "
            "wraps the network, got channels=None and the first input inside it; run one forward before "
            "wrapping, or build the node with channels."
        )


class ThresholdMixin(nn.Module):
    """Holds ``theta`` (None, buffer or parameter) and shapes it for an input; no equations."""

    params: NeuronParameters
    channels: int | None
    channel_dim: int
    theta: Any
    _number: float

    def _init_threshold(self, value: float | torch.Tensor, learnable: bool | str) -> None:
        if not isinstance(learnable, bool | str) or learnable not in LEARNABLE:
            raise ParameterError(
                "SpikePackNode: learnable_threshold must be False, True, 'tensor' or 'channel', "
                f"got {learnable!r}; choose one of these."
            )
        if isinstance(value, torch.Tensor) and value.ndim == 1:
            size = value.shape[0]
            if self.channels not in (None, size):
                raise ParameterError(
                    f"SpikePackNode: channels must be {size} as v_threshold has values, got {self.channels}; "
                    "leave channels out."
                )
            self.channels = size
        self.per_channel = learnable != "tensor" and (learnable == "channel" or self.channels is not None)
        if not self.per_channel and self.channels is not None:
            raise ParameterError(
                f"SpikePackNode: channels must be None for one learned threshold, got {self.channels}; "
                "use learnable_threshold='channel'."
            )
        self.learnable_threshold = learnable
        store = make_store(value, bool(learnable), self.per_channel, self.channels)
        if isinstance(store, nn.Parameter):
            self.register_parameter("theta", store)
        else:
            self.register_buffer("theta", store)
        if store is None:
            self._number = float(value)

    @property
    def threshold(self) -> torch.Tensor:
        """Positive threshold ``[]`` or ``[C]``, differentiable with respect to a learned ``theta``."""
        if self.theta is None:
            return torch.tensor(self._number)
        return positive(self.theta) if self.learnable_threshold else self.theta

    @property
    def v_threshold(self) -> float | torch.Tensor:
        """The threshold as a number where it is one constant, else :attr:`threshold` without gradient."""
        return self._number if self._stored is None else self.threshold.detach()

    @v_threshold.setter
    def v_threshold(self, value: ThresholdValue) -> None:
        checked = check_threshold(value)
        given = checked.numel() if isinstance(checked, torch.Tensor) else 1
        entries = 1 if self._stored is None else self._stored.numel()
        if given not in (1, entries):
            allowed = "one number" if entries == 1 else f"one number or {entries}"
            raise ShapeError(
                f"SpikePackNode: v_threshold must be {allowed} in this node, got {given}; build a node with "
                "as many channels."
            )
        if self._stored is None:
            self._number = float(checked)
            return
        with torch.no_grad():
            self._stored.copy_(torch.as_tensor(checked).reshape(-1).expand(entries).view_as(self._stored))

    @property
    def _stored(self) -> torch.Tensor | None:
        # Also asked while the base class is being built, before there is a theta.
        return self._parameters.get("theta", self._buffers.get("theta"))

    def _theta_for(self, x: torch.Tensor, lead: int) -> torch.Tensor:
        """Threshold shaped to broadcast to ``x``, whose first ``lead`` axes precede ``[N, *]``."""
        dtype = ops.compute_dtype(x.dtype)
        if self.theta is None:
            return torch.full((), self._number, dtype=dtype, device=x.device)
        self._infer_channels(x, lead)
        theta = self.threshold.to(dtype)
        if self.learnable_threshold and torch.is_grad_enabled():
            theta = ops.scale_gradient(theta, self._lsq_scale(x, lead))
        if not self.per_channel:
            return theta
        sample = x.ndim - lead
        dim = self.channel_dim + (sample if self.channel_dim < 0 else 0)
        if not 0 <= dim < sample or x.shape[lead + dim] != theta.shape[0]:
            raise ShapeError(
                f"SpikePackNode: the input must have {theta.shape[0]} channels at dimension "
                f"{self.channel_dim} of [N, *], got shape {tuple(x.shape[lead:])}; set channel_dim."
            )
        return theta.view((-1,) + (1,) * (sample - 1 - dim))

    def _infer_channels(self, x: torch.Tensor, lead: int) -> None:
        if not self.per_channel or self.channels is not None:
            return
        shape = x.shape[lead:]
        if not -len(shape) <= self.channel_dim < len(shape):
            raise ShapeError(
                f"SpikePackNode: the first input must have channels at dimension {self.channel_dim} of "
                f"[N, *], got shape {tuple(shape)}; set channel_dim."
            )
        _check_outside_ddp()
        self._set_channels(int(shape[self.channel_dim]))

    def _set_channels(self, channels: int) -> None:
        # The same Parameter object grows, so an optimizer built before the first forward keeps it.
        self.channels = channels
        self.theta.data = self.theta.data.expand(channels).clone()

    def _lsq_scale(self, x: torch.Tensor, lead: int) -> float:
        elements = math.prod(x.shape[lead + 1 :])
        sharing = elements // self.theta.numel() if self.per_channel else elements
        return 1.0 / math.sqrt(max(sharing, 1) * self.params.max_code)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A node whose channels are not known yet takes them from the file.
        stored = state_dict.get(prefix + "theta")
        if self.per_channel and self.channels is None and stored is not None:
            self._set_channels(stored.numel())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
