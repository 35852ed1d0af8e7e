"""Which compiler builds the emulated kernels."""

from __future__ import annotations

import shutil

import pytest

from cupy_kernels.emulation.backend import compiler
from cupy_kernels.errors import KernelEnvironmentError


def test_the_variable_may_hold_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """As make and CMake read it."""
    shell = shutil.which("sh")
    for given in ("sh -O0", "sh"):
        monkeypatch.setenv("CXX", given)
        assert compiler() == [shell, *given.split()[1:]]
    monkeypatch.setenv("CXX", f"'{shell}'")
    assert compiler() == [shell]


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"g++": "/usr/bin/g++"}
    monkeypatch.setattr(shutil, "which", found.get)
    for given in ("", "  "):
        monkeypatch.setenv("CXX", given)
        assert compiler() == ["/usr/bin/g++"]
    monkeypatch.delenv("CXX")
    assert compiler() == ["/usr/bin/g++"]


@pytest.mark.parametrize("given", ["no-such-compiler -O1", "'unclosed"])
def test_what_was_looked_for_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CXX", given)
    with pytest.raises(KernelEnvironmentError, match=f"needs a C\\+\\+ compiler, {given.split()[0]} was not"):
        compiler()
