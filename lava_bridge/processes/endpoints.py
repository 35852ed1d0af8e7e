"""Where spikes enter the Lava network and where they are recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

__all__ = ["Sink", "Source"]


class Source(AbstractProcess):
    """Sends the digits of codes, sample after sample without a gap, then silence.

    With graded spikes a window is one time step and the message is the code itself.

    Args:
        codes: ``[N, *shape]`` with the axes of a sample reversed; they reach the model by fork, not by
            messages.
        window: Time steps of a window; digit t of sample n leaves at time step ``n * window + t`` (from 1).
        payload_bits: Magnitude bits of a graded spike; 0: digits.
        name: Name of the input.
    """

    def __init__(self, *, codes: np.ndarray[Any, Any], window: int, payload_bits: int, name: str) -> None:
        super().__init__(codes=codes, window=window, payload_bits=payload_bits, name=name)
        self.s_out = OutPort(shape=codes.shape[1:])


class Sink(AbstractProcess):
    """Packs the digits that arrive in the time step they leave a population; records one code per window.

    A graded spike is a code already, and its window one time step long.

    Args:
        shape: Shape of the population, reversed.
        window: Time steps of a window.
        recorder: Where the codes go, one row per window (:class:`lava_bridge.recording.Recorder`).
        name: Name of the sink.
    """

    def __init__(self, *, shape: tuple[int, ...], window: int, recorder: Any, name: str) -> None:
        super().__init__(window=window, recorder=recorder, name=name)
        self.s_in = InPort(shape=shape)
