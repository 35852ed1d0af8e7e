"""What the plots show is measured against written-out numbers; the files are pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from spikejelly_pack.recipes import convert
from spikejelly_pack.spec.errors import OutputError, ParameterError, UnsupportedError
from spikejelly_pack.tasks.plots import write_plots
from spikejelly_pack.tasks.probes import probe


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 3))
    with torch.no_grad():
        network[0].bias[:4] = -100.0  # four of ten channels never fire
    return network.eval()


def test_probes_are_the_written_out_values() -> None:
    source = _network()
    batches = [torch.randn(64, 6) for _ in range(3)]
    converted = convert(source, batches, 3, route="module", calibrator="90%", progress=False)
    first, second = probe(converted, batches)
    x = torch.cat(batches).double()
    theta = first.theta
    code = torch.clamp(torch.floor(x.abs() / (theta / 7) + 0.5), max=7) * theta / 7 * x.sign()
    assert sorted(first.values.tolist()) == pytest.approx(sorted(x.flatten().tolist()))
    assert sorted(first.decoded.tolist()) == pytest.approx(sorted(code.flatten().tolist()), abs=1e-6)
    assert first.saturated == pytest.approx(float((x.abs() > theta).double().mean()))
    assert 0.05 < first.saturated < 0.15  # the 90th percentile
    assert first.coding == pytest.approx(float((code - x).norm() / x.norm()), rel=1e-5)
    assert first.drift == 0.0
    assert first.dead == 0.0
    source.double().requires_grad_(False)
    hidden = source[:2](x)
    arriving = source[:2](code)
    assert second.drift == pytest.approx(float((arriving - hidden).norm() / hidden.norm()), rel=1e-4)
    assert second.dead == pytest.approx(0.4)


def test_dead_channels_of_images_are_those_of_axis_one() -> None:
    torch.manual_seed(0)
    source = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 3)).eval()
    with torch.no_grad():
        source[0].bias[:2] = -100.0
    batches = [torch.randn(4, 2, 9, 9)]
    converted = convert(source, batches, 4, route="module", channel_wise=True, progress=False)
    first, second = probe(converted, batches)
    assert (first.dead, second.dead) == (0.0, pytest.approx(0.4))
    assert first.saturated < 0.2


@torch.no_grad()
def test_probes_of_the_fx_route_are_in_the_units_of_the_source() -> None:
    """T differs per node, one is signed, one source cuts off at 6: against values written out."""
    torch.manual_seed(1)
    source = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU6(), nn.Linear(7, 2)).double()
    source[2].weight.mul_(12.0)
    x = torch.randn(40, 5, dtype=torch.float64)
    steps = {"*": 3, "1": 2, "3": 4}
    snn: Any = convert(source, [x], steps, route="fx", channel_wise=True, progress=False)
    probes = {
        entry.stands_for: found for entry, found in zip(snn.report.layers, probe(snn, [x]), strict=True)
    }

    def coded(value: torch.Tensor, number: int) -> torch.Tensor:
        node = snn.get_submodule(snn.report.layers[number].path)
        top, theta = 2**node.time_steps - 1, node.theta.double()
        code = torch.clamp(torch.floor(value.abs() / (theta / top) + 0.5), max=top) * value.sign()
        return code.clamp(min=-top if node.params.signed else 0) * theta / top

    y = source[0](coded(x, 0))
    z = source[2](coded(y, 1))
    wanted = {"input_1": (x, x), "1": (y, source[0](x)), "3": (z, source[:3](x))}
    assert list(probes) == list(wanted)
    for number, (name, (value, reference)) in enumerate(wanted.items()):
        found, decoded = probes[name], coded(value, number)
        assert sorted(found.values) == pytest.approx(sorted(value.flatten().tolist()), rel=1e-6)
        assert sorted(found.decoded) == pytest.approx(sorted(decoded.flatten().tolist()), rel=1e-5)
        assert found.coding == pytest.approx(float((decoded - value).norm() / value.norm()), rel=1e-5)
        drift = float((value - reference).norm() / reference.norm())
        assert found.drift == pytest.approx(drift, rel=1e-5, abs=1e-12)
    assert bool((wanted["3"][1] > 6).any()), "nothing was cut off"


@pytest.mark.parametrize("file_format", ["svg", "png"])
def test_files_are_pictures(tmp_path: Path, file_format: str) -> None:
    source = nn.Sequential(*(layer for _ in range(18) for layer in (nn.Linear(4, 4), nn.ReLU()))).eval()
    batches = [(torch.rand(8, 4), None)]
    converted = convert(source, batches, 3, route="module", progress=False)
    paths = write_plots(converted, batches, tmp_path / "new", file_format=file_format)
    again = write_plots(converted, batches, tmp_path / "again", file_format=file_format)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    names = ["activations_1", "activations_2", "error_growth", "saturation"]
    assert [path.name for path in paths] == [f"{name}.{file_format}" for name in names]
    assert sorted(tmp_path.glob("new/*")) == sorted(paths)
    for path in paths:
        if file_format == "svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
        else:
            from PIL import Image

            with Image.open(path) as image:
                assert np.asarray(image.convert("L")).std() > 5


def test_bad_input(tmp_path: Path) -> None:
    source = _network()
    data = [torch.randn(4, 6)]
    converted = convert(source, data, 3, route="module", progress=False)
    cases = [
        (UnsupportedError, "must be a result of convert, got Sequential", (source, data, tmp_path)),
        (ParameterError, "must hold a batch, got none", (converted, [], tmp_path)),
    ]
    for error, said, arguments in cases:
        with pytest.raises(error, match=re.escape(said)):
            write_plots(*arguments)
    with pytest.raises(ParameterError, match="file_format must be one of"):
        write_plots(converted, data, tmp_path, file_format="gif")
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError):
        write_plots(converted, data, tmp_path / "taken")
