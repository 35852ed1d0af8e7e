"""What is a synapse: for every torch operation that multiplies and accumulates, its operands and its cost.

Operations are known by name, so that ``torch.matmul``, ``Tensor.matmul``, ``@`` and ``torch.ops.aten.matmul``
are one rule. A new operation is one line in :data:`SYNAPSES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...spec.errors import ParameterError

__all__ = ["HIDDEN", "SOMA", "SYNAPSES", "SynapseRule", "check_extra_rules", "einsum_macs", "operation_name"]

#: Rule of an operation that is no synapse: it stays a function of decoded values.
SOMA = "soma"
Macs = Callable[..., int]


@dataclass(frozen=True)
class SynapseRule:
    """How one operation is put on spikes.

    Args:
        operands: Inputs that must receive spikes, by position or by keyword. Weights may be among them:
            what is computed from parameters and buffers alone never gets a node.
        macs: ``macs(args, output)``, multiply-accumulates of one call; for a module ``macs(module, args,
            output)``.
        names: Parameter names in order, for calls by keyword.
        channels: Axis of the channels of an operand, as a negative number; absent: one threshold.
    """

    operands: tuple[int | str, ...]
    macs: Macs
    names: tuple[str, ...] = ()
    channels: tuple[tuple[int, int], ...] = ()

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments with known keywords moved to their positions."""
        bound, rest = list(args), dict(kwargs)
        for name in self.names[len(bound) :]:
            if name not in rest:
                break
            bound.append(rest.pop(name))
        return bound, rest


def operation_name(func: Any) -> str:
    """Bare name of a torch function, method or operator, in place or not."""
    schema = getattr(func, "_schema", None)
    name = schema.name.rpartition("::")[2] if schema is not None else getattr(func, "__name__", str(func))
    if name == "__get__":
        return f".{getattr(getattr(func, '__self__', None), '__name__', '')}"
    return name if name.endswith("__") or len(name) == 1 else name.rstrip("_")


def _linear_macs(args: list[Any], output: Tensor) -> int:
    return output.numel() * args[0].shape[-1]


def _conv_macs(args: list[Any], output: Tensor) -> int:
    return output.numel() * math.prod(args[1].shape[1:])


def _transposed_macs(args: list[Any], _output: Tensor) -> int:
    return args[0].numel() * math.prod(args[1].shape[1:])


def _batched_macs(args: list[Any], output: Tensor) -> int:
    return output.numel() * len(args[1]) * args[1].shape[-1]


def _product_macs(first: int) -> Macs:
    def macs(args: list[Any], output: Tensor) -> int:
        return output.numel() * args[first].shape[-1]

    return macs


def _tensordot_macs(args: list[Any], output: Tensor) -> int:
    # every contracted axis is counted twice in the operands and never in the result
    shared = args[0].numel() * args[1].numel() / max(output.numel(), 1)
    return output.numel() * math.isqrt(round(shared))


def _bilinear_macs(args: list[Any], output: Tensor) -> int:
    return output.numel() * args[0].shape[-1] * args[1].shape[-1] + output.numel() * args[1].shape[-1]


def einsum_macs(equation: str, operands: list[Tensor]) -> int:
    """Products of one einsum, all labels looped over; an ellipsis counts as what it stands for."""
    sizes: dict[str, int] = {}
    spread = 1
    for term, operand in zip(equation.replace(" ", "").split("->")[0].split(","), operands, strict=True):
        head, dots, tail = term.partition("...")
        sizes.update(zip(head, operand.shape, strict=False))
        if tail:
            sizes.update(zip(tail, operand.shape[-len(tail) :], strict=False))
        if dots:
            spread = max(spread, math.prod(operand.shape[len(head) : operand.dim() - len(tail)]))
    return math.prod(sizes.values()) * spread


_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")


def _conv(axes: int, transposed: bool = False) -> SynapseRule:
    macs = _transposed_macs if transposed else _conv_macs
    return SynapseRule((0, 1), macs, _TRANSPOSED if transposed else _CONV, ((0, -1 - axes),))


def _added(second: str, third: str) -> SynapseRule:
    return SynapseRule((1, 2), _product_macs(1), ("input", second, third))


_MATMUL = SynapseRule((0, 1), _product_macs(0), ("input", "other"))
_REVERSED = SynapseRule((0, 1), _product_macs(1), ("input", "other"))
_MM = SynapseRule((0, 1), _product_macs(0), ("input", "mat2"))

SYNAPSES: dict[str, SynapseRule] = {
    "linear": SynapseRule((0, 1), _linear_macs, ("input", "weight", "bias"), ((0, -1),)),
    "bilinear": SynapseRule((0, 1, 2), _bilinear_macs, ("input1", "input2", "weight", "bias")),
    **{f"conv{axes}d": _conv(axes) for axes in (1, 2, 3)},
    **{f"conv_transpose{axes}d": _conv(axes, transposed=True) for axes in (1, 2, 3)},
    "deform_conv2d": SynapseRule((0, 1), _conv_macs, ("input", "weight"), ((0, -3),)),
    **dict.fromkeys(("matmul", "__matmul__", "linalg_matmul", "inner"), _MATMUL),
    "__rmatmul__": _REVERSED,
    **dict.fromkeys(("mm", "bmm"), _MM),
    "mv": SynapseRule((0, 1), _product_macs(0), ("input", "vec")),
    **dict.fromkeys(("dot", "vdot"), SynapseRule((0, 1), _product_macs(0), ("input", "tensor"))),
    "linalg_vecdot": SynapseRule((0, 1), _product_macs(0), ("x", "y")),
    "addmm": _added("mat1", "mat2"),
    "addmv": _added("mat", "vec"),
    "baddbmm": _added("batch1", "batch2"),
    "addbmm": SynapseRule(
        (1, 2),
        _batched_macs,
        ("input", "batch1", "batch2"),
    ),
    "tensordot": SynapseRule((0, 1), _tensordot_macs, ("a", "b", "dims")),
}

#: Operations whose synapses lie inside one kernel: no node can stand there, they stay analog by name.
HIDDEN = {"conv_tbc", "convolution", "_convolution", "quantized_lstm", "quantized_gru"}


def check_extra_rules(rules: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """The rules of a user, checked.

    Raises:
        ParameterError: A key is neither a module type nor callable, or a value is no rule.
    """
    for key, rule in (rules or {}).items():
        if not callable(key):
            raise ParameterError(
                f"convert: extra_rules must have module types or functions as keys, got {key!r}; "
                "pass the class or the function itself."
            )
        if rule != SOMA and not isinstance(rule, SynapseRule):
            raise ParameterError(
                f"convert: extra_rules must be 'soma' or a SynapseRule for each key, got {rule!r} for "
                f"{getattr(key, '__name__', key)}; choose one of these."
            )
    return dict(rules or {})


def is_module_type(key: Any) -> bool:
    """Whether a key of ``extra_rules`` names a class of modules."""
    return isinstance(key, type) and issubclass(key, nn.Module)


def is_float(value: Any) -> bool:
    """Whether a value is a tensor that a node can code."""
    return isinstance(value, Tensor) and value.is_floating_point()


def own_operator(func: Any) -> str | None:
    """``namespace::name`` of a custom operator, one that neither torch nor torchvision brings."""
    if isinstance(func, torch._ops.OpOverload):  # pyright: ignore[reportPrivateUsage]
        name = func._schema.name  # pyright: ignore[reportPrivateUsage]
    elif isinstance(func, torch._ops.OpOverloadPacket):  # pyright: ignore[reportPrivateUsage]
        name = func._qualified_op_name  # pyright: ignore[reportPrivateUsage]
    else:
        return None
    space, _, bare = name.partition("::")
    known = space in {"aten", "prims", "prim", "profiler"} or (
        space == "torchvision" and bare in _TORCHVISION
    )
    return None if known else name


_TORCHVISION = {
    "deform_conv2d", "nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "_cuda_version",
}  # fmt: skip
