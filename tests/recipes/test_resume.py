"""A calibration that is stopped and continued is the one that was not stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikejelly_pack import convert
from spikejelly_pack.recipes.resume import _checksum
from spikejelly_pack.spec.errors import ExchangeFileError, OutputError, ParameterError


class Twice(nn.Module):
    """With ``soft``, an activation that the FX route has no rule for."""

    def __init__(self, soft: bool) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.b, self.head, self.soft = nn.Conv2d(4, 4, 3), nn.Linear(4, 3), soft

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x))) if self.soft else F.relu(self.norm(self.stem(x)))
        return self.head(F.relu(self.b(x)).mean((2, 3)))


class Stopped(Exception):
    pass


def interrupted(batches: list[Tensor], after: int) -> Any:
    """A loader that is stopped by hand before batch ``after``."""

    class Loader:
        def __iter__(self) -> Iterator[Tensor]:
            yield from batches[:after]
            raise Stopped

    return Loader()


def make(soft: bool, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Twice(soft).eval()


ROUTES = pytest.mark.parametrize("soft", [False, True], ids=["fx", "module"])


@pytest.fixture
def batches() -> list[Tensor]:
    """Growing values: each batch moves the thresholds."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 2, 7, 7, generator=generator) * (1 + i) for i in range(7)]


def stop(soft: bool, batches: list[Tensor], path: Path, after: int = 5, **options: Any) -> None:
    with pytest.raises(Stopped):
        convert(
            make(soft), interrupted(batches, after), progress=False, resume=path, resume_every=2, **options
        )


@ROUTES
@pytest.mark.parametrize("calibrator", ["mse", "max", "99%"])
@pytest.mark.parametrize("channel_wise", [False, True])
def test_continued_equals_uninterrupted(
    soft: bool, calibrator: str, channel_wise: bool, batches: list[Tensor], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"calibrator": calibrator, "channel_wise": channel_wise}
    wanted: Any = convert(make(soft), batches, progress=False, **options)
    path = tmp_path / "calibration.safetensors"
    stop(soft, batches, path, **options)
    seen: list[int] = []
    model = make(soft)
    model.register_forward_pre_hook(lambda _m, x: seen.append(len(x[0])))
    got: Any = convert(model, batches, progress=False, resume=path, resume_every=2, **options)
    assert got.report.route == wanted.report.route == ("module" if soft else "fx")
    assert got.report.layers == wanted.report.layers
    assert got.report.synapses == wanted.report.synapses
    assert torch.equal(got(batches[0]), wanted(batches[0]))
    if soft:
        assert (got.report.soma, got.report.affine) == (wanted.report.soma, wanted.report.affine)
        assert got.plan == wanted.plan
        assert list(got.nodes) == list(wanted.nodes)
        assert len(seen) == 3 + 1, "batches 4, 5 and 6, and the comparison"


@ROUTES
def test_only_what_is_new_is_observed(soft: bool, batches: list[Tensor], tmp_path: Path) -> None:
    """The file counts: statistics changed in it come out changed."""
    path = tmp_path / "calibration.safetensors"
    stop(soft, batches, path, calibrator="max")
    with safetensors.safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["spikepack_calibration"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert len(about["batches"]) == 4
    assert about["route"] == ("module" if soft else "fx")
    name = next(name for name in tensors if name.endswith("|top"))
    tensors[name] = tensors[name] * 1000
    safetensors.torch.save_file(tensors, path, {"spikepack_calibration": json.dumps(about)})
    with pytest.raises(ExchangeFileError, match="statistics that do not match their checksum"):
        convert(make(soft), batches, progress=False, calibrator="max", resume=path)
    about["checksum"] = _checksum(tensors, about)
    metadata = {"spikepack_calibration": json.dumps(about)}
    safetensors.torch.save_file(tensors, path, metadata)
    got: Any = convert(make(soft), batches, progress=False, calibrator="max", resume=path)
    assert max(entry.threshold[2] for entry in got.report.layers) >= 1000 * float(batches[0].abs().max()) / 8


@ROUTES
def test_a_finished_calibration_serves_other_time_steps(
    soft: bool, batches: list[Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "calibration.safetensors"
    convert(make(soft), batches, 8, progress=False, resume=path)
    wanted: Any = convert(make(soft), batches, 3, progress=False)
    got: Any = convert(make(soft), batches, 3, progress=False, resume=path)
    assert got.report.layers == wanted.report.layers
    assert torch.equal(got(batches[2]), wanted(batches[2]))


@ROUTES
def test_improvers_know_every_place(soft: bool, batches: list[Tensor], tmp_path: Path) -> None:
    """Of a finished calibration no batch runs again: what is to be corrected comes from the file."""
    path, improve = tmp_path / "calibration.safetensors", ("batchnorm", "bias_correction")
    wanted: Any = convert(make(soft), batches, 3, improve=improve, progress=False, resume=path)
    got: Any = convert(make(soft), batches, 3, improve=improve, progress=False, resume=path)
    assert torch.equal(got(batches[1]), wanted(batches[1]))
    if soft:
        assert list(got.corrections) == list(wanted.corrections)
        assert len(got.corrections) == 4


@ROUTES
def test_wrong_files_are_named(soft: bool, batches: list[Tensor], tmp_path: Path) -> None:
    path = tmp_path / "calibration.safetensors"
    stop(soft, batches, path)

    def again(model: nn.Module, data: list[Tensor], **options: Any) -> None:
        convert(model, data, progress=False, resume=path, **options)

    with pytest.raises(ExchangeFileError, match="the weights of this network, got others; delete the file"):
        again(make(soft, seed=1), batches)
    with pytest.raises(ExchangeFileError, match=r"these settings, got \{.*'calibrator': 'mse'"):
        again(make(soft), batches, calibrator="max")
    with pytest.raises(ExchangeFileError, match=r"got other values in batch 2; .* \(shuffle=False\)"):
        again(make(soft), [*batches[:2], batches[3], *batches[2:]])
    with pytest.raises(ExchangeFileError, match="got 3 batches of 4"):
        again(make(soft), batches[:3])
    again(make(soft), batches)


def test_route_of_the_file(batches: list[Tensor], tmp_path: Path) -> None:
    path = tmp_path / "calibration.safetensors"
    stop(False, batches, path, route="module")
    got: Any = convert(make(False), batches, progress=False, resume=path)
    assert (got.report.route, got.report.reason) == ("module", f"calibration continued from {path}")
    with pytest.raises(ExchangeFileError, match="this route, got module"):
        convert(make(False), batches, progress=False, resume=path, route="fx")


def test_a_route_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    """A rectifier that never fires has no threshold by FX: the module tree starts afresh."""
    path = tmp_path / "calibration.safetensors"
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.constant_(net[0].bias, -100.0)
    data = [torch.randn(3, 4), torch.randn(3, 4)]
    got: Any = convert(net, data, progress=False, resume=path, resume_every=1)
    assert "every calibration value was zero" in got.report.reason
    again: Any = convert(net, data, progress=False, resume=path)
    assert again.report.route == got.report.route == "module"
    assert again.report.layers == got.report.layers
    assert again.report.silent == got.report.silent != []


def test_bad_files(batches: list[Tensor], tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a calibration")
    with pytest.raises(ExchangeFileError, match=r"notes\.txt: must be written by a calibration with resume="):
        convert(make(False), batches, progress=False, resume=path)
    with pytest.raises(OutputError, match="must be a file, got a folder"):
        convert(make(False), batches, progress=False, resume=tmp_path)
    with pytest.raises(ParameterError, match="resume_every must be a positive integer, got 0"):
        convert(make(False), batches, progress=False, resume=path, resume_every=0)
