"""Planning a small network takes one thread, whatever torch has, and gives torch its threads back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from spikejelly_pack.bit_budget.plan import Planner
from spikejelly_pack.bit_budget.plan.threads import SMALL, few_threads
from spikejelly_pack.bit_budget.plan.trial import Choice


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("macs", "threads"), [(SMALL - 1, 1), (SMALL, 3)])
def test_threads_by_work(macs: int, threads: int) -> None:
    with few_threads(macs):
        assert torch.get_num_threads() == threads
    with pytest.raises(KeyError), few_threads(macs):
        raise KeyError
    assert torch.get_num_threads() == 3


def test_planning_small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    planner = Planner(net, [torch.rand(8, 4)], steps=(2, 4), bits=(2, 4), progress=False)
    seen: list[int] = []
    loss = planner.search.loss

    def watched(choice: Choice) -> float:
        seen.append(torch.get_num_threads())
        return loss(choice)

    monkeypatch.setattr(planner.search, "loss", watched)
    planner.plan(2 * planner.search.smallest)
    assert set(seen) == {1}
    assert torch.get_num_threads() == 3
