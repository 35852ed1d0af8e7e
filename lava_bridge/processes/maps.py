"""Processes on maps (images of channels) that have no weights; none of them adds a time step of its own."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

__all__ = ["MaxPool", "Spread", "Upsample"]


class MaxPool(AbstractProcess):
    """Maximum of each window, digit by digit: codes still tied for the maximum decide its next digit.

    Exact and causal on what neurons emit, signed too; padding is not there, never a zero.

    Args:
        geometry: The operation, :class:`spikejelly_pack.spec.graph.MaxPool2d`.
        shape: ``(W, H, C)`` of what it reads, perhaps after the axis of a batch, here and below.
        shape_out: ``(W, H, C)`` of what it sends.
        window: Time steps of a window.
        graded: Spikes are codes, one per window: a plain maximum.
        name: Name of the operation.
    """

    def __init__(
        self,
        *,
        geometry: Any,
        shape: tuple[int, ...],
        shape_out: tuple[int, ...],
        window: int,
        graded: bool,
        name: str,
    ) -> None:
        super().__init__(geometry=geometry, shape_out=shape_out, window=window, graded=graded, name=name)
        self.s_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape_out)


class Upsample(AbstractProcess):
    """Repeats rows and columns, of spikes or of currents.

    Args:
        shape: ``(W, H, C)`` of what it reads.
        factor: Repeats of columns and of rows.
        name: Name of the operation.
    """

    def __init__(self, *, shape: tuple[int, ...], factor: tuple[int, int], name: str) -> None:
        super().__init__(factor=factor, name=name)
        self.m_in = InPort(shape=shape)
        *lead, width, height, channels = shape
        self.m_out = OutPort(shape=(*lead, width * factor[0], height * factor[1], channels))


class Spread(AbstractProcess):
    """Sets the values of a map apart on a canvas of zeros; what falls beside the canvas is dropped.

    Args:
        shape: ``(W, H, C)`` of what it reads.
        canvas: ``(W, H, C)`` of what it sends.
        stride: Distance of neighbours, in columns and in rows.
        first: Column and row of the first value; negative beside the canvas.
        name: Name of the Process.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        canvas: tuple[int, ...],
        stride: tuple[int, ...],
        first: tuple[int, int],
        name: str,
    ) -> None:
        super().__init__(shape=shape, canvas=canvas, stride=stride, first=first, name=name)
        self.m_in = InPort(shape=shape)
        self.m_out = OutPort(shape=canvas)
