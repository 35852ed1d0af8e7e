"""Which implementation runs an operation; a forced one never falls back to another.

``"torch"`` is plain torch, which compilers fuse with its neighbours. ``"cupy"`` launches the kernels of
:mod:`cupy_kernels` through the operators of :mod:`.library`. ``"auto"`` takes the kernels where they can run
and pay, and records why (:func:`recorded_choices`). The environment variable ``SPIKEPACK_PROVIDER`` overrides
every argument, ``provider=`` of a node included.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..spec.errors import DtypeError, EnvironmentMissingError, UnsupportedError
from ..spec.parameters import check_choice
from . import kernels

__all__ = [
    "KERNEL_DTYPES",
    "PROVIDERS",
    "VARIABLE",
    "Choice",
    "check_provider",
    "choose",
    "effective_provider",
    "provider_report",
    "recorded_choices",
    "uses_kernels",
]

PROVIDERS = ("auto", "torch", "cupy")
VARIABLE = "SPIKEPACK_PROVIDER"
# What the kernels read; their arithmetic is float32 (int32 for integer membranes).
Dtypes = tuple[torch.dtype, ...]
KERNEL_DTYPES: Dtypes = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Choice:
    """What runs one operation on one kind of tensor.

    Attributes:
        operation: Name of the operation.
        device: Device type of its input.
        dtype: Dtype of its input.
        provider: ``"torch"`` or ``"cupy"``.
        reason: Why, in a few words.
    """

    operation: str
    device: str
    dtype: str
    provider: str
    reason: str


_RECORDED: dict[tuple[object, ...], Choice] = {}


def effective_provider(value: object, owner: str = "SpikePackNode") -> str:
    """``value`` checked, or what ``SPIKEPACK_PROVIDER`` says.

    Raises:
        ParameterError: Either is no provider's name.
    """
    named = check_choice(owner, "provider", value, PROVIDERS)
    forced = os.environ.get(VARIABLE)
    return named if not forced else check_choice("environment", VARIABLE, forced, PROVIDERS)


def check_provider(value: object, owner: str = "SpikePackNode") -> str:
    """Return ``value`` if it is a provider that can run in this process.

    Raises:
        ParameterError: ``value`` or ``SPIKEPACK_PROVIDER`` is no provider's name.
        EnvironmentMissingError: The kernels are asked for and no device here can run them.
    """
    name = check_choice(owner, "provider", value, PROVIDERS)
    if effective_provider(name, owner) == "cupy":
        reasons = {device: kernels.unavailable(torch.device(device)) for device in kernels.BACKENDS}
        if all(reasons.values()):
            raise _missing(owner, "; ".join(str(reason) for reason in reasons.values()))
    return name


def _missing(owner: str, reason: str) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        f"{owner}: provider 'cupy' must have its kernels, got an installation where they cannot run "
        f"({reason}); mend that or choose provider='auto' or 'torch'."
    )


def choose(
    provider: str,
    operation: str,
    device: torch.device,
    dtype: torch.dtype,
    obstacle: str | None = None,
    accepted: Dtypes = KERNEL_DTYPES,
) -> Choice:
    """Decide, without recording, what runs ``operation`` on a tensor.

    Args:
        provider: Argument of the caller; ``SPIKEPACK_PROVIDER`` goes before it.
        operation: Name, for messages and the record.
        device: Of the operation's main input.
        dtype: Of that input.
        obstacle: Why the kernels cannot do this very operation, None if they can.
        accepted: Dtypes its kernel reads.

    Raises:
        EnvironmentMissingError: The kernels are forced and cannot run on the tensor's device.
        DtypeError: The kernels are forced and do not read the tensor's dtype.
        UnsupportedError: The kernels are forced and there is an obstacle.
    """
    return _DECIDE[effective_provider(provider, operation)](operation, device, dtype, obstacle, accepted)


def _listed(dtypes: Dtypes) -> str:
    names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _choice(operation: str, device: torch.device, dtype: torch.dtype, provider: str, reason: str) -> Choice:
    return Choice(operation, device.type, str(dtype).removeprefix("torch."), provider, reason)


def _torch(
    operation: str, device: torch.device, dtype: torch.dtype, _obstacle: str | None, _accepted: Dtypes
) -> Choice:
    return _choice(operation, device, dtype, "torch", "asked for")


def _cupy(
    operation: str, device: torch.device, dtype: torch.dtype, obstacle: str | None, accepted: Dtypes
) -> Choice:
    # A compiler must not trace how CuPy is looked for; the operator itself raises when it runs.
    reason = None if torch.compiler.is_compiling() else kernels.unavailable(device)
    if reason:
        raise _missing(operation, reason)
    if dtype not in accepted:
        raise DtypeError(
            f"{operation}: provider 'cupy' must be given {_listed(accepted)}, got {dtype}; "
            "convert the input or choose provider='auto' or 'torch'."
        )
    if obstacle is not None:
        raise UnsupportedError(
            f"{operation}: provider 'cupy' must have a kernel for it, but {obstacle}; choose "
            "provider='auto' or 'torch'."
        )
    return _choice(operation, device, dtype, "cupy", "asked for")


def _auto(
    operation: str, device: torch.device, dtype: torch.dtype, obstacle: str | None, accepted: Dtypes
) -> Choice:
    if device.type != "cuda":
        reason: str | None = f"the kernels are for CUDA tensors, these are on {device.type}"
    elif torch.compiler.is_compiling():
        reason = "torch.compile fuses plain torch with the layers around it"
    elif dtype not in accepted:
        reason = f"the kernels read {_listed(accepted)}, these are {dtype}"
    else:
        reason = obstacle or kernels.unavailable(device)
    return _choice(operation, device, dtype, "torch" if reason else "cupy", reason or "its kernels run here")


_Decision = Callable[[str, torch.device, torch.dtype, str | None, Dtypes], Choice]
_DECIDE: dict[str, _Decision] = {"auto": _auto, "torch": _torch, "cupy": _cupy}


def uses_kernels(
    provider: str,
    operation: str,
    tensor: torch.Tensor,
    theta: torch.Tensor | None = None,
    obstacle: str | None = None,
    accepted: Dtypes = KERNEL_DTYPES,
) -> bool:
    """Whether the kernels run ``operation``; the choice is recorded (not while a compiler traces).

    Args:
        provider: As in :func:`choose`.
        operation: As in :func:`choose`.
        tensor: The operation's main input.
        theta: Threshold, if any; the kernels take one value or one per channel.
        obstacle: As in :func:`choose`.
        accepted: As in :func:`choose`.

    Raises:
        EnvironmentMissingError, DtypeError, UnsupportedError: As :func:`choose`.
    """
    if theta is not None and theta.dim() > 1 and obstacle is None:
        obstacle = kernels.obstacle(tensor, theta)
    if torch.compiler.is_compiling():
        return choose(provider, operation, tensor.device, tensor.dtype, obstacle, accepted).provider == "cupy"
    device, dtype = tensor.device, tensor.dtype
    # Everything the choice depends on, so that it is made once: a network asks at every step.
    maker = kernels.BACKENDS.get(device.type)
    key = (os.environ.get(VARIABLE), provider, operation, device, dtype, obstacle, accepted, maker)
    known = _RECORDED.get(key)
    if known is None:
        known = _RECORDED[key] = choose(provider, operation, device, dtype, obstacle, accepted)
    return known.provider == "cupy"


def recorded_choices() -> list[Choice]:
    """What ran so far in this process and why, in order of first use."""
    return list(dict.fromkeys(_RECORDED.values()))


def provider_report() -> dict[str, Any]:
    """Facts for ``spikepack info --providers``.

    Returns:
        ``auto``: what ``provider="auto"`` takes by device and dtype, and why. ``choices``: what ran so
            far.
    """
    effective_provider("auto", "spikepack info")  # refuses a wrong name in the environment
    asked = ((kind, dtype) for kind in ("cpu", "cuda") for dtype in (*KERNEL_DTYPES, torch.float64))
    auto = [_auto("fire", torch.device(kind), dtype, None, KERNEL_DTYPES) for kind, dtype in asked]
    return {
        "environment": os.environ.get(VARIABLE) or None,
        "providers": {
            "torch": {"available": True, "reason": f"torch {torch.__version__}"},
            "cupy": kernels.report(),
        },
        "auto": [asdict(choice) for choice in auto],
        "choices": [asdict(choice) for choice in recorded_choices()],
    }
