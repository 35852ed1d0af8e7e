"""Processes that move messages without weights; none of them adds a time step of its own."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

__all__ = ["Concat", "Relay"]


class Relay(AbstractProcess):
    """Passes messages on, ``steps`` time steps later (silence before the first).

    Lava's own delays end at 63 time steps; a branch that skips k neurons waits k windows.

    Args:
        shape: Shape of the messages, reversed.
        steps: Delay in time steps, 0 or more.
        name: Name of the relay.
    """

    def __init__(self, *, shape: tuple[int, ...], steps: int, name: str) -> None:
        super().__init__(shape=shape, steps=steps, name=name)
        self.m_in = InPort(shape=shape)
        self.m_out = OutPort(shape=shape)


class Concat(AbstractProcess):
    """Joins two messages of one time step along the channels, the last axis.

    A Lava model has a fixed set of ports, hence two; more inputs make a chain. Lava's virtual port for this
    (``concat_with``) has no implementation.

    Args:
        first: Shape of the first message, reversed.
        second: Shape of the second message, reversed.
        name: Name of the operation.
    """

    def __init__(self, *, first: tuple[int, ...], second: tuple[int, ...], name: str) -> None:
        super().__init__(name=name)
        self.first_in = InPort(shape=first)
        self.second_in = InPort(shape=second)
        self.m_out = OutPort(shape=(*first[:-1], first[-1] + second[-1]))
