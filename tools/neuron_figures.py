"""Draw docs/images/neuron-*.svg from the equations of ``spikejelly_pack.spec``.

Usage: ``python tools/neuron_figures.py`` writes, with ``--check`` it fails if the stored pictures differ.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from spikejelly_pack.spec.equations import fire_digit, integer_code  # noqa: E402

IMAGES = ROOT / "docs" / "images"
BLUE, ORANGE, GREY, DARK = "#1f6feb", "#c4572a", "#8a94a3", "#1c2430"
LEFT, TOP, WIDTH, HEIGHT = 56, 28, 520, 190


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def _text(x: float, y: float, words: str, color: str = DARK, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}">{words}</text>'


def _svg(title: str, parts: list[str], height: int = TOP + HEIGHT + 44) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 40} {height}" '
        f'font-family="sans-serif" font-size="13" role="img">\n<title>{title}</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def firing() -> str:
    """One window: the membrane, the four thresholds it meets, the spikes."""
    steps, start = 4, Fraction(69, 100)
    lsb = Fraction(1, 2**steps - 1)
    membrane = start + lsb / 2
    column = WIDTH / (steps + 1)

    def height(value: Fraction) -> float:
        return TOP + HEIGHT * (1 - float(value))

    parts = [
        _line(LEFT, TOP, LEFT, TOP + HEIGHT, GREY),
        _line(LEFT, TOP + HEIGHT, LEFT + WIDTH, TOP + HEIGHT, GREY),
        _text(LEFT - 8, height(Fraction(1)) + 4, "theta", GREY, "end"),
        _text(LEFT - 8, height(Fraction(0)) + 4, "0", GREY, "end"),
        _text(LEFT + column / 2, height(membrane) - 8, "v"),
        _line(LEFT, height(membrane), LEFT + column, height(membrane), BLUE, 3),
    ]
    bits: list[int] = []
    for t in range(1, steps + 1):
        left = LEFT + t * column
        threshold = lsb * 2 ** (steps - t)
        before = membrane
        spike, membrane = fire_digit(membrane, threshold)
        bits.append(int(spike))
        parts += [
            _line(left, height(threshold), left + column - 8, height(threshold), ORANGE, 1.5, "5 3"),
            _line(left, height(before), left, height(membrane), BLUE, 3),
            _line(left, height(membrane), left + column, height(membrane), BLUE, 3),
            _text(left + column / 2, height(threshold) - 5, f"theta_{t}", ORANGE),
            _text(left + column / 2, TOP + HEIGHT + 18, f"t = {t}", GREY),
            _text(left + column / 2, TOP + HEIGHT + 36, "spike" if spike else "silent"),
        ]
    code = sum(bit << (steps - t) for t, bit in enumerate(bits, start=1))
    words = (
        f"membrane {float(start):.2f} theta, digits {''.join(map(str, bits))}, code {code} of {2**steps - 1}"
    )
    return _svg(words, [*parts, _text(LEFT + WIDTH / 2, 18, words)])


def transfer() -> str:
    """Decoded output against membrane for three lengths of the code."""

    def place(u: Fraction, value: Fraction) -> tuple[float, float]:
        x = LEFT + WIDTH * (float(u) + 0.25) / 1.5
        return x, TOP + HEIGHT * (1 - float(value))

    parts = [
        _line(LEFT, TOP + HEIGHT, LEFT + WIDTH, TOP + HEIGHT, GREY),
        _text(place(Fraction(0), Fraction(0))[0], TOP + HEIGHT + 18, "0", GREY),
        _text(place(Fraction(1), Fraction(0))[0], TOP + HEIGHT + 18, "theta", GREY),
        _text(LEFT + WIDTH / 2, TOP + HEIGHT + 36, "membrane U", GREY),
        _text(LEFT - 8, TOP + 4, "1", GREY, "end"),
    ]
    for steps, color in ((1, GREY), (2, ORANGE), (4, BLUE)):
        largest = 2**steps - 1
        points: list[tuple[float, float]] = []
        for k in range(-125, 626):
            u = Fraction(2 * k + 1, 1000)  # between ties
            # integers in units of 1/1000 of an LSB: the closed form of the hardware
            membrane = floor(u * largest * 1000)
            code = integer_code(np.int64(membrane), 1000, largest, half=True)
            points.append(place(u, Fraction(int(code), largest)))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(_text(LEFT + 30, TOP + 14 + 18 * [1, 2, 4].index(steps), f"T = {steps}", color))
    return _svg("decoded output against membrane for T = 1, 2, 4", parts)


def codes() -> str:
    """Trains of four digits of all sixteen codes beside those of a rate code."""
    cell, gap = 15, 26
    parts = [_text(LEFT + 60, 18, "SpikePack, T = 4"), _text(LEFT + 340, 18, "rate code, 15 time steps")]
    for code in range(16):
        y = TOP + code * (cell - 2) + 2
        parts.append(_text(LEFT - 8, y + 10, f"{code}/15", GREY, "end"))
        for t in range(4):
            fill = BLUE if code >> (3 - t) & 1 else "#eef1f5"
            parts.append(f'<rect x="{LEFT + t * gap}" y="{y}" width="22" height="11" fill="{fill}"/>')
        for t in range(15):
            spike = (t + 1) * code // 15 > t * code // 15
            fill = ORANGE if spike else "#eef1f5"
            parts.append(f'<rect x="{LEFT + 160 + t * gap}" y="{y}" width="22" height="11" fill="{fill}"/>')
    return _svg("spike trains of 16 values", parts, TOP + 16 * (cell - 2) + 16)


PICTURES: dict[str, Callable[[], str]] = {
    "neuron-firing": firing,
    "neuron-transfer": transfer,
    "neuron-codes": codes,
}


def main(arguments: list[str]) -> int:
    """Write the pictures, or with ``--check`` compare them."""
    stale: list[str] = []
    for name, draw in PICTURES.items():
        path = IMAGES / f"{name}.svg"
        if "--check" in arguments:
            if not path.is_file() or path.read_text(encoding="utf-8") != draw():
                stale.append(path.name)
        else:
            path.write_text(draw(), encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)}: differ from the equations; run tools/neuron_figures.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
