"""Configurations by name, and the configuration parser's reports in one sentence."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from importlib import resources
from pathlib import Path

from ..spec.errors import ParameterError, SpikePackError

__all__ = ["config_path", "configs", "named", "one_sentence", "statement_of"]


def configs() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("spikejelly_pack.train") / "configs"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def config_path(name: str) -> str:
    """The file of a configuration: a path, or the name of one that comes with the package.

    Raises:
        ParameterError: There is neither.
    """
    if name in configs():
        return str(resources.files("spikejelly_pack.train") / "configs" / f"{name}.yaml")
    if not Path(name).is_file():
        raise ParameterError(
            f"--config: must be a file or one of {', '.join(configs())}, got {name!r}; check the name."
        )
    return name


def named(arguments: list[str]) -> list[str]:
    """Arguments with the names of configurations resolved."""
    found = []
    for index, word in enumerate(arguments):
        if index and arguments[index - 1] == "--config":
            word = config_path(word)
        elif word.startswith("--config="):
            word = f"--config={config_path(word.partition('=')[2])}"
        found.append("--trainer.fast_dev_run=true" if word == "--fast-dev-run" else word)
    return found


# What the parser, Lightning and torch raise on settings of the right kind that make no run.
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


@contextlib.contextmanager
def one_sentence() -> Generator[None]:
    """Turn the parser's report, many lines that repeat each other, into its innermost statement."""
    from jsonargparse import ArgumentError
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except SpikePackError:
        raise
    except (ArgumentError, MisconfigurationException, *_FAULTS) as error:
        for cause in _causes(error):
            if isinstance(cause, SpikePackError):
                raise cause from None
        raise ParameterError(
            f"train: the configuration must be valid, got: {statement_of(str(error))}"
        ) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def statement_of(report: str) -> str:
    """What one of jsonargparse's reports says, without the alternatives it tried."""
    keys = re.findall(r'Parser key "([^"]+)"', report)
    if not keys:
        return re.sub(r"\s+", " ", report).strip().rstrip(".") + "."
    name = ".".join(dict.fromkeys((keys[0], keys[-1])))
    wanted = re.findall(r"Expected an? (.+?)(?:\. Got value: .*)?$", report, re.MULTILINE)
    kinds = [_kind(text) for text in dict.fromkeys(wanted) if "NoneType" not in text]
    values = re.findall(r"(?:Got|Given) value: (.*)$", report, re.MULTILINE)
    if kinds:
        return f"{name} must be {' or '.join(kinds)}, got {values[0] if values else 'another'}."
    problems = re.findall(r"Problem with given class_path ('[^']+'):\s+(.+)$", report, re.MULTILINE)
    if problems:
        return f"{name}: problem with given class_path {problems[-1][0]}: {problems[-1][1].rstrip('.')}."
    lines = report.splitlines()
    return f"{name}: {' '.join(lines[min(1, len(lines) - 1)].split()).rstrip('.')}."


def _kind(text: str) -> str:
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", text)
    if literal:
        return f"one of {literal[1]}"
    return text.removeprefix("<class '").removesuffix("'>")
