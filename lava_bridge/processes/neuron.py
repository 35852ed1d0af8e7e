"""Populations that integrate: SpikePack neurons, which fire, and readouts, which do not.

Tensors are in Lava's order: the axes of a sample reversed (``C H W`` becomes ``W H C``), so that
constants per channel ``[C]`` broadcast on the last axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from lava_bridge.carry import Carry

__all__ = ["Readout", "SpikePack"]


class SpikePack(AbstractProcess):
    """SpikePack neurons on integers, one digit per time step.

    Windows of all populations share one phase: the first current of a window arrives at time steps
    ``2 (mod window)``, one after the source sent it, because a synapse takes one step. In the time step
    that completes window w the membrane moves to the firing register and its most significant digit
    leaves; the digits of window w leave while window w + 1 charges.

    Args:
        shape: Shape of the population, reversed.
        threshold: ``[C]``, theta: one LSB of the code.
        bias: ``[C]``, added once per window.
        window: Time steps of a window.
        time_steps: Digits of a code, at most ``window``; a shorter code is right-aligned.
        signed: Fire on the absolute value.
        payload_bits: Magnitude bits of a graded spike: the whole code leaves in the time step that completes
            the window, which is one step long; 0: digits.
        half: Add ``threshold // 2`` before firing.
        state_bits: Width of the membrane register, sign included.
        carry: What is left for the next window; None: windows are independent.
        overflow: What registers of the hardware do with a value that does not fit, ``"wrap"`` or
            ``"saturate"``; only the model of tag ``fpga`` asks.
        log: Where that model reports such values (:class:`lava_bridge.overflow.OverflowLog`).
        recorder: Where membranes go before they fire, one row per window; None: nowhere.
        name: Name of the population, for messages.

    Ports and state: ``a_in`` currents, ``s_out`` digits, ``v`` charging register, ``u`` firing register
    (magnitude and rounding offset), ``sign`` of the firing window.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        threshold: np.ndarray[Any, Any],
        bias: np.ndarray[Any, Any],
        window: int,
        time_steps: int,
        signed: bool,
        half: bool,
        state_bits: int,
        payload_bits: int,
        carry: Carry | None,
        recorder: Any,
        name: str,
        overflow: str = "wrap",
        log: Any = None,
    ) -> None:
        super().__init__(
            window=window,
            time_steps=time_steps,
            signed=signed,
            half=half,
            state_bits=state_bits,
            payload_bits=payload_bits,
            carry=carry,
            recorder=recorder,
            overflow=overflow,
            log=log,
            name=name,
        )
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.v = Var(shape=shape, init=0)
        self.u = Var(shape=shape, init=0)
        self.sign = Var(shape=shape, init=1)
        self.threshold = Var(shape=threshold.shape, init=threshold)
        self.bias = Var(shape=bias.shape, init=bias)


class Readout(AbstractProcess):
    """Neurons that integrate a window and never fire; every membrane is recorded.

    Args:
        shape, bias, window, state_bits, overflow, log, name: As in :class:`SpikePack`.
        recorder: Where the membranes go, one row per window (:class:`lava_bridge.recording.Recorder`).
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        bias: np.ndarray[Any, Any],
        window: int,
        state_bits: int,
        recorder: Any,
        name: str,
        overflow: str = "wrap",
        log: Any = None,
    ) -> None:
        super().__init__(
            window=window, state_bits=state_bits, recorder=recorder, overflow=overflow, log=log, name=name
        )
        self.a_in = InPort(shape=shape)
        self.v = Var(shape=shape, init=0)
        self.bias = Var(shape=bias.shape, init=bias)
