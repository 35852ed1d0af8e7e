"""The network that distillation learns from."""

from __future__ import annotations

from torch import nn

from ..recipes.files import read_tensors
from ..spec.errors import ExchangeFileError, ParameterError
from ..spec.reason import reason
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
    try:
        net.load_state_dict(read_tensors(path))
    except (ExchangeFileError, RuntimeError) as error:
        raise ParameterError(
            f"{path}: must be the teacher's state dict as safetensors, got: {reason(error)}; save it with "
            "safetensors.torch.save_file."
        ) from None
