"""Launch one time step of the pipelined form."""

from __future__ import annotations

from typing import Any

from ..arrays import channel_layout
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import C_TYPES, THREADS, Variant
from .checks import Neuron, code_of, leak_of, matching, optional, refuse_carry, required
from .grid import addresses, blocks_for, group_size, index_type, neuron_numbers

__all__ = ["step"]

_F32 = ("float32",)


def step(
    queue: Queue,
    x: Any,
    theta: Any,
    neuron: Neuron,
    *,
    phase: int,
    spikes: Any,
    v: Any = None,
    accumulator: Any = None,
    code: Any = None,
    start: Any = None,
    accumulator_out: Any = None,
    code_out: Any = None,
    start_out: Any = None,
    channel_axis: int | None = None,
    carry_in: Any = None,
    carry_out: Any = None,
) -> None:
    """One time step of the pipelined form: emit digit ``phase`` of the pending code, charge the next one.

    The state arrays are float32 like ``x``; an output may be the input of the same name.

    Args:
        queue: Where to run.
        x: Currents ``[*]``.
        theta: Threshold, float32 ``[]`` or ``[C]``.
        neuron: As in :func:`fire`.
        phase: Time steps of the running window already done, 0..T-1.
        spikes: Out, like ``x``: the digit; 0 in the first window.
        v: Out, float32: membrane after the digit's soft reset; needs ``start`` wherever ``code`` is given.
        accumulator: Charge so far; None exactly at phase 0.
        code: Pending code as a float; None before the first window is charged.
        start: Its ``v_0``; needed with ``code`` where ``v`` is wanted.
        accumulator_out: Needed before the last phase.
        code_out: Needed at the last phase T-1: the code just charged.
        start_out: Needed at the last phase: its ``v_0``.
        channel_axis: Axis of ``x`` of the channels.
        carry_in: Used at the last phase, as in :func:`fire`.
        carry_out: Out, used at the last phase, as in :func:`fire`.

    Raises:
        KernelArgumentError: An argument has the wrong dtype, shape, layout or device, or is missing.
        KernelEnvironmentError: The backend cannot run here; the message holds the cause.
    """
    currents = required(queue, "x", x)
    threshold = required(queue, "theta", theta, _F32)
    constants, leak = code_of(neuron), leak_of(neuron)
    if not 0 <= phase < constants.time_steps:
        raise KernelArgumentError(
            f"phase: must be in 0..{constants.time_steps - 1}, got {phase}; count from 0."
        )
    given = {
        "v": v, "accumulator": accumulator, "code": code, "start": start, "accumulator_out": accumulator_out,
        "code_out": code_out, "start_out": start_out, "carry_in": carry_in, "carry_out": carry_out,
    }  # fmt: skip
    state = {name: matching(optional(queue, name, value, _F32), currents) for name, value in given.items()}
    _check_state(phase, constants.time_steps, given)
    refuse_carry(neuron, carry_in=carry_in, carry_out=carry_out)
    train = matching(required(queue, "spikes", spikes, (currents.dtype,)), currents)
    layout = channel_layout(currents, threshold, channel_axis)
    if currents.size == 0:
        return
    group, mode = group_size((currents, train, *state.values()), currents.size, 1, layout, threshold)
    types = (C_TYPES[currents.dtype], bool(neuron.signed), leak, mode, group, index_type(currents.size))
    pointers = {"x": currents, "theta": threshold, "spikes": train, **state}
    numbers = {"n": currents.size, "phase": phase, **neuron_numbers(neuron, layout)}
    variant = Variant("step", (constants, *types))
    queue.launch(variant, blocks_for(currents.size, group), THREADS, addresses(pointers) | numbers)


def _check_state(phase: int, steps: int, given: dict[str, Any]) -> None:
    last = phase == steps - 1
    needed = {"accumulator": phase > 0, "accumulator_out": not last, "code_out": last, "start_out": last}
    for name, wanted in needed.items():
        if (given[name] is not None) != wanted:
            rule = "be given" if wanted else "be None"
            raise KernelArgumentError(f"{name}: must {rule} at phase {phase} of {steps}; see the docstring.")
    if given["v"] is not None and (given["code"] is None) != (given["start"] is None):
        raise KernelArgumentError("start: must be given with code where v is wanted, got one of the two.")
