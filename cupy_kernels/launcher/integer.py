"""Launch the integer fire: int32 accumulators to codes."""

from __future__ import annotations

from typing import Any

from ..arrays import channel_layout
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import C_TYPES, THREADS, Variant
from .checks import code_dtype, matching, optional, required
from .grid import MODES, addresses, blocks_for, group_size, index_type

__all__ = ["integer_fire"]

_I32 = ("int32",)


def integer_fire(
    queue: Queue,
    membrane: Any,
    theta: Any,
    codes: Any,
    *,
    time_steps: int,
    bias: Any = None,
    signed: bool = False,
    half: bool = True,
    channel_axis: int | None = None,
) -> None:
    """``P = clamp(floor((V + b + floor(theta / 2)) / theta), 0, 2^T - 1)``, signed: on ``|V + b|``.

    Args:
        queue: Where to run.
        membrane: Accumulators ``V``, int32, any shape.
        theta: Integer thresholds, positive, int32 ``[]`` or ``[C]``.
        codes: Out, like ``membrane``, in the dtype of :func:`.code_dtype`.
        time_steps: T.
        bias: int32 like ``theta``, added in 64 bits; None is zero.
        signed: Fire on the absolute value.
        half: Whether to round half up (else floor).
        channel_axis: Axis of ``membrane`` of the channels.
    """
    if not 1 <= time_steps <= 16:
        raise KernelArgumentError(
            f"time_steps: must be in 1..16, got {time_steps}; a code has at most 16 digits."
        )
    total = required(queue, "membrane", membrane, _I32)
    threshold = required(queue, "theta", theta, _I32)
    words = matching(required(queue, "codes", codes, (code_dtype(time_steps, signed),)), total)
    offset = matching(optional(queue, "bias", bias, _I32), threshold)
    layout = channel_layout(total, threshold, channel_axis)
    if total.size == 0:
        return
    group, mode = group_size((total, words), total.size, 1, layout, threshold)
    if offset is not None and mode == MODES["last"] and not offset.aligned(group):
        group, mode = 1, MODES["channel"]
    types = (C_TYPES[words.dtype], bool(signed), mode, group, index_type(total.size))
    pointers = addresses({"membrane": total, "bias": offset, "theta": threshold, "codes": words})
    numbers = {
        "n": total.size, "channels": layout.channels, "inner": layout.inner, "half": int(half),
        "max_code": (1 << time_steps) - 1,
    }  # fmt: skip
    queue.launch(Variant("integer_fire", types), blocks_for(total.size, group), THREADS, pointers | numbers)
