"""Activation quantizers of ``torch.ao.quantization``: its fake-quantize modules."""

from __future__ import annotations

from typing import Any

import torch
from torch.ao.quantization import fake_quantize as ao

from ...spec.errors import UnsupportedError
from .base import QuantizerSpec, rounding_quantizer

__all__ = ["FAKE_QUANTIZERS", "fake_quantize_spec", "is_frozen"]

FAKE_QUANTIZERS = (ao.FakeQuantize, ao.FusedMovingAvgObsFakeQuantize, ao.FixedQParamsFakeQuantize)


def is_frozen(path: str, module: Any) -> None:
    """Check that a fake-quantize module is a fixed function.

    Raises:
        UnsupportedError: Its observer still moves the scale, it is switched off, or it is dynamic.
    """
    fixed = isinstance(module, ao.FixedQParamsFakeQuantize)
    observing = bool(module.observer_enabled[0]) and not fixed
    if observing or not bool(module.fake_quant_enabled[0]) or getattr(module, "is_dynamic", False):
        state = "a moving observer" if observing else "it switched off or dynamic"
        raise UnsupportedError(
            f"layer {path!r}: fake quantization must be on with fixed scales, got {state}; apply "
            "torch.ao.quantization.disable_observer and enable_fake_quant to the trained model."
        )


def fake_quantize_spec(path: str, module: Any, nonnegative: bool) -> QuantizerSpec:
    """Description of a fake-quantize module: ``(clamp(rint(x * (1 / s)) + zp, min, max) - zp) * s``.

    It computes with a float32 scale whatever the input is; per tensor it also computes its output in float32.

    Raises:
        UnsupportedError: Its codes are not those of a node, or channels are not axis 1.
    """
    is_frozen(path, module)
    observer = module.activation_post_process
    zero = module.zero_point.detach().reshape(-1)
    per_channel = bool(module.is_per_channel)
    if per_channel and module.ch_axis != 1:
        raise UnsupportedError(
            f"layer {path!r}: scales per channel must run along axis 1, got ch_axis={module.ch_axis}; "
            "quantize activations per tensor."
        )
    if not bool((zero == zero[0]).all()):
        raise UnsupportedError(
            f"layer {path!r}: all channels must share one zero point, got {zero.tolist()}; "
            "use a symmetric scheme or put a ReLU in front."
        )
    offset = int(zero[0])
    scale = module.scale.detach().to(torch.float32).reshape(-1)
    return rounding_quantizer(
        path, scale, int(observer.quant_min) - offset, int(observer.quant_max) - offset,
        nonnegative=nonnegative, ties="even", reciprocal=1.0 / scale,
        dtype=None if per_channel else torch.float32,
    )  # fmt: skip
