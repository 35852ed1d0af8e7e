"""One SpikePack neuron in its three forms, with explicit state.

All membranes are computed in float32 (float64 for float64 input); the output has the input's dtype.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from .. import ops
from ..spec import equations
from ..spec.parameters import NeuronParameters
from .readout import split_windows

__all__ = [
    "SpikePackState",
    "membrane_sequence",
    "residual_membrane",
    "spikepack_multi_step",
    "spikepack_packed",
    "spikepack_step",
    "spikepack_windows",
]


class SpikePackState(NamedTuple):
    """State of the single-step form between two time steps; all None or 0 before the first.

    Attributes:
        v: Membrane potential after the soft reset of the digit just emitted.
        start: Membrane ``v_0`` of the window whose digits are being emitted.
        accumulator: ``a``, the charge gathered so far in the running window (not divided by Q).
        code: Pending code, whose digits are being emitted, as a float.
        phase: Time steps of the running window already done, 0..L-1.
        windows: Windows done, counted up to ``start_window`` only.
        carry: ``r`` of the last charged window; None without leak.
    """

    v: torch.Tensor | float = 0.0
    start: torch.Tensor | None = None
    accumulator: torch.Tensor | None = None
    code: torch.Tensor | None = None
    phase: int = 0
    windows: int = 0
    carry: torch.Tensor | None = None


def _start(potential: torch.Tensor, carry: torch.Tensor | None, params: NeuronParameters) -> torch.Tensor:
    if carry is None or params.leak == 0.0:
        return potential
    return equations.carry_start(potential, params.leak, carry)


def _close(
    start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters, provider: str
) -> torch.Tensor | None:
    if params.leak == 0.0:
        return None
    decoded = ops.fire(start.detach(), theta.detach(), params, provider=provider)
    return ops.window_carry(start, decoded, theta, params)


def spikepack_packed(
    u: torch.Tensor,
    carry: torch.Tensor | None,
    theta: torch.Tensor,
    params: NeuronParameters,
    *,
    scale_output: bool = False,
    provider: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Fire one window at once, whatever T is.

    Args:
        u: Membrane potential ``U`` of one window ``[N, *]`` (without leak also ``[W, N, *]``).
        carry: ``r`` left by the window before, or None.
        theta: Positive threshold, broadcastable to ``u``.
        params: Constants of the neuron.
        scale_output: Output ``theta * d(s)`` instead of the value of the digits over the window, ``d(s)``
            (times ``Q_T / Q_L`` in a longer window).
        provider: ``"auto"``, ``"torch"`` or ``"cupy"``.

    Returns:
        Output like ``u``, the new carry (None without leak), and the membrane ``v_0`` (of the dtype of ``u``
        where it is ``u`` itself).
    """
    dtype = ops.compute_dtype(u.dtype)
    theta = theta.to(dtype)
    if not params.silent_steps and ops.uses_kernels(provider, "fire", u, theta):
        if params.leak == 0.0:
            return ops.fire(u, theta, params, scale_output, provider), None, u
        out, starts, left = ops.fire_windows(u[None], theta, carry, *ops.constants(params), scale_output)
        return out[0], left, starts[0]
    start = _start(u.to(dtype), carry, params)
    out = ops.fire(start, theta, params, scale_output, provider)
    if not scale_output:
        out = ops.window_value(out, params)
    return out.to(u.dtype), _close(start, theta, params, provider), start


def spikepack_windows(
    u: torch.Tensor,
    carry: torch.Tensor | None,
    theta: torch.Tensor,
    params: NeuronParameters,
    *,
    scale_output: bool = False,
    provider: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """:func:`spikepack_packed` over W windows ``[W, N, *]``: at once without leak, else one after another."""
    options: dict[str, Any] = {"scale_output": scale_output, "provider": provider}
    if params.leak == 0.0 or u.shape[0] == 0:
        return spikepack_packed(u, carry, theta, params, **options)
    if not params.silent_steps and ops.uses_kernels(provider, "fire", u, theta):
        theta = theta.to(ops.compute_dtype(u.dtype))
        out, start, left = ops.fire_windows(u, theta, carry, *ops.constants(params), scale_output)
        return out, left, start
    outs, starts = [], []
    for window in u.unbind(0):
        out, carry, start = spikepack_packed(window, carry, theta, params, **options)
        outs.append(out)
        starts.append(start)
    return ops.stack(outs, 0), carry, ops.stack(starts, 0)


def spikepack_multi_step(
    x_seq: torch.Tensor,
    carry: torch.Tensor | None,
    theta: torch.Tensor,
    params: NeuronParameters,
    *,
    provider: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Charge and fire W windows spike by spike, without latency between charge and digits.

    L is ``params.window_steps``: T, or more where the code is right-aligned in a longer window.

    Args:
        x_seq: Input currents ``[L*W, N, *]``.
        carry: ``r`` left by the window before the first, or None.
        theta: Positive threshold, broadcastable to ``[N, *]``.
        params: Constants of the neuron.
        provider: ``"auto"``, ``"torch"`` or ``"cupy"``.

    Returns:
        Spikes ``[L*W, N, *]``, the new carry, and the membranes ``v_0`` ``[W, N, *]``.

    Raises:
        ShapeError: The first axis is no multiple of L.
    """
    dtype = ops.compute_dtype(x_seq.dtype)
    theta = theta.to(dtype)
    windows = split_windows(x_seq, params.window_steps, "SpikePackNode")
    if ops.uses_kernels(provider, "serial", x_seq, theta, _silence(params)):
        kept = carry if params.leak else None
        spikes, start, left = ops.serial_windows(windows, theta, kept, *ops.constants(params))
        return spikes.flatten(0, 1), left if params.leak else None, start
    potential = ops.charge_windows(windows.to(dtype), params.window_code)
    if params.leak == 0.0:
        start = potential
    else:
        starts = []
        for window in potential.unbind(0):
            starts.append(_start(window, carry, params))
            carry = _close(starts[-1], theta, params, provider)
        start = ops.stack(starts, 0)
    spikes = ops.fire_serial(start, theta, params)
    if params.silent_steps:
        digits = spikes.unbind(1)
        silence = torch.zeros_like(digits[0])
        spikes = ops.stack(equations.right_aligned(digits, params.window_steps, silence), 1)
    return spikes.flatten(0, 1).to(x_seq.dtype), carry, start


def _silence(params: NeuronParameters) -> str | None:
    return "the kernels have no windows longer than the code" if params.silent_steps else None


def spikepack_step(
    x: torch.Tensor,
    state: SpikePackState,
    theta: torch.Tensor,
    params: NeuronParameters,
    *,
    start_window: int = 0,
    provider: str = "auto",
) -> tuple[torch.Tensor, SpikePackState]:
    """One time step of the pipelined hardware form: charge window w, emit a digit of window w - 1.

    Args:
        x: Input current ``[N, *]``.
        state: State after the step before; ``SpikePackState()`` at the first.
        theta: Positive threshold, broadcastable to ``x``.
        params: Constants of the neuron.
        start_window: First window that holds data; earlier ones leave no carry (they only fill the
            pipeline of the nodes before this one).
        provider: ``"auto"``, ``"torch"`` or ``"cupy"``.

    Returns:
        Spikes ``[N, *]`` (0 in the first window) and the new state. There is no gradient: a backward
        pass through the spikes raises.
    """
    dtype = ops.compute_dtype(x.dtype)
    # Detached instead of no_grad: exported programs cannot store a grad-mode region.
    theta = theta.detach().to(dtype)
    if ops.uses_kernels(provider, "step", x, theta, _silence(params)):
        return _kernel_step(x, state, theta, params, start_window)
    current = x.detach().to(dtype)
    spike, v = _emit(state, current, theta, params)
    accumulator = (
        current
        if state.accumulator is None
        else equations.charge_step(state.accumulator, current, params.tau)
    )
    state = state._replace(v=v, accumulator=accumulator, phase=state.phase + 1)
    if state.phase == params.window_steps:
        state = _end_window(state, theta, params, start_window, provider)
    return ops.refuse_gradient(spike.to(x.dtype), x), state


def _kernel_step(
    x: torch.Tensor, state: SpikePackState, theta: torch.Tensor, params: NeuronParameters, start_window: int
) -> tuple[torch.Tensor, SpikePackState]:
    """:func:`spikepack_step` in one kernel."""
    filled = state.windows >= start_window
    carry = state.carry.detach() if params.leak and state.carry is not None else None
    given = (state.accumulator, state.code, state.start, carry, state.phase)
    spike, v, accumulator, code, start, left = ops.fire_step(
        x.detach(), theta, *given, *ops.constants(params), filled
    )
    if state.phase + 1 < params.window_steps:
        state = state._replace(v=v, accumulator=accumulator, phase=state.phase + 1)
    else:
        done, kept = min(state.windows + 1, start_window), left if params.leak and filled else None
        state = SpikePackState(v, start, None, code, 0, done, kept)
    return ops.refuse_gradient(spike, x), state


def _emit(
    state: SpikePackState, current: torch.Tensor, theta: torch.Tensor, params: NeuronParameters
) -> tuple[torch.Tensor, torch.Tensor]:
    """Digit of the step and the membrane after its reset; zeros before the first window is charged."""
    if state.code is None or state.start is None:
        return torch.zeros_like(current), torch.zeros_like(current)
    digit = state.phase - params.silent_steps
    if digit < 0:
        return torch.zeros_like(current), state.start
    digits, emitted = ops.split_code(state.code, params)
    left = equations.residual(state.start, theta, ops.decode_code(emitted[digit], params))
    return digits[digit], left


def _end_window(
    state: SpikePackState,
    theta: torch.Tensor,
    params: NeuronParameters,
    start_window: int,
    provider: str,
) -> SpikePackState:
    total = state.accumulator
    assert total is not None
    carry = None if state.carry is None else state.carry.detach()
    start = _start(total / total.new_full((), params.window_code.weight_sum), carry, params)
    filled = state.windows >= start_window
    return state._replace(
        start=start,
        accumulator=None,
        code=ops.signed_code(start, theta, params),
        phase=0,
        windows=min(state.windows + 1, start_window),
        carry=_close(start, theta, params, provider) if filled else None,
    )


def residual_membrane(
    start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters, *, provider: str = "auto"
) -> torch.Tensor:
    """Membrane left by the last soft reset of a window that started from ``v_0`` (no gradient)."""
    start = start.detach().to(ops.compute_dtype(start.dtype))
    theta = theta.detach().to(start.dtype)
    return equations.residual(start, theta, ops.fire(start, theta, params, provider=provider))


def membrane_sequence(start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    """Membranes ``[L*W, N, *]`` after each digit's soft reset, from ``v_0`` of W windows ``[W, N, *]``.

    In the leading steps of a window longer than the code nothing fires and the membrane stays ``v_0``.
    """
    start = start.detach().to(ops.compute_dtype(start.dtype))
    theta = theta.detach().to(start.dtype)
    _, emitted = ops.split_code(ops.signed_code(start, theta, params), params)
    steps = [equations.residual(start, theta, ops.decode_code(code, params)) for code in emitted]
    return ops.stack(equations.right_aligned(steps, params.window_steps, start), 1).flatten(0, 1)
