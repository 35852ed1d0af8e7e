"""Which implementation runs an operation; a forced one never falls back to another."""

from __future__ import annotations

from ..spec.errors import EnvironmentMissingError
from ..spec.parameters import check_choice

__all__ = ["PROVIDERS", "check_provider"]

PROVIDERS = ("auto", "torch", "cupy")


def check_provider(value: object, owner: str = "SpikePackNode") -> str:
    """Return a usable provider name.

    Raises:
        ParameterError: ``value`` is no provider's name.
        EnvironmentMissingError: The provider is named but this installation has no kernels for it.
    """
    name = check_choice(owner, "provider", value, PROVIDERS)
    if name == "cupy":
        raise EnvironmentMissingError(
            f"{owner}: provider 'cupy' must have its kernels installed, got an installation without them; "
            "choose provider='auto' or 'torch'."
        )
    return name
