"""Max-pooling: moved behind the rectifier it precedes, and exact on spikes."""

from __future__ import annotations

from torch import fx, nn

from ..layer.max_pool import SpikePackMaxPool2d
from ..spec.errors import UnsupportedError
from ..spec.parameters import NeuronParameters
from .graph import follow, module_of, node_input
from .signals import MAX_POOLS, Kind, kinds_of

__all__ = ["exact_max_pools", "rectify_before_pooling"]


def rectify_before_pooling(model: fx.GraphModule, rectifiers: tuple[type[nn.Module], ...]) -> None:
    """Turn pool-then-rectify into rectify-then-pool, in place: exact, since rectifiers are monotone.

    Raises:
        UnsupportedError: A max-pool that has no exact form on spikes.
    """
    for node in list(model.graph.nodes):
        pool = module_of(model, node)
        if not isinstance(pool, MAX_POOLS):
            continue
        _check(str(node.target), pool)
        (user, *others) = node.users
        if others or not isinstance(module_of(model, user), rectifiers):
            continue
        source = node_input(node)
        user.args = (source,)
        node.args = (user,)
        node.prepend(user)
        follow(user, node)
    model.graph.lint()
    model.recompile()


def _check(path: str, pool: nn.Module) -> None:
    if not isinstance(pool, nn.MaxPool2d):
        raise UnsupportedError(
            f"layer {path!r}: {type(pool).__name__} has no exact form on spikes; use MaxPool2d or average "
            "pooling."
        )
    if pool.return_indices:
        raise UnsupportedError(
            f"layer {path!r}: max-pooling must not return indices, which no spike carries; "
            "set return_indices=False."
        )


def exact_max_pools(model: fx.GraphModule, firing: tuple[type, ...], parameters: NeuronParameters) -> None:
    """Replace every max-pool of spikes, in place, by the one that is exact in every form."""
    kinds = kinds_of(model, firing)
    for node in model.graph.nodes:
        pool = module_of(model, node)
        if isinstance(pool, nn.MaxPool2d) and kinds[node_input(node)] is Kind.SPIKES:
            exact = SpikePackMaxPool2d(
                pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode,
                time_steps=parameters.time_steps, tau=parameters.tau, form="packed",
            )  # fmt: skip
            model.add_submodule(str(node.target), exact)
    model.recompile()
