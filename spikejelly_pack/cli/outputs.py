"""A command must not write over what it reads: a slip in ``--out`` would replace a network or data."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from ..spec.errors import ParameterError

__all__ = ["check_outputs"]

_OUTPUTS = ("out", "json")


def check_outputs(args: argparse.Namespace) -> None:
    """Compare the files to be written with every file among the other arguments.

    Raises:
        ParameterError: An output is one of them.
    """
    given = vars(args)
    read = [path for name, value in given.items() if name not in _OUTPUTS for path in _files(value)]
    for name in _OUTPUTS:
        for target in _files(given.get(name)):
            for source in read:
                if os.path.samefile(target, source):
                    raise ParameterError(
                        f"--{name} {target}: must be another file than {source}, which the command reads; "
                        "choose another name."
                    )


def _files(value: object) -> Iterator[str]:
    """Files that are there among the values of an argument; ``FILE.py:FUNCTION`` names one too."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, (str, os.PathLike)):
            path = os.fspath(item)
            yield from (name for name in {path, path.rpartition(":")[0]} if name and os.path.isfile(name))
