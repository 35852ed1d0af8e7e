"""Examples and the README's code run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn


def test_convert_and_simulate(repository: Path, tmp_path: Path) -> None:
    script = repository / "examples" / "convert_and_simulate.py"
    path = os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path} if os.environ.get("PYTHONPATH") else None,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    share = re.search(r"Lava: ([\d.]+)% of 64 images right", done.stdout)
    assert share is not None
    assert float(share.group(1)) > 85
    assert "multiply-accumulates on spikes: 100.0%" in done.stdout


def test_the_code_in_the_readme(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    x = torch.rand(8, 1, 8, 8)
    ann = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    names = {"ann": ann, "calibration_loader": [x], "example_input": x, "images": x[:4].numpy()}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    result = names["result"]
    assert np.isfinite(result.outputs["output"]).all()  # type: ignore[union-attr]
    assert "multiply-accumulates on spikes: 100.0%" in capsys.readouterr().out
