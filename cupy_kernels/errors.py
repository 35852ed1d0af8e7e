"""Errors of the kernels: one sentence each, naming the argument or the cause. A leaf has its own classes."""

from __future__ import annotations

__all__ = ["KernelArgumentError", "KernelEnvironmentError", "KernelError"]


class KernelError(Exception):
    """Base of every error this package raises about what it was given or where it runs."""


class KernelArgumentError(KernelError, ValueError):
    """An array or a number handed to a kernel has the wrong dtype, shape, layout, device or value."""


class KernelEnvironmentError(KernelError, RuntimeError):
    """CuPy, the driver, the card or a compiler is missing or does not fit; the message holds the cause."""
