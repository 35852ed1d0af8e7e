"""One training run, looked at: what it writes, resumes, averages, stops at, distils."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from spikejelly_pack.data import digits
from spikejelly_pack.train import load_network
from spikejelly_pack.train.module import DirectTraining
from spikejelly_pack.train.saved import CHECKPOINT_KEY, read_checkpoint

Train = Callable[..., dict[str, Any]]


def equal(one: Any, two: Any) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def test_files_and_result(trained: Any, log_of: Any) -> None:
    out, result = trained
    assert set(result["files"]) == {"best", "last", "network", "config"}
    for path in result["files"].values():
        assert Path(path).is_file()
    assert json.loads(json.dumps(result)) == result
    assert result["epochs"] == 4
    assert {"test_accuracy", "val_accuracy", "val_firing_rate", "test_spikes"} <= set(result["metrics"])
    assert list(out.glob("tensorboard/**/events.out.tfevents.*"))
    assert len(log_of(out, "train_loss")) == 16  # four epochs of four batches
    assert len(log_of(out, "val_accuracy")) == 4
    assert log_of(out, "train_loss")[-1] < log_of(out, "train_loss")[0]
    rates = log_of(out, "lr-AdamW/pg1")
    assert max(rates) == pytest.approx(0.01)
    assert rates[0] < max(rates) > rates[-1]


def test_the_progress_bar_shows_accuracy_and_firing_rate(
    trained: Any, train: Train, tmp_path: Path, capsys: Any
) -> None:
    train(tmp_path, "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "true")
    shown = re.sub(r"\s", "", capsys.readouterr().out)
    for name in ("val_accuracy", "val_firing_rate", "train_firing_rate", "train_loss"):
        assert name in shown


def test_network_file_says_what_it_is(trained: Any) -> None:
    """Weights of the best checkpoint, their averages; loaded without the configuration that trained them."""
    _, result = trained
    with safe_open(result["files"]["network"], "pt") as file:
        described = json.loads(file.metadata()[CHECKPOINT_KEY])
    assert described["network"] == "digits_cnn"
    assert described["neuron"]["class_path"] == "spikejelly_pack.neuron.SpikePackNode"
    split = digits()
    with torch.no_grad():
        logits = [load_network(result["files"][name])(split.test_inputs) for name in ("network", "best")]
    assert torch.equal(*logits)
    accuracy = float((logits[0].argmax(1) == split.test_classes).float().mean())
    assert accuracy == pytest.approx(result["metrics"]["test_accuracy"], abs=1e-6)


def test_averaged_weights(trained: Any) -> None:
    """The checkpoint's network is the moving average; the weights being trained stand beside it."""
    _, result = trained
    content = read_checkpoint(result["files"]["last"])
    averaged, current = content["state_dict"], content["current_model_state"]
    assert averaged.keys() == current.keys()
    name = "network.body.1.conv.weight"
    assert not torch.equal(averaged[name], current[name])
    assert float((averaged[name] - current[name]).norm()) < float(current[name].norm())


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_a_resumed_run_continues_bit_for_bit(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: str, log_of: Any
) -> None:
    """Weights, averages, optimizer, schedule, shifts: equal to a run that nothing interrupted."""
    options = ["--ema", ema, "--trainer.max_epochs", "3"]
    straight = train(tmp_path / "straight", *options)
    start = DirectTraining.on_train_epoch_start

    def stop(self: DirectTraining) -> None:
        if self.current_epoch == 2:
            raise Interrupted
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(DirectTraining, "on_train_epoch_start", stop)
        with pytest.raises(Interrupted):
            train(tmp_path / "parts", *options)
    torch.manual_seed(99)  # nothing may hang on the state of the process
    last = str(tmp_path / "parts" / "checkpoints" / "last.ckpt")
    resumed = train(tmp_path / "parts", *options, "--resume", last)
    one, two = (read_checkpoint(result["files"]["last"]) for result in (straight, resumed))
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert equal(one[key], two[key]), key
    assert equal(one.get("current_model_state"), two.get("current_model_state"))
    assert straight["metrics"] == resumed["metrics"]
    assert len(log_of(tmp_path / "parts", "train_loss")) == 12
    assert log_of(tmp_path / "parts", "train_loss") == log_of(tmp_path / "straight", "train_loss")


def test_seeds_decide(train: Train, tmp_path: Path) -> None:
    options = ("--trainer.max_epochs", "1")
    runs = [
        train(tmp_path / name, *options, *more)
        for name, more in (
            ("a", ()),
            ("b", ()),
            ("c", ("--data.init_args.seed", "5")),
            ("d", ("--seed_everything", "5")),
        )
    ]
    losses = [run["metrics"]["test_loss"] for run in runs]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_accumulated_gradients_are_those_of_the_larger_batch(
    train: Train, tmp_path: Path, log_of: Any, tolerance: Any
) -> None:
    """Without BatchNorm, in float64: two batches of 150 per step or one of 300 give the same weights.

    The two ways add the same terms in another order, 300 per gradient: ``between(300)``. AdamW divides
    a gradient by its own size, so an error can grow by the ratio of the largest to the smallest gradient. The
    bound leaves 1e4 for that; single precision, or a loss that is not a mean, is beyond it.
    """
    same = (
        "--trainer.precision",
        "64-true",
        "--model.network_args.norm",
        "false",
        "--data.init_args.augment",
        "false",
    )
    whole = train(tmp_path / "whole", *same, "--data.init_args.batch_size", "300")
    parts = train(
        tmp_path / "parts",
        *same,
        "--data.init_args.batch_size",
        "150",
        "--trainer.accumulate_grad_batches",
        "2",
    )
    bound = 1e4 * tolerance("float64").between(300)
    assert bound < 1e-9
    assert parts["metrics"]["test_loss"] == pytest.approx(whole["metrics"]["test_loss"], abs=bound)
    assert log_of(tmp_path / "whole", "train_loss")[0] != pytest.approx(
        whole["metrics"]["test_loss"], abs=1e-3
    )


def test_early_stopping(train: Train, tmp_path: Path) -> None:
    result = train(
        tmp_path, "--patience", "2", "--trainer.max_epochs", "50", "--model.learning_rate", "1e-12",
        "--model.network_args.norm", "false",
    )  # fmt: skip
    assert result["epochs"] == 3


def test_torch_compile_changes_neither_names_nor_values() -> None:
    plain, compiled = (_seeded(network_args={"width": 2}, compile=backend) for backend in (None, "eager"))
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(plain(x), compiled(x))
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    assert compiled.network._compiled_call_impl is not None
    assert plain.network._compiled_call_impl is None


def _seeded(**options: Any) -> DirectTraining:
    torch.manual_seed(0)
    return DirectTraining(**options)


def test_mixed_precision(train: Train, tmp_path: Path) -> None:
    """The weights stay in single precision."""
    result = train(tmp_path, "--trainer.precision", "bf16-mixed")
    assert np.isfinite(result["metrics"]["test_loss"])
    state = load_network(result["files"]["network"]).state_dict()
    assert "body.1.conv.weight" in state
    assert all(value.dtype in (torch.float32, torch.int64) for value in state.values())


def test_fast_dev_run_writes_nothing(train: Train, tmp_path: Path) -> None:
    result = train(tmp_path / "out", "--fast-dev-run")
    assert "files" not in result
    assert not list(tmp_path.rglob("*.ckpt"))


TEACHER = """
import torch
from torch import nn

def build():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_distillation_by_hand(tmp_path: Path) -> None:
    """Loss = (1 - a) cross entropy + a t^2 KL(teacher || student), softened by t (Hinton et al., 2015)."""
    (tmp_path / "teacher.py").write_text(TEACHER)
    module = DirectTraining(
        network_args={"width": 2}, teacher=f"{tmp_path}/teacher.py:build", distillation=0.3, temperature=2.5,
        label_smoothing=0.0,
    )  # fmt: skip
    assert not any("teacher" in name for name in module.state_dict())
    assert not any(parameter.requires_grad for parameter in module.teacher[0].parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, 1, 8, 8, generator=generator)
    logits = torch.randn(5, 10, generator=generator)
    classes = torch.tensor([1, 0, 9, 3, 3])
    found = module.loss(x, logits, classes)
    student, teacher = (value.double().numpy() for value in (logits, module.teacher[0](x)))

    def softened(values: np.ndarray, temperature: float) -> np.ndarray:
        powers = np.exp(values / temperature)
        return powers / powers.sum(1, keepdims=True)

    p, q = softened(teacher, 2.5), softened(student, 2.5)
    divergence = (p * np.log(p / q)).sum(1).mean()
    entropy = -np.log(softened(student, 1.0)[range(5), classes]).mean()
    assert float(found) == pytest.approx(0.7 * entropy + 0.3 * 2.5**2 * divergence, rel=1e-5)


def test_distillation_runs_from_an_ann_and_from_a_trained_file(
    trained: Any, train: Train, tmp_path: Path
) -> None:
    (tmp_path / "teacher.py").write_text(TEACHER)
    one = train(
        tmp_path / "ann", "--model.teacher", f"{tmp_path}/teacher.py:build", "--trainer.max_epochs", "1"
    )
    two = train(
        tmp_path / "snn", "--model.teacher", trained[1]["files"]["network"], "--trainer.max_epochs", "1"
    )
    assert one["metrics"]["test_loss"] != two["metrics"]["test_loss"]


def test_teacher_with_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from spikejelly_pack.spec.errors import ParameterError
    from spikejelly_pack.train.teacher import load_teacher

    (tmp_path / "teacher.py").write_text(TEACHER)
    state = {"1.weight": torch.full((10, 64), 0.5), "1.bias": torch.zeros(10)}
    save_file(state, tmp_path / "w.safetensors")
    net = load_teacher(f"{tmp_path}/teacher.py:build", str(tmp_path / "w.safetensors"))
    assert isinstance(net, nn.Sequential)
    assert torch.equal(net(torch.ones(1, 1, 8, 8)), torch.full((1, 10), 32.0))
    save_file({"other": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ParameterError, match="must be the teacher's state dict"):
        load_teacher(f"{tmp_path}/teacher.py:build", str(tmp_path / "x.safetensors"))
