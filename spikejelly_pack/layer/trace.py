"""Dataflow of a network through torch.fx, guided by an example where the forward looks at its input.

SpikingJelly's builders ask for ``x.ndim`` or divide by a head count, which plain symbolic tracing cannot
answer. Given an example input, each traced value carries the tensor it has for that example, and only such
questions are answered from it: shapes stay symbolic, so the graph is not tied to the example's batch size.
"""

from __future__ import annotations

import operator
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from .members import LIBRARY_HOMES, holds_state
from .modes import evaluating

__all__ = ["ExampleTracer", "trace"]


class ExampleTracer(fx.Tracer):
    """Symbolic tracer whose yes/no questions an example answers.

    Args:
        example: Positional inputs of the network, or None for plain symbolic tracing.
    """

    def __init__(self, example: tuple[Tensor, ...] | None) -> None:
        super().__init__()
        self._waiting = list(example or ())
        self._guided = example is not None
        self._values: dict[fx.Node, Any] = {}
        self._evaluating = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Stateful modules and stateless library layers are single nodes of the graph."""
        if isinstance(m, base.MemoryModule):
            return True
        if holds_state(m):
            return False
        container = isinstance(m, nn.Sequential) and not isinstance(m, base.MultiStepModule)
        return m.__module__.startswith(LIBRARY_HOMES) and not container

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Inside a leaf that is being evaluated, modules just run."""
        if self._evaluating:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Inside a leaf that is being evaluated, parameters are themselves."""
        return attr_val if self._evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any
    ) -> fx.Proxy:
        """Record the node, and its value for the example."""
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        if self._guided:
            self._values[proxy.node] = self._evaluate(proxy.node)
        return proxy

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Answer from the example; without one, refuse as plain tracing does."""
        if not self._guided:
            return super().to_bool(obj)
        return bool(self._values[obj.node])

    def _evaluate(self, node: fx.Node) -> Any:
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: self._values[n])
        self._evaluating = True
        try:
            if node.op == "placeholder":
                return self._waiting.pop(0) if self._waiting else (args[0] if args else None)
            if node.op == "get_attr":
                return operator.attrgetter(str(node.target))(self.root)
            if node.op == "call_function":
                return node.target(*args, **kwargs)  # type: ignore[operator]
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            if node.op == "call_module":
                return self.root.get_submodule(str(node.target)).forward(*args, **kwargs)
        finally:
            self._evaluating = False
        return args[0]


@contextmanager
def _undisturbed(net: nn.Module) -> Generator[None]:
    """Evaluate without leaving a trace: no gradients, no running statistics, memories put back."""
    memories = {
        m: dict(m._memories)  # pyright: ignore[reportPrivateUsage]
        for m in net.modules()
        if isinstance(m, base.MemoryModule)
    }
    try:
        with evaluating(net), torch.no_grad():
            yield
    finally:
        for module, state in memories.items():
            module._memories.update(state)  # pyright: ignore[reportPrivateUsage]


def trace(net: nn.Module, example: Tensor | tuple[Tensor, ...] | None = None) -> tuple[fx.Graph | None, str]:
    """Dataflow graph of ``net.forward``, or why there is none.

    Args:
        net: The network, in the step mode and form the graph is wanted for.
        example: Inputs that answer questions the forward asks about its input.

    Returns:
        ``(graph, "")`` or ``(None, reason)``.
    """
    inputs = (example,) if isinstance(example, Tensor) else example
    tracer = ExampleTracer(inputs)
    with _undisturbed(net):
        try:
            graph = tracer.trace(net)
        except Exception as error:  # noqa: BLE001 - any forward may run here; the reason is reported
            return None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return graph, ""
