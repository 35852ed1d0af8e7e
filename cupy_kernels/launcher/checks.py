"""What every launch checks: CuPy checks nothing, and a wrong pointer is silent or kills the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from ..arrays import FLOATS, ITEM_SIZE, Array
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import Code

__all__ = [
    "CodeConstants",
    "Neuron",
    "code_dtype",
    "code_of",
    "contiguous",
    "flag_of",
    "leak_of",
    "matching",
    "optional",
    "refuse_carry",
    "required",
]

#: An argument, or None where it may be absent.
Found = TypeVar("Found", Array, "Array | None")
LEAKS = {"residual": 1, "membrane": 2}


class CodeConstants(Protocol):
    """Constants of one code; ``spikejelly_pack``'s ``NeuronParameters`` has them."""

    @property
    def time_steps(self) -> int: ...
    @property
    def tau(self) -> float: ...
    @property
    def weights(self) -> tuple[float, ...]: ...
    @property
    def weight_sum(self) -> float: ...


class Neuron(CodeConstants, Protocol):
    """Constants of one neuron; ``spikejelly_pack``'s ``NeuronParameters`` is one."""

    @property
    def leak(self) -> float: ...
    @property
    def carry(self) -> str: ...
    @property
    def signed(self) -> bool: ...
    @property
    def half(self) -> float: ...


def code_of(constants: CodeConstants) -> Code:
    """Constants of the code as they are compiled in."""
    steps = int(constants.time_steps)
    if not 1 <= steps <= 16 or len(constants.weights) != steps:
        raise KernelArgumentError(
            f"neuron: time_steps must be in 1..16 with as many weights, got {steps} and "
            f"{len(constants.weights)}; use NeuronParameters."
        )
    return Code(steps, float(constants.tau), tuple(constants.weights), float(constants.weight_sum))


def code_dtype(time_steps: int, signed: bool) -> str:
    """Dtype of the codes: uint8 / uint16, signed int8 / int16 / int32 (one more bit for the sign)."""
    bits = time_steps + int(signed)
    if signed:
        return "int8" if bits <= 8 else "int16" if bits <= 16 else "int32"
    return "uint8" if bits <= 8 else "uint16"


def required(queue: Queue, name: str, value: Any, dtypes: Sequence[str] = FLOATS) -> Array:
    """Read an argument that must be there; dtype and device are checked, memory must be dense."""
    array = Array.of(name, value)
    if array.dtype not in dtypes:
        raise KernelArgumentError(
            f"{name}: dtype must be {' or '.join(dtypes)}, got {array.dtype}; convert it or allocate it so."
        )
    if array.device != queue.device:
        places = ["host memory" if d is None else f"cuda:{d}" for d in (queue.device, array.device)]
        raise KernelArgumentError(f"{name}: must lie in {places[0]}, got {places[1]}; move it or the queue.")
    if not array.dense:
        raise KernelArgumentError(
            f"{name}: must be dense (contiguous in any order of its axes), got shape {list(array.shape)} "
            f"with strides {list(array.strides)}; call contiguous() first."
        )
    if array.pointer % ITEM_SIZE[array.dtype]:
        raise KernelArgumentError(f"{name}: must be aligned to its elements, got address {array.pointer:#x}.")
    return array


def optional(queue: Queue, name: str, value: Any, dtypes: Sequence[str] = FLOATS) -> Array | None:
    """Read an argument that may be None."""
    return None if value is None else required(queue, name, value, dtypes)


def matching(array: Found, like: Array, leading: int = 0) -> Found:
    """Require the shape and the memory layout of ``like``, whose first ``leading`` axes do not count."""
    if array is None:
        return array
    wanted = like.inner(leading)
    if not array.same_places(wanted):
        raise KernelArgumentError(
            f"{array.name}: must have shape {list(wanted.shape)} and strides {list(wanted.strides)} as "
            f"{like.name}, got {list(array.shape)} and {list(array.strides)}; allocate it like that one."
        )
    return array


def contiguous(array: Array, leading: int) -> Array:
    """Require that the first ``leading`` axes come first in memory, in order."""
    count = array.inner(leading).size
    for axis in range(leading - 1, -1, -1):
        if array.size and array.shape[axis] != 1 and array.strides[axis] != count:
            raise KernelArgumentError(
                f"{array.name}: its first {leading} axes must come first in memory, got shape "
                f"{list(array.shape)} with strides {list(array.strides)}; call contiguous() first."
            )
        count *= array.shape[axis]
    return array


def leak_of(neuron: Neuron) -> int:
    """What a window leaves for the next, as the kernels number it."""
    return 0 if neuron.leak == 0.0 else LEAKS[neuron.carry]


def refuse_carry(neuron: Neuron, **given: Any) -> None:
    """Without leak there is no carry to read or write."""
    if neuron.leak == 0.0:
        for name, value in given.items():
            if value is not None:
                raise KernelArgumentError(f"{name}: needs a neuron with leak > 0, got leak 0; pass None.")


def flag_of(queue: Queue, name: str, value: Any) -> Array | None:
    """Read a flag of one element, which may be None."""
    flag = optional(queue, name, value, ("int32", "uint32"))
    if flag is not None and flag.size != 1:
        raise KernelArgumentError(
            f"{name}: must have one element, got {list(flag.shape)}; allocate one int32."
        )
    return flag
