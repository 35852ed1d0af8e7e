"""Figures of budgets: the unit of what was measured, the same bytes each time, nothing left behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib import pyplot
from torch import nn

from spikejelly_pack.bit_budget import measure
from spikejelly_pack.bit_budget.page import as_html, figure_svg
from spikejelly_pack.bit_budget.plan import Planner
from spikejelly_pack.bit_budget.plan.figure import draw_front
from spikejelly_pack.bit_budget.plan.resources import energy_resource
from spikejelly_pack.spec.energy import load_energy_table
from spikejelly_pack.spec.errors import OutputError


def test_a_report_is_the_same_page_every_time() -> None:
    found = measure(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), torch.rand(2, 4))
    assert figure_svg(found) == figure_svg(found)
    assert as_html(found) == as_html(found)


def test_the_front_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    table = dataclasses.replace(load_energy_table(), unit="fJ")
    planner = Planner(
        net,
        [torch.rand(16, 4)],
        resource="energy",
        measure_by=energy_resource(table),
        steps=[2],
        bits=[4, 8],
        progress=False,
    )
    chosen: list[str] = []
    monkeypatch.setattr(matplotlib, "use", chosen.append)  # the caller may have a window open
    open_before = pyplot.get_fignums()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        for name in ("a.svg", "b.svg"):
            draw_front(planner, [planner.search.smallest * 1.5], tmp_path / name)
        with pytest.raises(OutputError):
            draw_front(planner, [planner.search.smallest * 1.5], tmp_path / "a.svg" / "c.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert "fJ per inference" in drawn
    assert drawn == (tmp_path / "b.svg").read_text()
    assert (chosen, pyplot.get_fignums()) == ([], open_before)
