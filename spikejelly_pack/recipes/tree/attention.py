"""Attention as the two products it consists of, with softmax between them.

Sources: the documentation of ``torch.nn.functional.scaled_dot_product_attention`` for its equation;
``multi_head_attention_forward`` is torch's own code, called so that its operations stay visible.
"""

from __future__ import annotations

import math
import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["multi_head_attention", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(q k^T * scale + mask) v`` for ``[*, L, E]``, ``[*, S, E]`` and ``[*, S, Ev]``."""
    if enable_gqa:
        groups = query.size(-3) // key.size(-3)
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    factor = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale
    weights = torch.matmul(query, key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        weights = weights.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        weights = weights + attn_mask
    nothing = (weights == -math.inf).all(-1, keepdim=True)  # a row that may look at nothing gives zero
    weights = torch.softmax(weights, dim=-1).masked_fill(nothing, 0.0)
    if dropout_p > 0.0:
        weights = torch.dropout(weights, dropout_p, train=True)
    return torch.matmul(weights, value)


def _no_override(_tensors: object) -> bool:
    return False


def _visible(function: Any) -> Any:
    """A copy of a Python function of torch that does not hand itself over as one operation."""
    code = types.FunctionType(
        function.__code__,
        {**function.__globals__, "has_torch_function": _no_override},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    code.__kwdefaults__ = function.__kwdefaults__
    return code


multi_head_attention = _visible(F.multi_head_attention_forward)
