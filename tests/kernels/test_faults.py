"""Faults planted in the CUDA source are each seen: this is what keeps the emulation from going blind.

Every fault is a textual edit of the source, run on cases that pass unedited; it must make a result wrong,
write beside an output, or end the process with the emulation's own message. Each has its own process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cupy_kernels.kernel_table import KERNELS
from cupy_kernels.variants import shared_source

# name: (module of the cases, pattern of their names, text, replacement, pattern of what must be said)
FAULTS: dict[str, tuple[str, str, str, str, str]] = {
    "> for >= when firing": (
        "test_fire",
        "tau1.5",
        "const bool spike = ge(left, threshold);",
        "const bool spike = !ge(threshold, left);",
        "differ",
    ),
    "> for >= at the window's end": (
        "test_backward",
        r"packed.*leak0\.0.*float32",
        "&& ge(theta, v0) ?",
        "&& greater(theta, v0) ?",
        "differ",
    ),
    "missing tail guard": (
        "test_fire",
        "ragged",
        "if (V == 1 || i + V <= n) {",
        "if (true) {",
        "written behind|differ",
    ),
    "missing end of the grid": (
        "test_fire",
        "ragged",
        "for (; i < n; ++i)\n                    nan",
        "for (; i <= n; ++i)\n                    nan",
        "written behind|differ",
    ),
    "no first barrier in the block sum": (
        "test_backward",
        "theta",
        "warps[threadIdx.x >> 5] = value;\n    __syncthreads();",
        "warps[threadIdx.x >> 5] = value;",
        "theta",
    ),
    "no last barrier in the block sum": (
        "test_backward",
        "theta",
        ": 0.0f);\n    __syncthreads();",
        ": 0.0f);",
        "theta",
    ),
    "no barrier between rows of channels last": (
        "test_backward",
        r"\((5, 16, 7, 6|60, 40|2, 264, 2, 2)\)-theta",
        "= sums[k];\n    __syncthreads();",
        "= sums[k];",
        "theta",
    ),
    "barrier in a branch": (
        "test_backward",
        "theta",
        "sum = block_sum(sum);",
        "if (threadIdx.x < 64) sum = block_sum(sum);",
        "__syncthreads is waited for by some threads|deadlock",
    ),
    "shuffle in a branch": (
        "test_backward",
        "theta",
        "value = warp_sum(value);\n    if ((threadIdx.x",
        "if (threadIdx.x & 1u) value = warp_sum(value);\n    if ((threadIdx.x",
        "deadlock",
    ),
    "wrong lane": (
        "test_backward",
        "theta",
        "for (int distance = 16; distance > 0;",
        "for (int distance = 8; distance > 0;",
        "theta",
    ),
    "wrong warp writes the sum": (
        "test_backward",
        "theta",
        "if ((threadIdx.x & 31u) == 0u) warps",
        "if ((threadIdx.x & 31u) == 1u) warps",
        "theta",
    ),
    "second stage forgets rows": (
        "test_backward",
        "theta40",
        "row < rows; row += blockDim.x",
        "row + 1u < rows; row += blockDim.x",
        "theta",
    ),
    "missing mask of tied taps": (
        "test_pool",
        r"k\(3, 3\)",
        "if (!first && !(alive[",
        "if (false && !(alive[",
        "differ",
    ),
    "padding counts as zero": (
        "test_pool",
        "signed",
        "if (!place.find(p, ky, kx, at)) continue;\n                f32 word = 0.0f;",
        "at = place.plane; place.find(p, ky, kx, at);\n                f32 word = 0.0f;",
        "differ",
    ),
    "contraction": (
        "test_serial",
        r"T\d\d-tau1\.5.*float32",
        "add(mul(C::TAU, potential[k]), load(in.at[k]))",
        "std::fma(C::TAU, potential[k], load(in.at[k]))",
        "differ",
    ),
    "reciprocal for division": (
        "test_fire",
        "T",
        "q = fma(fma(-q, b, a), inverse, q);\n    return fma(fma(-q, b, a), inverse, q);",
        "return q;",
        "differ",
    ),
    "NaN dropped": (
        "test_fire",
        "(blocks|ragged).*-unit",
        "return is_nan(size) ? size : inside;",
        "return inside;",
        "differ",
    ),
    "rounding half down": (
        "test_fire",
        "round_half_up",
        "add(levels, half)",
        "add(levels, half * 0.9999f)",
        "differ",
    ),
    "sign lost": (
        "test_fire",
        "signed",
        "return SIGNED ? mul(code, sign_of(start)) : code;",
        "return code;",
        "differ",
    ),
    "carry not clamped": (
        "test_fire",
        "leak0.7membrane",
        "return ge(high, a) ? a : high;",
        "return a;",
        "differ",
    ),
    "threshold of the wrong channel": (
        "test_fire",
        "channels",
        "(u32)((i / c.inner) % (I)c.count)",
        "(u32)((i / c.inner + 1) % (I)c.count)",
        "differ",
    ),
    "bits in the wrong order": (
        "test_serial",
        "T4",
        "((u32)magnitude_of(code) >> (C::T - 1 - t)) & 1u ? 1.0f",
        "((u32)magnitude_of(code) >> t) & 1u ? 1.0f",
        "differ",
    ),
    "integer offset wraps": (
        "test_codes",
        "integer",
        "const i32 cut = membrane < low ? low : membrane > high ? high : membrane;",
        "const i32 cut = membrane;",
        "differ",
    ),
    "wrong word of a fragment": (
        "test_products",
        "",
        "chunk + left_chunk",
        "chunk + (left_chunk ^ 1u)",
        "differ",
    ),
    "no barrier before a tile is read": (
        "test_products",
        "130|129|16, 20",
        "__syncthreads();  // the step's tiles are there",
        "// the step's tiles are there",
        "differ",
    ),
    "one buffer for three": (
        "test_products",
        "130|129|16, 20",
        "buffer = buffer + 1u < BUFFERS ? buffer + 1u : 0u;",
        "",
        "differ",
    ),
    "copies not waited for": (
        "test_products",
        "130|129|16, 20",
        "wait_copies<BUFFERS - 2>();",
        "wait_copies<BUFFERS - 1>();",
        "differ|copies were waited for",
    ),
    "a copy from a crooked address": (
        "test_products",
        "",
        "at = found ? base + along.offset : 0;",
        "at = found ? base + along.offset : 1;",
        "not a multiple of 16",
    ),
    "a buffer used again too early": (
        "test_products",
        "464",
        "next = next + 1u < BUFFERS ? next + 1u : 0u;",
        "next = next + 2u < BUFFERS ? next + 1u : 0u;",
        "differ",
    ),
    "copies under way at the end": (
        "test_products",
        "129, 64",
        "if (along.k - 16u * part < depth) {",
        "if (along.k - 16u * part <= depth) {",
        "copies were waited for",
    ),
    "no barrier before the tiles hold codes": (
        "test_products",
        "(130|129).*-T[0-9]",
        "__syncthreads();  // the last tiles have been read",
        "// the last tiles have been read",
        "differ",
    ),
    "no barrier before codes are written out": (
        "test_products",
        "",
        "__syncthreads();\n    outputs.copy_out(tile);",
        "outputs.copy_out(tile);",
        "differ",
    ),
    "a quotient one off": (
        "test_codes",
        "integer",
        "quotient += left < 0 ? -1 : left >= theta ? 1 : 0;",
        "",
        "differ",
    ),
    "rows of a product not guarded": (
        "test_products",
        "130|37",
        "if (row >= rows || first_column + near >= columns) continue;",
        "if (first_column + near >= columns) continue;",
        "written|differ|exit (-|70)",
    ),
    "state of another phase": (
        "test_serial",
        "steps",
        "if (phase + 1 < C::T) {",
        "if (phase + 2 < C::T) {",
        "differ|exit -11",
    ),
}


def edited(source: str, name: str) -> str:
    """The source with one fault in it."""
    _, _, text, replacement, _ = FAULTS[name]
    return source.replace(text, replacement)


@pytest.fixture(scope="module")
def outcomes(build_folder: Path) -> dict[str, str]:
    """What each fault led to; one process forks one child a fault, so that torch is imported once."""
    job = {"room": str(Path(__file__).parent), "folder": str(build_folder), "faults": FAULTS}
    command = [sys.executable, str(Path(__file__).with_name("fault_runner.py")), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_seen(name: str, outcomes: dict[str, str]) -> None:
    assert re.search(FAULTS[name][4], outcomes[name]), outcomes[name]


def test_the_same_cases_pass_without_a_fault(outcomes: dict[str, str]) -> None:
    """Else every fault would seem to be seen."""
    clean = {name: words for name, words in outcomes.items() if name.startswith("unedited")}
    assert len(clean) == 6
    assert all("cases agree" in words for words in clean.values()), clean


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_planted(name: str) -> None:
    """The text to edit is in the source, so the fault is really there."""
    source = shared_source(tuple(dict.fromkeys(file for spec in KERNELS.values() for file in spec.files)))
    assert edited(source, name) != source
