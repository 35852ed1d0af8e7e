"""The bridge to :mod:`cupy_kernels`: where its kernels can run, and launches that allocate with torch.

Imported lazily: neither ``cupy_kernels`` nor CuPy is loaded before a kernel is asked for or asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..spec.errors import EnvironmentMissingError, UnsupportedError
from ..spec.parameters import NeuronParameters

__all__ = [
    "BACKENDS",
    "CODES",
    "DIGITS",
    "decode",
    "encode",
    "fire",
    "fire_backward",
    "integer_fire",
    "launch",
    "obstacle",
    "pack",
    "report",
    "threshold_of",
    "unavailable",
    "unpack",
]


def _cuda_major() -> int | None:
    version = torch.version.cuda
    return None if version is None else int(version.split(".")[0])


def _cupy() -> Any:
    from cupy_kernels import CupyBackend

    return CupyBackend(_cuda_major())


# What the kernels read.
DIGITS = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8)
CODES = (torch.uint8, torch.uint16, torch.int8, torch.int16, torch.int32)


# Device type -> maker of its backend. Tests enter an emulation of the kernels under "cpu".
BACKENDS: dict[str, Callable[[], Any]] = {"cuda": _cupy}


@cache
def _backend(maker: Callable[[], Any]) -> Any:
    return maker()


def unavailable(device: torch.device) -> str | None:
    """Why the kernels cannot run on ``device``, as one phrase; None where they can."""
    maker = BACKENDS.get(device.type)
    if maker is None:
        return f"they are for CUDA tensors, not for {device.type}"
    return _reason(maker, device.type, device.index or 0)


@cache
def _reason(maker: Callable[[], Any], kind: str, index: int) -> str | None:
    from cupy_kernels import KernelEnvironmentError

    if kind != "cuda":
        return None
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    try:
        _backend(maker).check(index)
    except KernelEnvironmentError as error:
        return str(error).rstrip(".")
    return None


def report() -> dict[str, Any]:
    """Whether the kernels can run on the current CUDA device, and why not."""
    reason = unavailable(torch.device("cuda"))
    return {"available": reason is None, "reason": reason or "kernels compile and run on cuda:0"}


def obstacle(start: Tensor, theta: Tensor) -> str | None:
    """Why the kernels cannot take a threshold: it varies along more than one axis."""
    axes = [size for size in theta.shape if size != 1]
    if len(axes) > 1:
        return f"a threshold of shape {tuple(theta.shape)} varies along several axes"
    return None if theta.dim() <= start.dim() else "the threshold has more axes than the membrane"


def threshold_of(theta: Tensor, like: Tensor) -> tuple[Tensor, int | None]:
    """The threshold as the kernels take it, float32 ``[]`` or ``[C]``, and the axis of ``like`` it is for."""
    if theta.dim() == 0 and theta.dtype is torch.float32:
        return theta.detach(), None
    reason = obstacle(like, theta)
    if reason is not None:
        raise UnsupportedError(
            f"provider 'cupy': theta must have one value or one per channel, but {reason}; "
            "use provider='torch'."
        )
    flat = theta.detach().to(torch.float32).reshape(-1).contiguous()
    if flat.numel() == 1:
        return flat.reshape(()), None
    lead = like.dim() - theta.dim()
    return flat, lead + next(axis for axis, size in enumerate(theta.shape) if size != 1)


@cache
def _library() -> Any:
    """What is launched with; an import statement would look the modules up at every launch."""
    from cupy_kernels import KernelEnvironmentError, Queue, launcher
    from cupy_kernels.replay import Replay

    return SimpleNamespace(failure=KernelEnvironmentError, queue=Queue, launcher=launcher, replay=Replay())


@lru_cache(256)
def _stream_queue(backend: Any, index: int, stream: int) -> Any:
    return _library().queue(backend, index, stream, partial(torch.cuda.device, index))


def _queue(device: torch.device) -> Any:
    backend = _backend(BACKENDS[device.type])
    if device.type != "cuda":
        return _library().queue(backend)
    stream = torch.cuda.current_stream(device).cuda_stream
    return _stream_queue(backend, device.index, stream)


def launch(name: str, first: Tensor, *arguments: Any, **options: Any) -> None:
    """Launch ``cupy_kernels.launcher.<name>`` on device and current stream of ``first``; not if it is empty.

    Raises:
        EnvironmentMissingError: The kernel cannot be compiled or loaded here.
    """
    device = first.device
    reason = unavailable(device)
    if reason is not None:
        raise EnvironmentMissingError(f"provider 'cupy': its kernels cannot run here ({reason}).")
    if first.numel() == 0:
        return
    library = _library()
    try:
        library.replay.launch(getattr(library.launcher, name), _queue(device), first, *arguments, **options)
    except library.failure as error:
        raise EnvironmentMissingError(f"provider 'cupy': {str(error).rstrip('.')}.") from error


def fire(start: Tensor, theta: Tensor, params: NeuronParameters, scaled: bool) -> Tensor:
    """Decoded values of independent membranes, in their dtype."""
    threshold, axis = threshold_of(theta, start)
    out = torch.empty_like(start)
    amplitude = "scaled" if scaled else "unit"
    launch("fire", start, threshold, params, values=out, amplitude=amplitude, channel_axis=axis)
    return out


def encode(start: Tensor, theta: Tensor, params: NeuronParameters, dtype: torch.dtype) -> Tensor:
    """Codes of independent membranes; NaN gives 0."""
    threshold, axis = threshold_of(theta, start)
    codes = torch.empty_like(start, dtype=dtype)
    launch("fire", start, threshold, params, codes=codes, channel_axis=axis)
    return codes


def pack(digits: Tensor, dtype: torch.dtype, signed: bool) -> Tensor:
    """Codes of contiguous digits ``[T, *]``."""
    codes = digits.new_empty(digits.shape[1:], dtype=dtype)
    launch("pack", digits, codes, time_steps=len(digits), signed=signed)
    return codes


def unpack(codes: Tensor, time_steps: int) -> Tensor:
    """Digits ``[T, *]`` (int8) of contiguous codes."""
    digits = codes.new_empty((time_steps, *codes.shape), dtype=torch.int8)
    launch("unpack", codes, digits, time_steps=time_steps)
    return digits


def decode(codes: Tensor, params: NeuronParameters, dtype: torch.dtype) -> Tensor:
    """Decoded values of codes."""
    values = torch.empty_like(codes, dtype=dtype)
    launch("decode", codes, values, params)
    return values


def integer_fire(
    sums: Tensor, bias: Tensor, theta: Tensor, codes: Tensor, time_steps: int, signed: bool, half: bool
) -> None:
    """Fire int32 sums ``[N, C, *]`` into ``codes``; bias and thresholds int32 ``[C]``."""
    axis = 1 if theta.numel() > 1 else None
    shape = {} if axis is not None else {"bias": bias.reshape(()), "theta": theta.reshape(())}
    given = {"bias": bias, "theta": theta, **shape}
    options = {"time_steps": time_steps, "signed": signed, "half": half, "channel_axis": axis}
    launch("integer_fire", sums, given["theta"], codes, bias=given["bias"], **options)


def max_depth() -> int:
    """Terms of a sum of byte products that cannot leave int32."""
    from cupy_kernels.launcher.product import MAX_DEPTH

    return MAX_DEPTH


def product_linear(codes: Tensor, weight: Tensor, dtype: torch.dtype, options: dict[str, Any]) -> Tensor:
    """Sums (int32) or codes ``[M, N]`` of byte codes ``[M, K]`` and int8 weights ``[N, K]``."""
    codes = codes.contiguous()
    out = codes.new_empty((codes.shape[0], weight.shape[0]), dtype=dtype)
    launch("linear", codes, weight, out, **options)
    return out


def product_conv2d(codes: Tensor, weight: Tensor, dtype: torch.dtype, options: dict[str, Any]) -> Tensor:
    """Sums (int32) or codes of channels-last byte images and weights."""
    size = [
        (n + 2 * pad - step * (k - 1) - 1) // jump + 1
        for n, k, jump, pad, step in zip(
            codes.shape[2:], weight.shape[2:], options["stride"], options["padding"], options["dilation"],
            strict=True,
        )
    ]  # fmt: skip
    shape = (codes.shape[0], weight.shape[0], *size)
    out = torch.empty(shape, dtype=dtype, device=codes.device, memory_format=torch.channels_last)
    launch("conv2d", codes, weight, out, **options)
    return out


def gradient_space(start: Tensor, theta: Tensor, threshold: Tensor, learnable: bool) -> dict[str, Tensor]:
    """Outputs for the gradient of the threshold: its sum, and room for the first of the two stages."""
    if not learnable:
        return {}
    from cupy_kernels import launcher

    rows = launcher.scratch_rows(start.numel(), theta.numel())
    scratch = threshold.new_empty(rows, theta.numel())
    # Nothing is launched, and so nothing written, for no elements.
    total = torch.empty_like(threshold) if start.numel() else torch.zeros_like(threshold)
    return {"grad_theta": total, "scratch": scratch}


def shaped(space: dict[str, Tensor], theta: Tensor) -> Tensor:
    """The threshold's gradient in its own shape and dtype; nothing, ``[0]``, where it was not asked for."""
    found = space.get("grad_theta")
    return theta.new_empty(0) if found is None else found.reshape(theta.shape).to(theta.dtype)


def fire_backward(
    grad: Tensor, start: Tensor, theta: Tensor, params: NeuronParameters, scaled: bool, learnable: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`fire`."""
    threshold, axis = threshold_of(theta, start)
    given = grad
    if grad.dtype is not start.dtype or grad.stride() != start.stride():
        given = torch.empty_like(start).copy_(grad)  # the layout and dtype of the membranes
    out = torch.empty_like(start)
    space = gradient_space(start, theta, threshold, learnable)
    launch(
        "fire_backward",
        given,
        start,
        threshold,
        params,
        grad_u=out,
        scaled=scaled,
        channel_axis=axis,
        **space,
    )
    return out, shaped(space, theta)
