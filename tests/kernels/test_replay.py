"""Launches repeated with new addresses: the same results, unchecked; anything else is checked anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cupy_kernels import KernelArgumentError, launcher
from cupy_kernels.launcher.neuron import fire
from cupy_kernels.replay import Replay
from spikejelly_pack import functional
from spikejelly_pack.spec.parameters import NeuronParameters

PARAMS = NeuronParameters(4)
CASES = [
    lambda machine: machine_fire(machine, launcher.fire, torch.rand(3, 40)),
    lambda machine: machine_fire(machine, launcher.fire, torch.rand(3, 41)),
]


def machine_fire(machine: Any, call: Callable[..., None], u: torch.Tensor, shift: int = 0) -> torch.Tensor:
    """Codes of ``u``, in memory of their own."""
    codes = machine.out(u, torch.uint8, shift)
    call(machine.queue, machine.put(u), machine.put(torch.tensor(0.5)), PARAMS, codes=codes)
    return codes


class Counted:
    """The launcher function, and how often it ran."""

    def __init__(self) -> None:
        self.calls = 0
        self.replay = Replay()

    def function(self, queue: Any, u: Any, theta: Any, neuron: Any, *, codes: Any) -> None:
        self.calls += 1
        fire(queue, u, theta, neuron, codes=codes)

    def __call__(self, queue: Any, *arguments: Any, **options: Any) -> None:
        self.replay.launch(self.function, queue, *arguments, **options)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_new_addresses_are_launched_without_checks(counted: Counted, machine: Any) -> None:
    for seed in range(4):
        u = torch.rand(3, 40, generator=torch.Generator().manual_seed(seed))
        codes = machine_fire(machine, counted, u)
        assert torch.equal(codes.cpu(), functional.spikepack_code(u, 0.5, PARAMS))
    assert counted.calls == 1


@pytest.mark.parametrize("changed", ["shape", "alignment", "dtype", "neuron"])
def test_what_decides_a_launch_is_checked_anew(counted: Counted, machine: Any, changed: str) -> None:
    u = torch.rand(3, 40)
    machine_fire(machine, counted, u)
    if changed == "neuron":
        codes = machine.out(u, torch.uint8)
        neuron = NeuronParameters(5)
        counted(machine.queue, machine.put(u), machine.put(torch.tensor(0.5)), neuron, codes=codes)
        assert torch.equal(codes.cpu(), functional.spikepack_code(u, 0.5, neuron))
    else:
        other = {"shape": torch.rand(3, 41), "alignment": u, "dtype": u.half()}[changed]
        codes = machine_fire(machine, counted, other, shift=changed == "alignment")
        assert torch.equal(codes.cpu(), functional.spikepack_code(other.float(), 0.5, PARAMS))
    assert counted.calls == 2


def test_a_refusal_is_not_kept(counted: Counted, machine: Any) -> None:
    u, wrong = machine.put(torch.rand(8)), machine.out(torch.empty(8), torch.uint16)
    for _ in range(2):
        with pytest.raises(KernelArgumentError, match="codes: dtype must be uint8, got uint16"):
            counted(machine.queue, u, machine.put(torch.tensor(0.5)), PARAMS, codes=wrong)
    assert counted.calls == 2


def test_nothing_is_launched_for_no_elements(counted: Counted, machine: Any) -> None:
    for _ in range(2):
        machine_fire(machine, counted, torch.rand(0, 3))
    assert counted.calls == 1


def test_the_store_starts_over_when_it_is_full(
    counted: Counted, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cupy_kernels.replay._MOST", 2)
    for size in (40, 80, 120, 120):
        machine_fire(machine, counted, torch.rand(1, size))
    assert counted.calls == 3
    assert len(counted.replay._kept) == 1
