"""``spikepack train`` behind its command line: configuration, run, best checkpoint, what it found."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from ..spec.atomic import DISK_FULL, check_writable, write_text
from ..spec.errors import OutputError, ParameterError, RunError, SpikePackError
from ..spec.reason import reason
from .averaging import WarmAverage
from .best import BestCheckpoint
from .files import AtomicCheckpoints
from .loop import materialize
from .module import DirectTraining
from .parsing import named, one_sentence
from .processes import first_to_report, leaving_its_group, lost_process, watch_with
from .saved import load_network, load_weights, network_state, read_checkpoint, save_network
from .sources import SplitData
from .thresholds import SAMPLES, fit_thresholds

__all__ = ["TrainCLI", "read", "train"]


class TrainCLI(LightningCLI):
    """LightningCLI with the options of a run: where it writes, EMA, early stopping, resumption."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--out", type=str, default="runs/train", help="folder of checkpoints and logs")
        parser.add_argument("--resume", type=str | None, default=None, help="checkpoint to continue from")
        parser.add_argument(
            "--ema", type=float | None, default=None, help="decay of the weights' moving average, e.g. 0.99"
        )
        parser.add_argument(
            "--patience",
            type=int | None,
            default=None,
            help="epochs without a better accuracy before stopping",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = read(parser, args)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        options = self.config
        if not hasattr(self.config["trainer"], "get"):  # an empty section, or a list
            raise ParameterError(
                f"train: trainer must hold settings by name, got {self.config['trainer']!r}; leave it out "
                "for the defaults."
            )
        if self.config["trainer"].get("sync_batchnorm"):
            raise ParameterError(
                "train: trainer.sync_batchnorm must be false, got true; torch's conversion does not know "
                "SpikingJelly's multi-step layers."
            )
        out = Path(options["out"])
        given = self.config_init["trainer"].get("callbacks") or []
        own = _callbacks(out, options["ema"], options["patience"])
        if self.config["trainer"].get("fast_dev_run"):
            own = []  # a smoke test leaves no files
        kwargs["callbacks"] = [*given, *own]
        kwargs["plugins"] = [AtomicCheckpoints()]
        if self.config["trainer"].get("logger") in (None, True):
            kwargs["logger"] = [TensorBoardLogger(out, "tensorboard"), CSVLogger(out, "csv")]
        return super().instantiate_trainer(**kwargs)


def _callbacks(out: Path, ema: float | None, patience: int | None) -> list[Any]:
    if ema is not None and not 0 <= ema < 1:
        raise ParameterError(f"--ema must be in 0..1 (1 excluded), got {ema}; 0.99 is usual.")
    if patience is not None and patience < 1:
        raise ParameterError(
            f"--patience must be at least 1 epoch, got {patience}; raise it or leave it out."
        )
    folder = out / "checkpoints"
    best = BestCheckpoint(folder)
    # Lightning's own save_last follows the best one only; resuming needs the end of every epoch.
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    found: list[Any] = [LearningRateMonitor("step")]
    if ema is not None:
        found.append(WarmAverage(ema))
    if patience is not None:
        found.append(EarlyStopping(BestCheckpoint.MONITORED, patience=patience, mode="max"))
    return [*found, best, last]


def train(arguments: Sequence[str]) -> dict[str, Any]:
    """Train as the arguments say; returns accuracies, the files written and the network's description.

    Raises:
        SpikePackError: Bad input, missing data, a lost process, a full disk.
    """
    cli = _parse(list(arguments))
    model, data, out = cli.model, cli.datamodule, Path(cli.config["out"])
    resume = cli.config["resume"]
    check_writable(out / "checkpoints" / "best.ckpt")
    data.setup("fit")
    materialize(model.network, data.example())
    fit_thresholds(model.network, data.examples(SAMPLES))
    if resume:
        _check_resume(model, resume)
    last = out / "checkpoints" / "last.ckpt"
    watch_with(lambda rank, code: _lost(f"process {rank} of the run ended with code {code}", last))
    if cli.trainer.is_global_zero and not cli.config["trainer"].get("fast_dev_run"):
        write_text(out / "config.yaml", cli.parser.dump(cli.config, skip_none=False))
    with _quiet(), leaving_its_group():
        _fit(cli, resume, last)
        return _finish(cli, out)


def read(parser: LightningArgumentParser, arguments: list[str]) -> Any:
    """The settings that arguments and the files they name make, checked; no network is made.

    Raises:
        SpikePackError: A file is no configuration, or a setting is unknown or of another kind.
    """
    with one_sentence():
        return parser.parse_args(named(arguments))


def _parse(arguments: list[str]) -> TrainCLI:
    with _quiet(), one_sentence():
        return TrainCLI(
            DirectTraining,
            SplitData,
            subclass_mode_data=True,
            run=False,
            args=arguments,
            seed_everything_default=0,
            save_config_callback=None,
            parser_kwargs={"exit_on_error": False, "prog": "spikepack train"},
            trainer_defaults={"deterministic": "warn", "enable_model_summary": False},
            auto_configure_optimizers=False,
        )


def _check_resume(model: DirectTraining, path: str) -> None:
    """Refuse a checkpoint of another network before anything starts."""
    kept = network_state(read_checkpoint(path))
    own = {name: value.clone() for name, value in model.network.state_dict().items()}
    load_weights(model.network, kept, path)
    model.network.load_state_dict(own)


def _fit(cli: TrainCLI, resume: str | None, last: Path) -> None:
    trainer = cli.trainer
    try:
        with _restoring(trainer, resume):
            trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=resume, weights_only=True)
    except SpikePackError:
        raise
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise OutputError(
            f"{cli.config['out']}: the disk must hold the logs, got {error.strerror}; checkpoints are "
            f"kept; free some space and go on with --resume {last}, or choose another --out."
        ) from None
    except RuntimeError as error:
        if trainer.world_size == 1 or not re.search(
            r"(?i)gloo|nccl|connection|peer|socket|timeout", str(error)
        ):
            raise
        processes = getattr(trainer.strategy.launcher, "procs", [])
        if not first_to_report():
            threading.Event().wait()  # the observer ends this process
        found = lost_process(processes, patience=5.0) if processes else None
        who = f"process {found[0]} of the run ended with code {found[1]}" if found else "a process was lost"
        for process in processes:
            process.kill()
        raise RunError(_lost(who, last)) from None
    if trainer.interrupted:
        raise KeyboardInterrupt


class _Begun(pl.Callback):
    """Whether training, or the check of the validation part before it, has begun."""

    begun = False

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begun = True

    on_train_start = on_sanity_check_start


@contextlib.contextmanager
def _restoring(trainer: Any, resume: str | None) -> Generator[None]:
    """Tell in one sentence what Lightning cannot restore of a checkpoint: optimizer, schedule, progress."""
    watch = _Begun()
    if resume:
        trainer.callbacks.append(watch)
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, SpikePackError) or not resume or watch.begun:
            raise
        raise ParameterError(
            f"{resume}: the checkpoint must continue this run, got {type(error).__name__}: {reason(error)}; "
            "use an earlier one, or train with the configuration it is from."
        ) from None


def _lost(who: str, last: Path) -> str:
    if last.is_file():
        return f"train: {who} and training stopped; go on with --resume {last}."
    return f"train: {who} and training stopped before its first checkpoint; start again."


def _finish(cli: TrainCLI, out: Path) -> dict[str, Any]:
    """Write the best network as safetensors and measure it on the test part."""
    trainer: Any = cli.trainer
    model: Any = cli.model
    result: dict[str, Any] = {"network": model.network.config, "epochs": trainer.current_epoch}
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    checkpoint: Any = trainer.checkpoint_callback
    best = checkpoint.best_model_path if checkpoint is not None else ""
    if trainer.fast_dev_run or not best:
        return {**result, "metrics": found}
    net = load_network(best)
    model.network.load_state_dict(net.state_dict())
    (tested,) = trainer.test(model, datamodule=cli.datamodule, verbose=False)
    if trainer.is_global_zero:
        save_network(net, out / "network.safetensors")
    return {
        **result,
        "metrics": found | {name: float(value) for name, value in tested.items()},
        "files": {
            "best": best,
            "last": str(out / "checkpoints" / "last.ckpt"),
            "network": str(out / "network.safetensors"),
            "config": str(out / "config.yaml"),
        },
    }


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Leave out Lightning's hints; its warnings about the run itself stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*args parameter is intended to run.*")
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
            warnings.filterwarnings("ignore", ".*log_every_n_steps.*|.*`isinstance.treespec.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
