"""What a user can get wrong: one sentence, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spikejelly_pack.cli import main
from spikejelly_pack.spec.errors import OutputError, ParameterError
from spikejelly_pack.train import load_network
from spikejelly_pack.train.files import AtomicCheckpoints
from spikejelly_pack.train.parsing import statement_of
from spikejelly_pack.train.saved import CHECKPOINT_KEY, read_checkpoint


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model.neuron.class_path", "spikejelly_pack.neuron.Nope"], "class_path must be importable, got"),
        (["--model.neuron.init_args.v_threshold", "-1"], "v_threshold must be positive and finite, got -1"),
        (["--model.neuron.init_args.taau", "2"], "neuron SpikePackNode: init_args must be among"),
        (
            ["--model.network", "digits_cn"],
            "network must be a known one, got 'digits_cn'; did you mean digits_cnn?",
        ),
        (["--model.time_steps", "17"], "time_steps must be an integer in 1..16, got 17"),
        (["--model.learning_rate", "-1"], "learning_rate must be a positive number, got -1.0"),
        (["--model.label_smoothing", "2"], "label_smoothing must be in 0..1, got 2.0"),
        (["--model.teacher", "none.py:f"], "model: the file must exist, got 'none.py'"),
        (["--data.init_args.batch_size", "5000"], "batch_size must be at most the 1212 training samples"),
        (["--data.init_args.batch_size", "many"], "data.batch_size must be int, got many"),
        (
            ["--data.init_args.source", "letters"],
            "data.source must be one of 'digits', 'events', got letters",
        ),
        (["--data.init_args.validation", "0"], "validation must leave samples on both sides"),
        (["--trainer.precision", "7"], "trainer.precision must be one of"),
        (["--trainer.sync_batchnorm", "true"], "trainer.sync_batchnorm must be false"),
        (["--trainer.max_epochs", "-32"], "must be a non-negative integer or -1. You passed in -32"),
        (["--ema", "2"], "--ema must be in 0..1"),
        (["--patience", "0"], "--patience must be at least 1 epoch, got 0"),
        (["--no.such.option", "1"], "nrecognized arguments: --no.such.option 1"),
        (["--resume", "none.ckpt"], "none.ckpt: the checkpoint must be a file, got none there"),
    ],
)
def test_configuration(
    options: list[str], sentence: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["train", "--config", str(tiny), "--out", str(out), *options]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert not list(out.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifar10_sew_resnet18", "must hold CIFAR10, got .*; get it by: python -c .*CIFAR10"),
        ("cifar100_vgg", "must hold CIFAR100, got .*; get it by: python -c .*CIFAR100"),
        ("cifar10dvs_vgg", "must hold CIFAR10DVS as 10 frames .*; get it by: python -c .*cifar10_dvs"),
        ("dvs_gesture", "must hold DVS128Gesture as 16 frames .*; get it by: python -c .*train=True"),
        ("imagenet_sew_resnet34", "must hold an image folder, got .*; get it by: unpacking"),
    ],
)
def test_missing_data(
    name: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The configurations whose data are not at hand, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    small = [] if "vgg" not in name else ["--model.network_args.width", "0.1"]
    assert main(["train", "--config", name, "--trainer.precision", "32-true", *small]) == 2
    said = capsys.readouterr().err.strip()
    assert re.search(sentence, said)
    assert len(said.splitlines()) == 1


def test_unknown_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "digit_cnn"]) == 2
    assert "--config: must be a file or one of cifar100_vgg," in capsys.readouterr().err


def test_checkpoints(trained: Any, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Damaged, foreign, of another network: refused before training starts, and by export."""
    whole = Path(trained[1]["files"]["last"]).read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.ckpt").write_bytes(b"not a checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    cases = [
        (["cut.ckpt"], "the checkpoint must be whole, got a damaged file"),
        (["noise.ckpt"], "the checkpoint must be whole, got a damaged file"),
        (["foreign.ckpt"], "must be a checkpoint of spikepack train, got one without"),
    ]
    for (name, *_), sentence in cases:
        for command in (
            ["train", "--config", str(tiny), "--out", str(tmp_path / "o"), "--resume", str(tmp_path / name)],
            ["export", str(tmp_path / name), "--data", "digits", "--out", str(tmp_path / "n.spk")],
        ):
            assert main(command) == 2
            assert sentence in capsys.readouterr().err
    last = trained[1]["files"]["last"]
    command = ["train", "--config", str(tiny), "--out", str(tmp_path / "o"), "--resume", last]
    assert main([*command, "--model.network_args.width", "7"]) == 2
    said = capsys.readouterr().err
    assert (
        "the checkpoint must be of this network (digits_cnn), got another's: body.1.conv.weight is (6, 1"
        in said
    )
    assert main([*command, "--model.network", "digits_spikformer", "--model.network_args", "{}"]) == 2
    assert "must be of this network (digits_spikformer)" in capsys.readouterr().err


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code of the file ran')",))


def test_no_code_in_a_file_runs(trained: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, CHECKPOINT_KEY: Payload()}, tmp_path / "evil.ckpt")
    with pytest.raises(ParameterError, match="damaged file"):
        read_checkpoint(tmp_path / "evil.ckpt")
    state = load_file(trained[1]["files"]["network"])

    def described(**changes: Any) -> Path:
        net = load_network(trained[1]["files"]["network"])
        config = {"version": 1, **net.config, **changes}
        save_file(state, tmp_path / "x.safetensors", {CHECKPOINT_KEY: json.dumps(config)})
        return tmp_path / "x.safetensors"

    load_network(described())
    foreign = {"class_path": "os.system", "init_args": {}, "time_steps": 3}
    nested = {
        "class_path": "spikingjelly.activation_based.neuron.IFNode",
        "init_args": {"surrogate_function": {"class_path": "subprocess.Popen"}},
        "time_steps": 3,
    }
    for neuron, name in ((foreign, "os.system"), (nested, "subprocess.Popen")):
        with pytest.raises(ParameterError, match=f"classes must be of spikejelly_pack or .*'{name}'"):
            load_network(described(neuron=neuron))
    with pytest.raises(ParameterError, match="must be of version 1, got 2"):
        load_network(described(version=2))
    with pytest.raises(ParameterError, match="description must be complete"):
        load_network(described(neuron={}))
    save_file(state, tmp_path / "y.safetensors")
    with pytest.raises(ParameterError, match="got weights without its description"):
        load_network(tmp_path / "y.safetensors")


# -- a full disk ------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, files = tmp_path / "last.ckpt", AtomicCheckpoints()
    files.save_checkpoint({"epoch": 1}, target)
    before = target.read_bytes()

    def full(content: Any, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        OutputError, match=r"last.ckpt: the disk must hold the checkpoint, got Pytorch.*are kept"
    ):
        files.save_checkpoint({"epoch": 2}, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_disk_that_fills_up_while_training(trained: Any, tiny: Path, tmp_path: Path) -> None:
    """The kernel refuses files above 20 kB: a checkpoint does not fit, logs do."""
    last = Path(trained[1]["files"]["last"])
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "best.ckpt").write_bytes(last.read_bytes())
    assert last.stat().st_size > 20_000

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-m", "spikejelly_pack", "train", "--config", str(tiny), "--out", str(tmp_path)],
        preexec_fn=limit,
        # Byte code cut off at the limit would stay in the environment and break whoever imports it next.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert re.search(
        r"best.ckpt: the disk must hold the checkpoint, got .*; earlier checkpoints are kept", said
    )
    assert "Traceback" not in done.stderr
    assert (folder / "best.ckpt").read_bytes() == last.read_bytes()
    assert not list(folder.glob("*.part"))


def test_a_disk_that_cannot_hold_the_logs(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.loggers import CSVLogger

    def full(_: CSVLogger) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(CSVLogger, "save", full)
    with pytest.raises(OutputError, match="the disk must hold the logs, got No space left on device; checkp"):
        train(tmp_path)


def test_reports_of_the_parser_in_one_sentence() -> None:
    report = """Parser key "data":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'foo.Bar':
        No module named 'foo'
    - Expected a <class 'NoneType'>
  Given value: x"""
    assert statement_of(report) == "data: problem with given class_path 'foo.Bar': No module named 'foo'."
    assert statement_of("unrecognized\n  arguments: --x") == "unrecognized arguments: --x."
