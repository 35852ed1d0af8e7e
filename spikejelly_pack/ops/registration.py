"""Operators of :mod:`torch.library` without the weight of ``torch.library.custom_op``.

``custom_op`` wraps every call in checks of aliasing and in a generic autograd function, which takes longer
than many a kernel. :func:`operator` registers the same parts, in its words, straight with the dispatcher:
fake tensors, ``torch.compile``, ``torch.export`` and ``opcheck`` see no difference. An operator must not
return its inputs, nor views of them; ``opcheck`` in the tests holds it to that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Operator", "operator"]

_LIBRARY = torch.library.Library("spikepack", "FRAGMENT")


def _keep_nothing(_ctx: Any, _inputs: tuple[Any, ...], _output: Any) -> None:
    """The context of an operator without a gradient."""


class Operator:
    """``torch.ops.spikepack.<name>``, to call and to register what belongs to it.

    Args:
        name: Behind ``spikepack::``.
        function: What it computes; its annotations give the schema.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__doc__, self.__name__ = function.__doc__, name
        self._qualified = f"{_LIBRARY.ns}::{name}"
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        # A compiler that meets the call at run time must not trace into it.
        _LIBRARY.impl(name, torch.compiler.disable(function), "CompositeExplicitAutograd")
        self._overload: Any = getattr(getattr(torch.ops, _LIBRARY.ns), name).default
        self._function = self._differentiable(self._refuse, _keep_nothing)
        _LIBRARY.impl(name, self._with_gradient, "Autograd")

    def __call__(self, *arguments: Any) -> Any:
        return self._overload(*arguments)

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Shapes, dtypes and strides of the result without data."""
        torch.library.register_fake(self._qualified, function, lib=_LIBRARY)
        return function

    def register_vmap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The batching rule, as :func:`torch.library.register_vmap` takes it."""
        torch.library.register_vmap(self._qualified, function, lib=_LIBRARY)
        return function

    def register_autograd(
        self, backward: Callable[..., Any], *, setup_context: Callable[[Any, tuple[Any, ...], Any], None]
    ) -> None:
        """The gradient: both functions as :class:`torch.autograd.Function` has them."""
        self._function = self._differentiable(backward, setup_context)

    def _refuse(self, *_: Any) -> None:
        raise RuntimeError(f"{self._qualified}: it has no gradient; detach its inputs.")

    def _below(self, *arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():  # pyright: ignore[reportPrivateUsage]
            return self._overload(*arguments)

    def _with_gradient(self, *arguments: Any) -> Any:
        wanted = torch.is_grad_enabled() and any(
            isinstance(value, torch.Tensor) and value.requires_grad for value in arguments
        )
        return self._function.apply(*arguments) if wanted else self._below(*arguments)

    def _differentiable(
        self, gradient: Callable[..., Any], keep: Callable[[Any, tuple[Any, ...], Any], None]
    ) -> type[torch.autograd.Function]:
        below = self._below

        class Differentiable(torch.autograd.Function):
            """The operator with what its gradient needs."""

            @staticmethod
            def forward(ctx: Any, *arguments: Any) -> Any:
                output = below(*arguments)
                keep(ctx, arguments, output)
                return output

            @staticmethod
            def backward(ctx: Any, *grad_outputs: Any) -> Any:
                return gradient(ctx, *grad_outputs)

        return Differentiable


def operator(name: str) -> Callable[[Callable[..., Any]], Operator]:
    """Register the decorated function as ``torch.ops.spikepack.<name>``."""
    return lambda function: Operator(name, function)
