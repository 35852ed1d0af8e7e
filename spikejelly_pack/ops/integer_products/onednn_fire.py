"""oneDNN's quantized products with the neurons behind them: the sums never reach memory.

The requantization of quantized inference computes ``y = V s + beta`` in float32, clips it to ``0..M`` and
rounds it half to even. With ``s = 1 / theta`` and ``beta = (c + 1/2) / theta - 1/2`` (c: bias and rounding
offset) it is the code ``clamp(floor((V + c) / theta), 0, M)``: for integers ``n = V + c`` with
``k theta <= n < (k + 1) theta`` the value ``(n + 1/2) / theta - 1/2`` keeps a distance of at least
``1 / (2 theta)`` from the ends of ``k - 1/2 .. k + 1/2``.

Every operation is monotone in V, so that it is enough to bound the error where the code is not clipped,
``|V| <= (M + 1) theta + |c|``. With ``u = 2^-24`` the roundings of s and of the product give at most
``2u (M + 1 + |c| / theta)``, that of beta ``u (|c| / theta + 1)``, that of the sum ``u (M + 2)``; together
less than ``4u (M + 1 + |c| / theta)``. Twice that is allowed for another order of the operations:
``8u (M + 1 + |c| / theta) < 1 / (2 theta)``, or ``(M + 1) theta + |c| < 2^20``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Fire, Kernel, Product, layout
from .byte_planes import in_planes, through_planes
from .onednn import OneDnnRoute

__all__ = ["OneDnnFire"]

_LIMIT = 1 << 20


class OneDnnFire:
    """``torch.ops.onednn``'s products whose requantization fires the neurons."""

    name, provider = "onednn_fused", "torch"
    devices = ("cpu",)

    def refuses(self, product: Product, fire: Fire, device: torch.device) -> str | None:
        """Why it is not exact or cannot run; None where it is proven exact."""
        halves = in_planes(product) if product.low < 0 else product
        if fire.signed or fire.time_steps > 8 or halves is None:
            return "codes in and out must be bytes, those out unsigned"
        reach = int(((fire.theta << fire.time_steps) + _shift(fire).abs()).max())
        if reach >= _LIMIT:
            return f"thresholds reach {reach} with all digits, beyond {_LIMIT}: float32 could round a code"
        return OneDnnRoute().refuses(halves, device)

    def prepare(self, product: Product, device: torch.device, fire: Fire) -> Kernel:
        if product.low < 0:
            halves = in_planes(product)
            assert halves is not None
            return through_planes(self.prepare(halves, device, fire))
        ops: Any = torch.ops.onednn
        theta, outputs = fire.theta.to("cpu", torch.float64), product.weight.shape[0]
        scale = (1 / theta).to(torch.float32).expand(outputs).contiguous()
        shift = ((_shift(fire).cpu() + 0.5) / theta - 0.5).to(torch.float32).expand(outputs).contiguous()
        zeros = torch.zeros(outputs, dtype=torch.int64)
        top = (1 << fire.time_steps) - 1
        clip = ("none", []) if top == 255 else ("hardtanh", [0.0, float(top)])
        weight, window = product.weight.to(torch.int8), product.window
        if window is None:
            flat = ops.qlinear_prepack(weight, None)
            tail = (shift, 1.0, 0, torch.uint8, *clip, "")
            return lambda codes: ops.qlinear_pointwise(codes, 1.0, 0, flat, scale, zeros, *tail)
        geometry = (list(window.stride), list(window.padding), list(window.dilation), window.groups)
        packed = ops.qconv_prepack(weight, scale, 1.0, 0, *geometry, None)
        behind = (shift, *geometry, 1.0, 0, torch.uint8, *clip, "")
        return lambda codes: ops.qconv_pointwise(layout(codes), 1.0, 0, packed, scale, zeros, *behind)


def _shift(fire: Fire) -> Tensor:
    """``c``: what is added to the sum before the division."""
    return fire.bias + (fire.theta // 2 if fire.half else 0)
