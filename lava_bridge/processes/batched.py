"""Stock synapses with several samples in one message."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.variable import Var
from lava.proc.conv.process import Conv

__all__ = ["BatchedConv"]


class BatchedConv(Conv):
    """Lava's ``Conv`` with a batch axis before those of an image: ``(B, W, H, C)``.

    Args:
        batch: B, samples of a message.
        options: As Lava's ``Conv``.
    """

    def __init__(self, *, batch: int, **options: Any) -> None:
        super().__init__(**options)
        self.s_in = InPort(shape=(batch, *self.input_shape))
        self.a_out = OutPort(shape=(batch, *self.output_shape))
        self.a_buf = Var(shape=(batch, *self.output_shape), init=0)
