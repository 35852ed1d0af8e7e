"""The integer network as a graph of operations: what the exchange file holds and every executor runs.

One operation per file; :mod:`.base` holds what they share and the registry. Importing this package
registers every kind.
"""

from __future__ import annotations

from .avg_pool2d import AvgPool2d
from .base import OPS, Op, Shape, Signal, Synapse, register, tensor_field
from .conv2d import Conv2d
from .conv_transpose2d import ConvTranspose2d
from .dense import Dense
from .endpoints import Input, Readout
from .max_pool2d import MaxPool2d
from .network import Network
from .neuron import Neuron
from .scale import Scale
from .upsample2d import Upsample2d
from .wiring import Add, Concat, Delay, Flatten

__all__ = [
    "OPS",
    "Add",
    "AvgPool2d",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Delay",
    "Dense",
    "Flatten",
    "Input",
    "MaxPool2d",
    "Network",
    "Neuron",
    "Op",
    "Readout",
    "Scale",
    "Shape",
    "Signal",
    "Synapse",
    "Upsample2d",
    "register",
    "tensor_field",
]
