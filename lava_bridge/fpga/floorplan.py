"""Where a design stands on its device, as SVG: shaded logic tiles, block memories, DSP blocks, pads."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["floor_plan"]

_SHADES = ("#dbe7f5", "#a8c6e8", "#6f9fd6", "#3c76b9", "#1f4f8a")
_COLOURS = {"bram": "#d98b2b", "dsp": "#b03a48", "io": "#8a8a8a"}
_NAMES = {"lut": "LUTs and flip-flops, darker is fuller", "bram": "block memory", "dsp": "DSP", "io": "pads"}


def floor_plan(tiles: Mapping[tuple[int, int, str], int], unit: int = 8) -> str:
    """SVG of a placement.

    Args:
        tiles: Cells per ``(x, y, kind)``, as :func:`.place.tiles` counts them.
        unit: Pixels of a tile.
    """
    if not tiles:
        return ""
    width = max(x for x, _, _ in tiles) + 1
    height = max(y for _, y, _ in tiles) + 1
    logic: dict[tuple[int, int], int] = {}
    for (x, y, kind), count in tiles.items():
        if kind in ("lut", "ff"):
            logic[x, y] = logic.get((x, y), 0) + count
    fullest = max(logic.values(), default=1)
    groups: dict[str, list[tuple[int, int]]] = {}
    for place, count in logic.items():
        shade = _SHADES[min(len(_SHADES) - 1, (count - 1) * len(_SHADES) // fullest)]
        groups.setdefault(shade, []).append(place)
    for x, y, kind in tiles:
        if kind in _COLOURS:
            groups.setdefault(_COLOURS[kind], []).append((x, y))
    paths = [f'<path fill="{colour}" d="{_squares(places)}"/>' for colour, places in sorted(groups.items())]
    legend = _legend(sorted({kind for _, _, kind in tiles}), height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 3}" '
        f'width="{width * unit}" height="{(height + 3) * unit}" role="img" aria-label="floor plan">'
        f'<rect width="{width}" height="{height}" fill="#f7f7f7"/>{"".join(paths)}{legend}</svg>'
    )


def _squares(places: list[tuple[int, int]]) -> str:
    return "".join(f"M{x} {y}h.9v.9h-.9z" for x, y in sorted(places))


def _legend(kinds: list[str], height: int) -> str:
    parts: list[str] = []
    x = 0.0
    for kind in ("lut", "bram", "dsp", "io"):
        if kind in kinds or (kind == "lut" and "ff" in kinds):
            colour = _COLOURS.get(kind, _SHADES[2])
            text = _NAMES[kind]
            parts.append(
                f'<rect x="{x:.1f}" y="{height + 1}" width="1" height="1" fill="{colour}"/>'
                f'<text x="{x + 1.4:.1f}" y="{height + 1.9}" font-size="1.2">{text}</text>'
            )
            x += 3.4 + 0.62 * len(text)
    return "".join(parts)
