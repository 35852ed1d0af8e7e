"""Differentiable operations of SpikePack: plain torch, and the operators that launch kernels.

Forward from :mod:`spikejelly_pack.spec.equations`, backward from :mod:`spikejelly_pack.spec.gradients`;
``torch.compile`` traces through plain torch and fuses it.
"""

from __future__ import annotations

from .carry import window_carry
from .charge import charge_windows
from .fire import fire
from .gradient_rules import refuse_gradient, scale_gradient
from .layout import stack
from .products import packed_conv2d, packed_linear
from .providers import PROVIDERS, check_provider, provider_report, recorded_choices, uses_kernels
from .serial import fire_serial
from .values import compute_dtype, decode_code, signed_code, split_code
from .window import window_value
from .windows import constants, fire_step, fire_windows, serial_windows

__all__ = [
    "PROVIDERS",
    "charge_windows",
    "check_provider",
    "compute_dtype",
    "constants",
    "decode_code",
    "fire",
    "fire_serial",
    "fire_step",
    "fire_windows",
    "packed_conv2d",
    "packed_linear",
    "provider_report",
    "recorded_choices",
    "refuse_gradient",
    "scale_gradient",
    "serial_windows",
    "signed_code",
    "split_code",
    "stack",
    "uses_kernels",
    "window_carry",
    "window_value",
]
