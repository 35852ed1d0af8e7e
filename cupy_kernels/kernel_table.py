"""The kernels: their templates and C parameters, one entry per ``__global__`` template in ``cuda/``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KERNELS", "KernelSpec"]


@dataclass(frozen=True)
class KernelSpec:
    """One kernel template.

    Attributes:
        file: Where it is, in ``cuda/``.
        template: Names of its template parameters, in order.
        parameters: Its C parameters, ``"type name"``; a template parameter stands in braces.
        collective: Whether threads wait for each other (barriers, shuffles).
        blocks_per_sm: Second number of the launch bounds, or a macro that gives it. With 2 blocks of 256
            threads a thread may use 128 registers; with none given ptxas aims higher and spills.
        needs: Files whose functions it calls.
    """

    file: str
    template: tuple[str, ...]
    parameters: tuple[str, ...]
    collective: bool = False
    blocks_per_sm: int | str = 2
    needs: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Files in ``cuda/`` beside the shared ones, in order."""
        return (*self.needs, self.file)


_STATE = ("const f32* carry_in", "f32* carry_out")
_CHANNELS = ("{I} n", "u32 windows", "u32 channels", "{I} inner", "f32 half", "f32 leak")
_THETA_SUM = (
    "const {G}* grad", "const {U}* start", "const f32* theta", "{G}* out", "f32* partial",
    "const f32* grad_carry", "f32* grad_carry_in", "{I} n", "u32 windows", "u32 channels", "{I} inner",
    "{I} outer", "f32 half", "f32 leak",
)  # fmt: skip
_POOL = (
    "u32 height", "u32 width", "u32 out_height", "u32 out_width", "u32 kernel_y", "u32 kernel_x",
    "u32 stride_y", "u32 stride_x", "u32 pad_y", "u32 pad_x", "u32 dilation_y", "u32 dilation_x",
)  # fmt: skip
KERNELS: dict[str, KernelSpec] = {
    "fire": KernelSpec(
        "fire.cu",
        ("C", "X", "P", "Y", "AMPLITUDE", "SIGNED", "LEAK", "MODE", "V", "I"),
        ("const {X}* u", "const f32* theta", "{P}* codes", "{Y}* values", "f32* start", *_STATE,
         "u32* nan_seen", *_CHANNELS),
    ),
    "serial": KernelSpec(
        "serial.cu",
        ("C", "X", "P", "SIGNED", "LEAK", "MODE", "V", "I"),
        ("const {X}* x", "const f32* theta", "{X}* spikes", "{P}* codes", "{X}* values", "f32* start",
         *_STATE, "u32* nan_seen", *_CHANNELS, "i32 amplitude"),
    ),
    "step": KernelSpec(
        "step.cu",
        ("C", "X", "SIGNED", "LEAK", "MODE", "V", "I"),
        ("const {X}* x", "const f32* theta", "{X}* spikes", "f32* v", "const f32* accumulator",
         "const f32* code", "const f32* start", "f32* accumulator_out", "f32* code_out", "f32* start_out",
         *_STATE, "{I} n", "u32 channels", "{I} inner", "f32 half", "f32 leak", "u32 phase"),
    ),
    "pack": KernelSpec(
        "codes.cu",
        ("D", "P", "SIGNED", "V", "I"),
        ("const {D}* digits", "{P}* codes", "u32* invalid", "{I} n", "u32 steps"),
    ),
    "unpack": KernelSpec(
        "codes.cu",
        ("P", "D", "V", "I"),
        ("const {P}* codes", "{D}* digits", "u32* invalid", "{I} n", "u32 steps"),
    ),
    "decode_codes": KernelSpec(
        "codes.cu",
        ("C", "P", "Y", "V", "I"),
        ("const {P}* codes", "{Y}* values", "u32* invalid", "{I} n"),
    ),
    "backward": KernelSpec(
        "backward.cu",
        ("C", "G", "U", "SERIAL", "SCALED", "SIGNED", "LEAK", "MODE", "V", "I"),
        ("const {G}* grad", "const {U}* start", "const f32* theta", "{G}* out", "const f32* grad_carry",
         "f32* grad_carry_in", *_CHANNELS),
    ),
    "backward_runs": KernelSpec(
        "backward.cu",
        ("C", "G", "U", "SERIAL", "SCALED", "SIGNED", "LEAK", "V", "I"),
        _THETA_SUM,
        collective=True,
    ),
    "backward_last": KernelSpec(
        "backward.cu",
        ("C", "G", "U", "SERIAL", "SCALED", "SIGNED", "LEAK", "V", "I"),
        _THETA_SUM,
        collective=True,
    ),
    "sum_partials": KernelSpec(
        "backward.cu",
        (),
        ("const f32* partial", "f32* total", "u32 rows", "u32 channels"),
        collective=True,
    ),
    "pool_codes": KernelSpec(
        "pool.cu",
        ("P", "I"),
        ("const {P}* codes", "{P}* out", "{I} n", "{I} inner", *_POOL),
    ),
    "pool_digits": KernelSpec(
        "pool.cu",
        ("D", "I"),
        ("const {D}* digits", "{D}* out", "{I} n", "{I} inner", "{I} image", "u32 windows", "u32 steps",
         *_POOL),
    ),
    "pool_step": KernelSpec(
        "pool.cu",
        ("D", "I"),
        ("const {D}* digits", "{D}* out", "u32* alive", "{I} n", "{I} inner", "u32 first", *_POOL),
    ),
    "integer_fire": KernelSpec(
        "integer.cu",
        ("P", "SIGNED", "MODE", "V", "I"),
        ("const i32* membrane", "const i32* bias", "const i32* theta", "{P}* codes", "{I} n", "u32 channels",
         "{I} inner", "u32 half", "u32 max_code"),
    ),
    "product": KernelSpec(
        "product.cu",
        ("X", "P", "FIRE", "SIGNED", "CONV", "V", "WIDE", "I"),
        ("const {X}* codes", "const i8* weight", "const i32* bias", "const i32* theta", "{P}* out",
         "{I} rows", "u32 columns", "u32 theta_step", "u32 half", "u32 max_code", "u32 depth", "u32 channels",
         "u32 height", "u32 width", "u32 out_height", "u32 out_width", "u32 kernel_x", "u32 stride_y",
         "u32 stride_x", "u32 pad_y", "u32 pad_x", "u32 dilation_y", "u32 dilation_x"),
        collective=True,
        blocks_per_sm="SPK_TILE_BLOCKS({WIDE:d})",
        needs=("integer.cu", "tiles.cu"),
    ),
}  # fmt: skip
