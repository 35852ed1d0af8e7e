"""Kernel variants: which template with which constants, the C entry point and its argument types.

A variant's source is the shared ``.cu`` files, the constants of its code and one ``extern "C"`` entry: a
plain name, which CuPy's disk cache keeps in every version (C++ name expressions it does not).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from .kernel_table import KERNELS, KernelSpec

__all__ = ["C_TYPES", "THREADS", "Code", "Variant", "shared_source"]

CUDA_FOLDER = Path(__file__).parent / "cuda"
#: dtype name to the type of that name in the ``.cu`` files.
C_TYPES = {
    "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "i8", "uint8": "u8", "int16": "i16",
    "uint16": "u16", "int32": "i32", "uint32": "u32", "uint64": "u64",
}  # fmt: skip
_SCALARS = {"u32": np.uint32, "i32": np.int32, "u64": np.uint64, "f32": np.float32}
THREADS = 256
_SHARED = ("arithmetic.cu", "storage.cu", "spikepack.cu")


@dataclass(frozen=True)
class Code:
    """Constants of one code, compiled into the kernel: T digits of base tau.

    Attributes:
        time_steps: T.
        tau: Base of the digits.
        weights: ``q_t``, most significant first.
        weight_sum: Q.
    """

    time_steps: int
    tau: float
    weights: tuple[float, ...] = field(repr=False)
    weight_sum: float = field(repr=False)

    @property
    def name(self) -> str:
        """C++ name of the generated type."""
        base = "" if self.tau == 2.0 else "_tau" + re.sub(r"\W", "_", float(self.tau).hex())
        return f"Code{self.time_steps}{base}"

    @property
    def digit_gradient(self) -> float:
        """Factor from ``sum_t q_t g[t]`` to the gradient of the decoded value: ``Q / sum_t q_t^2``."""
        return self.weight_sum / sum(weight * weight for weight in self.weights)

    @property
    def source(self) -> str:
        """The type the kernels take their constants from; numbers in hexadecimal lose nothing."""

        def number(value: float) -> str:
            return f"{float(np.float32(value)).hex()}f"

        return (
            f"namespace spk {{ struct {self.name} {{\n"
            f"    static constexpr int T = {self.time_steps};\n"
            f"    static constexpr bool BINARY = {str(self.tau == 2.0).lower()};\n"
            f"    static constexpr f32 TAU = {number(self.tau)}, SUM = {number(self.weight_sum)};\n"
            f"    static constexpr f32 INVERSE = {number(float(1 / np.float32(self.weight_sum)))};\n"
            f"    static constexpr f32 DIGIT_GRADIENT = {number(self.digit_gradient)};\n"
            f"    SPK_INLINE static constexpr f32 q(int t) {{\n"
            f"        const f32 weights[] = {{{', '.join(number(weight) for weight in self.weights)}}};\n"
            f"        return weights[t];\n    }}\n}}; }}\n"
        )


@cache
def _file(name: str) -> str:
    return f'#line 1 "{name}"\n' + (CUDA_FOLDER / name).read_text(encoding="utf-8")


def shared_source(files: tuple[str, ...]) -> str:
    """Text of the shared files and of ``files``, each once, in order."""
    return "".join(_file(name) for name in (*_SHARED, *files))


@dataclass(frozen=True)
class Variant:
    """A kernel with all its template parameters fixed; a :class:`Code`, type names, numbers and booleans."""

    kernel: str
    choices: tuple[Code | str | int, ...]

    @property
    def spec(self) -> KernelSpec:
        """The kernel's template."""
        return KERNELS[self.kernel]

    @property
    def chosen(self) -> dict[str, Code | str | int]:
        """Choices by template parameter."""
        return dict(zip(self.spec.template, self.choices, strict=True))

    @property
    def entry(self) -> str:
        """Name of the ``extern "C"`` entry point."""
        words = [choice.name if isinstance(choice, Code) else str(int(choice)) if not isinstance(choice, str)
                 else choice for choice in self.choices]  # fmt: skip
        return "_".join(["spk", self.kernel, *words])

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """C parameters as pairs of type and name."""
        types = {name: value for name, value in self.chosen.items() if isinstance(value, str)}
        pairs = [text.rpartition(" ") for text in self.spec.parameters]
        return [(declared.format(**types), name) for declared, _, name in pairs]

    def arguments(self, values: Mapping[str, object]) -> tuple[np.generic, ...]:
        """Values by name as numpy scalars in the order and of the types of the entry point."""
        missing = {name for _, name in self.parameters} ^ set(values)
        if missing:
            raise TypeError(f"{self.entry}: arguments do not match the parameters: {sorted(missing)}")
        return tuple(
            np.uint64(values[name]) if "*" in declared else _SCALARS[declared](values[name])  # type: ignore[call-overload]
            for declared, name in self.parameters
        )

    @property
    def entry_source(self) -> str:
        """The entry point alone."""
        declared = ", ".join(f"{kind} {name}" for kind, name in self.parameters)
        given = ", ".join(name for _, name in self.parameters)
        words = ["spk::" + choice.name if isinstance(choice, Code) else str(choice).lower()
                 if isinstance(choice, bool) else str(choice) for choice in self.choices]  # fmt: skip
        template = f"<{', '.join(words)}>" if words else ""
        blocks = str(self.spec.blocks_per_sm).format(**self.chosen)
        bounds = f"__launch_bounds__({THREADS}, {blocks})"
        return (
            f'using namespace spk;\nextern "C" __global__ void {bounds} {self.entry}({declared}) {{\n'
            f"    spk::{self.kernel}{template}({given});\n}}\n"
        )

    @property
    def codes(self) -> tuple[Code, ...]:
        """Codes whose constants the variant needs."""
        return tuple(choice for choice in self.choices if isinstance(choice, Code))

    @property
    def source(self) -> str:
        """Everything a compiler needs."""
        return shared_source(self.spec.files) + "".join(c.source for c in self.codes) + self.entry_source
