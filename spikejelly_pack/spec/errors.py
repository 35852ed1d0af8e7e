"""Errors a user can mend, each one sentence: object, parameter, requirement, value received, remedy."""

from __future__ import annotations

__all__ = [
    "BoundError",
    "DtypeError",
    "EnvironmentMissingError",
    "ExchangeFileError",
    "OutputError",
    "ParameterError",
    "RunError",
    "ShapeError",
    "SpikePackError",
    "UnsupportedError",
]


class SpikePackError(Exception):
    """Base of every error this package raises about its input; its text is one sentence.

    The command line prints the text on stderr without a traceback and exits with ``exit_code``.
    """

    exit_code = 2

    def __str__(self) -> str:
        """The text on one line: what a file brought along must neither break it nor steer a terminal."""
        text = super().__str__()
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


class ParameterError(SpikePackError, ValueError):
    """A parameter is outside its range."""


class ShapeError(SpikePackError, ValueError):
    """An array or tensor has the wrong shape."""


class DtypeError(SpikePackError, TypeError):
    """An array or tensor has the wrong dtype, or holds values (NaN) the operation refuses."""


class UnsupportedError(SpikePackError, ValueError):
    """A layer, operation or graph cannot be expressed in the requested form."""


class BoundError(SpikePackError, OverflowError):
    """An accumulator, threshold or weight leaves its declared width."""


class ExchangeFileError(SpikePackError, ValueError):
    """An exchange file is truncated, altered, of another version or inconsistent."""


class EnvironmentMissingError(SpikePackError, RuntimeError):
    """An optional interpreter or library is not there."""


class OutputError(SpikePackError, OSError):
    """A result cannot be written."""


class RunError(SpikePackError, RuntimeError):
    """A run that was valid on paper failed: a model raised, died or passed its deadline."""

    exit_code = 1
