"""Fold evaluation-mode BatchNorm into the synapse in front of it."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ..spec.errors import UnsupportedError
from .canonical import adopt, module_of

__all__ = ["fold_batchnorm"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def fold_batchnorm(model: fx.GraphModule) -> list[str]:
    """Fold every BatchNorm of a canonical graph in place; returns the paths that were folded.

    Raises:
        UnsupportedError: A BatchNorm does not directly follow a synapse that serves it alone.
    """
    folded = []
    for node in list(model.graph.nodes):
        norm = module_of(model, node)
        if not isinstance(norm, _NORMS):
            continue
        source = node.args[0]
        synapse = module_of(model, source)
        if not isinstance(synapse, (nn.Linear, *_CONVOLUTIONS)) or len(source.users) > 1:
            raise UnsupportedError(
                f"layer {node.target!r}: BatchNorm must directly follow a convolution or linear layer that nothing "
                "else reads; move it there or fold it by hand."
            )
        if norm.running_mean is None:
            raise UnsupportedError(
                f"layer {node.target!r}: BatchNorm must have running statistics, got track_running_stats=False; "
                "train with statistics."
            )
        model.add_submodule(str(source.target), _fused(synapse, norm))
        node.replace_all_uses_with(source)
        model.graph.erase_node(node)
        folded.append(str(node.target))
    model.delete_all_unused_submodules()
    model.recompile()
    return folded


def _fused(synapse: Any, norm: Any) -> nn.Module:
    if isinstance(synapse, nn.Linear):
        return adopt(fuse_linear_bn_eval(synapse.eval(), norm.eval()), type(synapse))
    return adopt(
        fuse_conv_bn_eval(synapse.eval(), norm.eval(), isinstance(synapse, _TRANSPOSED)), type(synapse)
    )
