"""The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, and in other orders of the threads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernels
MODULES = ("test_fire", "test_serial", "test_backward", "test_codes", "test_pool", "test_products")
FLAGS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer")
NOTHING = ("", "")
TAIL = ("if (V == 1 || i + V <= n) decode_group", "if (true) decode_group")
CROOKED = ("first = base + (I)threadIdx.x * V;", "first = base + (I)threadIdx.x * V + 1;")


def run(
    folder: Path,
    modules: tuple[str, ...],
    flags: tuple[str, ...],
    fault: tuple[str, str],
    order: int,
    cases: int,
) -> subprocess.CompletedProcess[str]:
    room = Path(__file__).parent
    job = {
        "room": str(room), "modules": modules, "flags": flags, "fault": fault, "order": order, "cases": cases,
        "folder": str(folder),
    }  # fmt: skip
    environment = dict(os.environ)
    if flags:
        found = subprocess.run(
            [shutil.which("g++") or "g++", "-print-file-name=libasan.so"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if not Path(found).is_absolute():
            pytest.skip("g++ has no AddressSanitizer library")
        environment |= {
            "LD_PRELOAD": str(Path(found).resolve()),
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        }
    command = [sys.executable, str(room / "case_runner.py"), json.dumps(job)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=1500)


@pytest.mark.parametrize("module", MODULES)
def test_all_cases_are_clean(module: str, build_folder: Path) -> None:
    done = run(build_folder, (module,), FLAGS, NOTHING, 0, 1000)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "cases clean" in done.stdout


@pytest.mark.parametrize("order", [1, 7, 8])
def test_results_do_not_depend_on_the_order_of_threads(order: int, build_folder: Path) -> None:
    done = run(build_folder, MODULES, (), NOTHING, order, 1000)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_read_behind_an_array_is_seen(build_folder: Path) -> None:
    """Behind an input: outputs have guards of their own, which the sanitizer takes for memory."""
    done = run(build_folder, ("test_codes",), FLAGS, TAIL, 0, 4)
    assert "AddressSanitizer" in done.stderr, done.stderr[-2000:]


def test_a_misaligned_access_is_seen(build_folder: Path) -> None:
    done = run(build_folder, ("test_fire",), FLAGS, CROOKED, 0, 4)
    assert "misaligned address" in done.stderr, done.stderr[-2000:]
