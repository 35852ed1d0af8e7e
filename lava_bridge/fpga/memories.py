"""Contents of memories as text for ``$readmemh``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from spikejelly_pack.spec.graph.base import Array

from .design import Line, Pool, Population, Projection

__all__ = ["hex_lines", "memory_files"]


def hex_lines(rows: Iterable[Sequence[int]], widths: Sequence[int]) -> str:
    """One line of hexadecimal digits per row; the first field is the lowest, negative fields wrap."""
    digits = -(-sum(widths) // 4)
    lines: list[str] = []
    for row in rows:
        word, place = 0, 0
        for value, width in zip(row, widths, strict=True):
            word |= (int(value) & ((1 << width) - 1)) << place
            place += width
        lines.append(f"{word:0{digits}x}")
    return "\n".join(lines) + "\n"


def _table(table: Array, widths: tuple[int, int, int]) -> str:
    # {count, weight address, membrane address}, the last in the low bits
    return hex_lines(table[:, ::-1].tolist(), widths[::-1])


def _projection(projection: Projection) -> dict[str, str]:
    ident, lanes = projection.ident, projection.weights.shape[1]
    return {
        f"{ident}_weights.mem": hex_lines(projection.weights.tolist(), [projection.weight_bits] * lanes),
        f"{ident}_rows.mem": _table(projection.row_table, projection.table_bits),
        f"{ident}_cols.mem": _table(projection.col_table, projection.table_bits),
    }


def _line(line: Line) -> dict[str, str]:
    p, ident = line.parameters, line.ident
    files = {
        f"{ident}_sums_{number:02d}.mem": hex_lines(table.tolist(), [p["T_W"]] * p["L"])
        for number, table in enumerate(line.tables)
    }
    for what, table, widths in (
        ("rows", line.row_table, [p["N_W"], p["N_W"], *[1] * p["KH"]]),
        ("cols", line.col_table, [p["X_W"], *[1] * p["KW"]]),
    ):
        # {rows done with, rows needed, kernel rows inside}: the first of these in the lowest bit
        counts = len(widths) - (p["KH"] if what == "rows" else p["KW"])
        order = [*range(counts, len(widths)), *reversed(range(counts))]
        files[f"{ident}_{what}.mem"] = hex_lines(table[:, order].tolist(), [widths[i] for i in order])
    return files


def _parameters(population: Population) -> str:
    if population.readout:
        return hex_lines(population.table[:, :, 0].tolist(), [population.state_bits] * population.fire)
    widths = [population.threshold_bits, population.threshold_bits, population.state_bits] * population.fire
    backwards: Array = population.table[:, :, ::-1]
    return hex_lines(np.reshape(backwards, (len(backwards), -1)).tolist(), widths)


def memory_files(populations: Iterable[Population], pools: Iterable[Pool]) -> dict[str, str]:
    """Every memory file of a design: name to text."""
    files: dict[str, str] = {}
    for pool in pools:
        for what, table in (("rows", pool.row_table), ("cols", pool.col_table)):
            files[f"{pool.stream.ident}_{what}.mem"] = _table(table, pool.table_bits)
    for population in populations:
        files[f"{population.ident}_fire.mem"] = _parameters(population)
        if population.line is not None:
            files |= _line(population.line)
        for projection in population.projections:
            files |= _projection(projection)
    return files
