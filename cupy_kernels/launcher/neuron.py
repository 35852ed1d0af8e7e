"""Launch the neuron on whole windows: packed fire, serial windows."""

from __future__ import annotations

from typing import Any

from ..arrays import Array, channel_layout
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import C_TYPES, THREADS, Variant
from .checks import (
    Neuron,
    code_dtype,
    code_of,
    contiguous,
    flag_of,
    leak_of,
    matching,
    optional,
    refuse_carry,
    required,
)
from .grid import addresses, blocks_for, group_size, index_type, neuron_numbers, type_of

__all__ = ["AMPLITUDES", "fire", "fire_limit", "serial", "serial_limit", "window_of"]

AMPLITUDES = {"unit": 1, "scaled": 2, "code": 3}
_F32 = ("float32",)
_TURNS = 4  # groups of a thread in fire.cu


def _amplitude(name: str, allowed: tuple[str, ...] = tuple(AMPLITUDES)) -> int:
    if name not in allowed:
        raise KernelArgumentError(f"amplitude: must be {' or '.join(allowed)}, got {name!r}; choose one.")
    return AMPLITUDES[name]


def _some(**outputs: Array | None) -> None:
    if all(value is None for value in outputs.values()):
        raise KernelArgumentError(
            f"{' and '.join(outputs)}: one of them must be given, got none; allocate one."
        )


def fire(
    queue: Queue,
    u: Any,
    theta: Any,
    neuron: Neuron,
    *,
    codes: Any = None,
    values: Any = None,
    amplitude: str = "unit",
    channel_axis: int | None = None,
    start: Any = None,
    carry_in: Any = None,
    carry_out: Any = None,
    nan_seen: Any = None,
) -> None:
    """Fire packed membranes: ``u`` to codes, values or both, in one pass over memory.

    Every array is allocated by the caller and dense; arrays of the shape of ``u`` also have its strides, so a
    channels-last ``u`` has channels-last codes.

    Args:
        queue: Where to run.
        u: Membranes ``U``, float32, float16 or bfloat16, any shape; with ``neuron.leak > 0`` the first axis
            counts windows (pass ``u[None]`` for one) and comes first in memory.
        theta: Threshold, float32 ``[]`` or one per channel ``[C]``.
        neuron: Constants: ``time_steps, tau, weights, weight_sum, leak, carry, signed, half``.
        codes: Out, like ``u`` in uint8 / uint16 (signed int8 / int16 / int32, see :func:`.code_dtype`).
        values: Out, like ``u``, float32, float16 or bfloat16.
        amplitude: What ``values`` hold: ``"unit"`` ``d(s)``, ``"scaled"`` ``theta * d(s)`` or ``"code"`` the
            code itself as a float.
        channel_axis: Axis of ``u`` that ``theta`` belongs to, where it has more than one element.
        start: Out, like ``u``, float32: ``v_0``, which the backward pass needs where ``leak > 0``.
        carry_in: float32 of the shape of one window ``u[0]``: ``r`` before the first window; None is zero.
        carry_out: Out, like ``carry_in``, and it may be the same array: ``r`` after the last window.
        nan_seen: In and out, int32 or uint32 of one element: set to 1 if a membrane is NaN, else left alone.
            NaN gives NaN values and code 0.

    Raises:
        KernelArgumentError: An argument has the wrong dtype, shape, layout or device; it is named.
        KernelEnvironmentError: The backend cannot run here; the message holds the cause.
    """
    membranes = required(queue, "u", u)
    threshold = required(queue, "theta", theta, _F32)
    leak = leak_of(neuron)
    code = code_of(neuron)
    windows = int(bool(leak))
    if leak and not membranes.shape:
        raise KernelArgumentError(
            "u: its first axis must count windows where leak > 0, got a scalar; use u[None]."
        )
    contiguous(membranes, windows)
    refuse_carry(neuron, carry_in=carry_in, carry_out=carry_out)
    words = matching(
        optional(queue, "codes", codes, (code_dtype(code.time_steps, neuron.signed),)), membranes
    )
    outs = matching(optional(queue, "values", values), membranes)
    starts = matching(optional(queue, "start", start, _F32), membranes)
    before = matching(optional(queue, "carry_in", carry_in, _F32), membranes, windows)
    after = matching(optional(queue, "carry_out", carry_out, _F32), membranes, windows)
    _some(codes=words, values=outs)
    layout = channel_layout(membranes, threshold, channel_axis, windows)
    flag = flag_of(queue, "nan_seen", nan_seen)
    level = _amplitude(amplitude) if outs is not None else 0
    if membranes.size == 0:
        return
    rows = membranes.shape[0] if leak else 1
    n = membranes.size // rows
    arrays = (membranes, words, outs, starts)
    group, mode = group_size(arrays, n, rows, layout, threshold, fire_limit(code.tau, leak))
    index = index_type(membranes.size)
    x = C_TYPES[membranes.dtype]
    types = (x, C_TYPES[code_dtype(code.time_steps, neuron.signed)], type_of(outs, x))
    variant = Variant("fire", (code, *types, level, bool(neuron.signed), leak, mode, group, index))
    pointers = {
        "u": membranes, "theta": threshold, "codes": words, "values": outs, "start": starts,
        "carry_in": before, "carry_out": after, "nan_seen": flag,
    }  # fmt: skip
    numbers = {"n": n, "windows": rows, **neuron_numbers(neuron, layout)}
    queue.launch(variant, blocks_for(n, group * _TURNS), THREADS, addresses(pointers) | numbers)


def serial(
    queue: Queue,
    x: Any,
    theta: Any,
    neuron: Neuron,
    *,
    spikes: Any = None,
    codes: Any = None,
    values: Any = None,
    amplitude: str = "unit",
    channel_axis: int | None = None,
    start: Any = None,
    carry_in: Any = None,
    carry_out: Any = None,
    nan_seen: Any = None,
) -> None:
    """Charge and fire serial windows: currents to spikes (multi-step form), to codes or to values.

    Args:
        queue: Where to run.
        x: Currents ``[W, T, *]`` of W windows, float32, float16 or bfloat16; both first axes come first in
            memory (a view of ``[W * T, *]``).
        theta: Threshold, float32 ``[]`` or ``[C]``.
        neuron: As in :func:`fire`.
        spikes: Out, like ``x``: 0 and 1 (signed: -1, 0, 1); NaN in all T digits where the membrane is NaN.
        codes: Out ``[W, *]``, dtype as in :func:`fire`.
        values: Out ``[W, *]``, dtype of ``x``.
        amplitude: As in :func:`fire`.
        channel_axis: Axis of ``x`` of the channels, counted with the two leading axes.
        start: Out ``[W, *]``, float32: ``v_0``, which the backward pass needs.
        carry_in: float32 ``[*]``, as in :func:`fire`.
        carry_out: Out, as in :func:`fire`.
        nan_seen: As in :func:`fire`.

    Raises:
        KernelArgumentError: An argument has the wrong dtype, shape, layout or device; it is named.
        KernelEnvironmentError: The backend cannot run here; the message holds the cause.
    """
    currents = required(queue, "x", x)
    threshold = required(queue, "theta", theta, _F32)
    code, leak = code_of(neuron), leak_of(neuron)
    if len(currents.shape) < 2 or currents.shape[1] != code.time_steps:
        raise KernelArgumentError(
            f"x: must be [W, T, *] with T = {code.time_steps}, got {list(currents.shape)}; view it so."
        )
    contiguous(currents, 2)
    refuse_carry(neuron, carry_in=carry_in, carry_out=carry_out)
    window = window_of(currents)
    words = matching(optional(queue, "codes", codes, (code_dtype(code.time_steps, neuron.signed),)), window)
    outs = matching(optional(queue, "values", values, (currents.dtype,)), window)
    starts = matching(optional(queue, "start", start, _F32), window)
    train = matching(optional(queue, "spikes", spikes, (currents.dtype,)), currents)
    before = matching(optional(queue, "carry_in", carry_in, _F32), currents, 2)
    after = matching(optional(queue, "carry_out", carry_out, _F32), currents, 2)
    _some(spikes=train, codes=words, values=outs)
    layout = channel_layout(currents, threshold, channel_axis, 2)
    flag = flag_of(queue, "nan_seen", nan_seen)
    level = _amplitude(amplitude)
    if currents.size == 0:
        return
    rows = currents.shape[0]
    n = currents.size // (rows * code.time_steps)
    arrays = (currents, words, outs, starts, train)
    group, mode = group_size(
        arrays, n, rows * code.time_steps, layout, threshold, serial_limit(code.time_steps, code.tau)
    )
    types = (C_TYPES[currents.dtype], C_TYPES[code_dtype(code.time_steps, neuron.signed)])
    index = index_type(currents.size)
    variant = Variant("serial", (code, *types, bool(neuron.signed), leak, mode, group, index))
    pointers = {
        "x": currents, "theta": threshold, "spikes": train, "codes": words, "values": outs, "start": starts,
        "carry_in": before, "carry_out": after, "nan_seen": flag,
    }  # fmt: skip
    numbers = {"n": n, "windows": rows, "amplitude": level, **neuron_numbers(neuron, layout)}
    queue.launch(variant, blocks_for(n, group, 1 if leak else rows), THREADS, addresses(pointers) | numbers)


def fire_limit(tau: float, leak: int) -> int:
    """Elements of a group at most: with carries, unrolled greedy digits of 8 would spill on Blackwell."""
    return 8 if tau == 2.0 or leak == 0 else 4


def serial_limit(time_steps: int, tau: float) -> int:
    """Elements of a group at most: all T inputs of a group are kept in registers, and 8 would spill."""
    return 8 if time_steps <= 8 and tau == 2.0 else 4


def window_of(currents: Array) -> Array:
    """What ``[W, *]`` arrays beside currents ``[W, T, *]`` look like in memory."""
    inner = currents.inner(2)
    return Array(
        currents.name, currents.pointer, (currents.shape[0], *inner.shape), (inner.size, *inner.strides),
        currents.dtype, currents.device,
    )  # fmt: skip
