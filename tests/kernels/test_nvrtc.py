"""The variants compile with NVRTC for every architecture, without a GPU; no register is spilled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cupy_kernels import KernelEnvironmentError, nvrtc
from cupy_kernels.catalogue import PARAMETERS, code, covering, variant
from cupy_kernels.kernel_table import KERNELS
from cupy_kernels.nvrtc import ARCHITECTURES, Usage, compile_variants
from cupy_kernels.variants import Variant

FLOAT = {"tau": 2.0, "SIGNED": False, "LEAK": 0, "X": "f32", "I": "u32", "V": 4}
#: One variant a kernel, chosen where registers are scarce; the others are compiled by the full sweep.
FEW = [
    variant("fire", {**FLOAT, "T": 8, "Y": "f32", "AMPLITUDE": 1, "MODE": 2}),
    variant("serial", {**FLOAT, "T": 16, "X": "bf16", "MODE": 2, "LEAK": 1, "I": "u64"}),
    variant("step", {**FLOAT, "T": 4, "MODE": 2, "SIGNED": True}),
    variant("backward_last", {**FLOAT, "T": 8, "G": "f16", "U": "f32", "SERIAL": True, "SCALED": False}),
    variant("backward_runs", {**FLOAT, "T": 8, "G": "f32", "U": "f32", "SERIAL": False, "SCALED": True}),
    variant("pool_step", {"D": "f16", "I": "u32"}),
    variant(
        "product",
        {
            "X": "u8",
            "P": "u8",
            "FIRE": True,
            "SIGNED": False,
            "CONV": True,
            "V": 16,
            "WIDE": True,
            "I": "u32",
        },
    ),
    variant("integer_fire", {"P": "i8", "SIGNED": True, "MODE": 2, "V": 4, "I": "u32"}),
]


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    """Without NVRTC there is nothing to compile with."""
    try:
        nvrtc.find_library()
    except KernelEnvironmentError as reason:
        pytest.skip(str(reason))


def refuse_spills(usage: dict[str, Usage], architecture: int = 90) -> None:
    wrong = {entry: found for entry, found in usage.items() if found.spills or found.stack}
    assert wrong == {}
    # 256 threads and two blocks on a multiprocessor leave 128 registers a thread, one block all there are.
    alone = "spk_product" if architecture >= 100 else "none"
    assert {e: f for e, f in usage.items() if f.registers > 128 and not e.startswith(alone)} == {}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_few_variants_compile_without_spills(architecture: int) -> None:
    refuse_spills(compile_variants(FEW, architecture), architecture)


@pytest.mark.kernels
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", PARAMETERS)
def test_covering_variants_compile_without_spills(kernel: str, architecture: int) -> None:
    refuse_spills(compile_variants(covering(kernel), architecture), architecture)


def test_a_spill_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same kernel with bounds that leave 32 registers must spill, or the check sees nothing."""
    monkeypatch.setitem(KERNELS, "serial", replace(KERNELS["serial"], blocks_per_sm=8))
    tight = variant("serial", {**FLOAT, "T": 16, "X": "f16", "MODE": 2, "LEAK": 1})
    usage = compile_variants([tight], 90)
    with pytest.raises(AssertionError):
        refuse_spills(usage)


def test_a_broken_source_shows_the_compiler_s_words(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Variant("sum_partials", ())
    monkeypatch.setattr(Variant, "entry_source", 'extern "C" __global__ void broken() { nothing(); }')
    with pytest.raises(KernelEnvironmentError, match=r'NVRTC_ERROR_COMPILATION[\s\S]*"nothing" is undefined'):
        compile_variants([broken], 80)


@pytest.mark.parametrize("kernel", PARAMETERS)
def test_samples_cover_every_value(kernel: str) -> None:
    """Every value of every parameter occurs, so nothing escapes the sweep."""
    chosen = covering(kernel)
    for name, values in PARAMETERS[kernel].items():
        seen = {v.chosen.get(name) for v in chosen}
        if name == "T":
            seen = {v.chosen["C"].time_steps for v in chosen}  # type: ignore[union-attr]
        elif name == "tau":
            seen = {v.chosen["C"].tau for v in chosen}  # type: ignore[union-attr]
        assert seen == set(values), name


def test_constants_of_a_code_are_exact() -> None:
    """Hexadecimal floats in the source lose nothing."""
    made = code(3, 1.5)
    assert "0x1.2000000000000p+1f, 0x1.8000000000000p+0f, 0x1.0000000000000p+0f" in made.source
    assert f"SUM = {(4.75).hex()}f" in made.source
