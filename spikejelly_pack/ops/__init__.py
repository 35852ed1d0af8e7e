"""Differentiable operations of SpikePack in plain torch.

Forward from :mod:`spikejelly_pack.spec.equations`, backward from :mod:`spikejelly_pack.spec.gradients`;
``torch.compile`` traces through them and fuses them.
"""

from __future__ import annotations

from .carry import window_carry
from .charge import charge_windows
from .fire import fire
from .gradient_rules import refuse_gradient, scale_gradient
from .layout import stack
from .providers import PROVIDERS, check_provider
from .serial import fire_serial
from .values import compute_dtype, decode_code, signed_code, split_code
from .window import window_value

__all__ = [
    "PROVIDERS",
    "charge_windows",
    "check_provider",
    "compute_dtype",
    "decode_code",
    "fire",
    "fire_serial",
    "refuse_gradient",
    "scale_gradient",
    "signed_code",
    "split_code",
    "stack",
    "window_carry",
    "window_value",
]
