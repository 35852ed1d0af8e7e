"""The network that distillation learns from."""

from __future__ import annotations

from torch import nn

from ..spec.errors import ParameterError
from .saved import load_network

__all__ = ["load_teacher"]


def load_teacher(reference: str, weights: str | None = None) -> nn.Module:
    """A trained network, frozen and in evaluation mode.

    Args:
        reference: ``FILE.py:FUNCTION``, ``package.module:FUNCTION`` or ``torchvision:NAME`` (an ANN), or a
            ``.safetensors`` or ``.ckpt`` file of ``spikepack train``.
        weights: State dict as safetensors, loaded into an ANN.

    Raises:
        ParameterError: It cannot be built or loaded.
    """
    from ..tasks.models import build_model

    if reference.endswith((".safetensors", ".ckpt")):
        net: nn.Module = load_network(reference)
    else:
        net = build_model(reference)
        if weights:
            _load(net, weights)
    return net.eval().requires_grad_(requires_grad=False)


def _load(net: nn.Module, path: str) -> None:
    import safetensors.torch

    try:
        net.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise ParameterError(
            f"{path}: must be the teacher's state dict as safetensors, got: {line}."
        ) from None
