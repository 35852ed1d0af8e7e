"""Launch the straight-through gradients of fire and of serial windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arrays import Array, Layout, channel_layout
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import C_TYPES, THREADS, Variant
from .checks import Neuron, code_of, contiguous, leak_of, matching, optional, refuse_carry, required
from .grid import addresses, blocks_for, group_size, index_type, neuron_numbers
from .neuron import serial_limit, window_of

__all__ = ["fire_backward", "scratch_rows", "serial_backward", "theta_limit"]

_F32 = ("float32",)
_ROWS_PER_BLOCK, _LANES, _MAX_CHANNEL_BLOCKS = 8, 32, 65535
# Enough blocks to fill a large card when there is one channel; small enough that the second stage is free.
_MAX_SCRATCH = 1024


@dataclass(frozen=True)
class _Job:
    """What both backward launches share, checked."""

    neuron: Neuron
    grad: Array
    start: Array
    theta: Array
    out: Array
    layout: Layout
    carry: dict[str, Array | None]
    serial: bool
    scaled: bool
    windows: int
    n: int

    @property
    def choices(self) -> tuple[Any, ...]:
        types = (C_TYPES[self.grad.dtype], C_TYPES[self.start.dtype])
        signed, leak = bool(self.neuron.signed), leak_of(self.neuron)
        return (code_of(self.neuron), *types, self.serial, self.scaled, signed, leak)

    @property
    def group(self) -> tuple[int, int]:
        rows = self.grad.size // self.n
        limit = serial_limit(self.neuron.time_steps, self.neuron.tau) if self.serial else 8
        return group_size((self.grad, self.start, self.out), self.n, rows, self.layout, self.theta, limit)

    @property
    def values(self) -> dict[str, object]:
        arrays = {"grad": self.grad, "start": self.start, "theta": self.theta, "out": self.out, **self.carry}
        return (
            addresses(arrays)
            | neuron_numbers(self.neuron, self.layout)
            | {"n": self.n, "windows": self.windows}
        )


def theta_limit(tau: float) -> int:
    """Elements of a group at most where thresholds are summed: unrolled greedy digits of 8 would spill."""
    return 8 if tau == 2.0 else 4


def scratch_rows(elements: int, channels: int) -> int:
    """Rows of the scratch array ``[rows, channels]`` that keep a large card busy.

    Any number of rows from 1 on is correct; the sum over a different number is rounded differently.

    Args:
        elements: Elements of ``start``.
        channels: Number of thresholds.
    """
    work = -(-elements // (max(1, channels) * THREADS * 16))
    return max(1, min(_MAX_SCRATCH // min(channels, _MAX_SCRATCH) + 1, work))


def fire_backward(
    queue: Queue,
    grad: Any,
    start: Any,
    theta: Any,
    neuron: Neuron,
    *,
    grad_u: Any,
    grad_theta: Any = None,
    scratch: Any = None,
    scaled: bool = False,
    channel_axis: int | None = None,
    grad_carry: Any = None,
    grad_carry_in: Any = None,
) -> None:
    """Gradient of packed fire with respect to the membranes and the threshold.

    Args:
        queue: Where to run.
        grad: Gradient of the values, float32, float16 or bfloat16; with ``leak > 0`` ``[W, *]``.
        start: ``v_0`` of the forward pass, like ``grad``, float32 or the dtype of ``grad`` (without leak it
            is the membrane ``u`` itself).
        theta: Threshold, float32 ``[]`` or ``[C]``.
        neuron: As in the forward pass.
        grad_u: Out, like ``grad``; may be the same array.
        grad_theta: Out, float32 like ``theta``, or None where the threshold has no gradient.
        scratch: float32 ``[rows, C]`` for the two-stage sum, needed with ``grad_theta``; see
            :func:`scratch_rows`.
        scaled: Whether the values carried the amplitude ``theta``.
        channel_axis: Axis of ``grad`` of the channels.
        grad_carry: float32 ``[*]``: gradient of the carry after the last window; None is zero.
        grad_carry_in: Out, float32 ``[*]``: gradient of the carry before the first window.

    Raises:
        KernelArgumentError: An argument has the wrong dtype, shape, layout or device; it is named.
        KernelEnvironmentError: The backend cannot run here; the message holds the cause.
    """
    windows = int(leak_of(neuron) != 0)
    gradient = contiguous(required(queue, "grad", grad), windows)
    membranes = matching(required(queue, "start", start, ("float32", gradient.dtype)), gradient)
    carry = _carry(queue, neuron, gradient, windows, grad_carry, grad_carry_in)
    out = matching(required(queue, "grad_u", grad_u, (gradient.dtype,)), gradient)
    threshold = required(queue, "theta", theta, _F32)
    layout = channel_layout(gradient, threshold, channel_axis, windows)
    rows = gradient.shape[0] if windows else 1
    n = gradient.size // max(1, rows)
    job = _Job(neuron, gradient, membranes, threshold, out, layout, carry, False, bool(scaled), rows, n)
    _launch(queue, job, grad_theta, scratch)


def serial_backward(
    queue: Queue,
    grad: Any,
    start: Any,
    theta: Any,
    neuron: Neuron,
    *,
    grad_x: Any,
    grad_theta: Any = None,
    scratch: Any = None,
    channel_axis: int | None = None,
    grad_carry: Any = None,
    grad_carry_in: Any = None,
) -> None:
    """Gradient of serial windows: from that of the spikes to that of the currents.

    Args:
        queue: Where to run.
        grad: Gradient of the spikes ``[W, T, *]``, float32, float16 or bfloat16.
        start: ``v_0`` ``[W, *]``, float32.
        theta: Threshold, float32 ``[]`` or ``[C]``.
        neuron: As in the forward pass.
        grad_x: Out, like ``grad``; may be the same array.
        grad_theta: As in :func:`fire_backward`.
        scratch: As in :func:`fire_backward`.
        channel_axis: Axis of ``grad`` of the channels.
        grad_carry: As in :func:`fire_backward`.
        grad_carry_in: As in :func:`fire_backward`.

    Raises:
        KernelArgumentError: An argument has the wrong dtype, shape, layout or device; it is named.
        KernelEnvironmentError: The backend cannot run here; the message holds the cause.
    """
    gradient = required(queue, "grad", grad)
    steps = code_of(neuron).time_steps
    if len(gradient.shape) < 2 or gradient.shape[1] != steps:
        raise KernelArgumentError(
            f"grad: must be [W, T, *] with T = {steps}, got {list(gradient.shape)}; view it so."
        )
    contiguous(gradient, 2)
    membranes = matching(required(queue, "start", start, _F32), window_of(gradient))
    carry = _carry(queue, neuron, gradient, 2, grad_carry, grad_carry_in)
    out = matching(required(queue, "grad_x", grad_x, (gradient.dtype,)), gradient)
    threshold = required(queue, "theta", theta, _F32)
    layout = channel_layout(gradient, threshold, channel_axis, 2)
    rows = gradient.shape[0]
    n = gradient.size // max(1, rows * steps)
    job = _Job(neuron, gradient, membranes, threshold, out, layout, carry, True, False, rows, n)
    _launch(queue, job, grad_theta, scratch)


def _carry(
    queue: Queue, neuron: Neuron, like: Array, leading: int, after: Any, before: Any
) -> dict[str, Array | None]:
    refuse_carry(neuron, grad_carry=after, grad_carry_in=before)
    given = {"grad_carry": after, "grad_carry_in": before}
    return {
        name: matching(optional(queue, name, value, _F32), like, leading) for name, value in given.items()
    }


def _launch(queue: Queue, job: _Job, grad_theta: Any, scratch: Any) -> None:
    total = optional(queue, "grad_theta", grad_theta, _F32)
    if total is None:
        if job.grad.size:
            group, mode = job.group
            x, _, _ = blocks_for(job.n, group)
            windows = 1 if leak_of(job.neuron) else min(job.windows, _MAX_CHANNEL_BLOCKS)
            choices = (*job.choices, mode, group, index_type(job.grad.size))
            queue.launch(Variant("backward", choices), (x, 1, windows), THREADS, job.values)
        return
    matching(total, job.theta)
    partial = required(queue, "scratch", scratch, _F32)
    if len(partial.shape) != 2 or partial.shape[0] < 1 or partial.shape[1] != job.layout.channels:
        raise KernelArgumentError(
            f"scratch: must be [rows, {job.layout.channels}] with at least one row, got "
            f"{list(partial.shape)}; see scratch_rows."
        )
    contiguous(partial, 2)
    rows = _first_stage(queue, job, partial) if job.grad.size else 0
    values = {
        "partial": partial.pointer,
        "total": total.pointer,
        "rows": rows,
        "channels": job.layout.channels,
    }
    blocks = (min(job.layout.channels, _MAX_CHANNEL_BLOCKS), 1, 1)
    queue.launch(Variant("sum_partials", ()), blocks, THREADS, values)


def _first_stage(queue: Queue, job: _Job, partial: Array) -> int:
    """Launch the gradient with sums per block; returns the rows of ``partial`` it fills."""
    group, _ = job.group
    group = min(group, theta_limit(job.neuron.tau))
    channels, inner = job.layout.channels, job.layout.inner if job.layout.channels > 1 else job.n
    last = channels > 1 and inner == 1
    if not last and inner % group:
        group = 1  # one threshold, ragged: a run must be whole groups
    outer = job.n // (channels * inner)
    rows = partial.shape[0]
    if last:
        useful = -(-outer // _ROWS_PER_BLOCK)
        cut = max(1, min(rows, useful, _MAX_CHANNEL_BLOCKS))
        across = -(-channels // (_LANES * group))
    else:
        useful = -(-outer * (inner // group) // THREADS)
        cut = max(1, min(rows, useful))
        across = min(channels, _MAX_CHANNEL_BLOCKS)
    windows = 1 if leak_of(job.neuron) else max(1, min(job.windows, rows // cut))
    grid = (across, cut, windows) if last else (cut, across, windows)
    choices = (*job.choices, group, index_type(job.grad.size))
    values = job.values | {"inner": inner, "outer": outer, "partial": partial.pointer}
    queue.launch(Variant("backward_last" if last else "backward_runs", choices), grid, THREADS, values)
    return cut * windows
