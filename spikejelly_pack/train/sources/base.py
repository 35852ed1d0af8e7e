"""What all data modules share: loaders whose order depends on (seed, epoch) alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sized
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from ...spec.errors import ParameterError
from ..seeds import derived_seed

__all__ = ["SplitData", "hold_out", "missing"]


class _EpochSampler(DistributedSampler[Any]):
    """A distributed sampler that also seeds the loader's workers from (seed, epoch)."""

    generator: torch.Generator

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.generator.manual_seed(derived_seed(self.seed, epoch, self.rank))


class SplitData(LightningDataModule):
    """A training, a validation and a test part.

    Process r of R reads every R-th sample of one permutation, so that R processes with batch B see what one
    process with batch R * B sees. Samples that fill no batch are left out of an epoch.

    Args:
        batch_size: Samples per step and process.
        workers: Loading processes; 0 loads in the training process.
        seed: Order of the samples, random changes of them, split of the validation part.
    """

    def __init__(self, batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        for name, value, low in (("batch_size", batch_size, 1), ("workers", workers, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ParameterError(
                    f"data: {name} must be an integer >= {low}, got {value!r}; change "
                    f"--data.init_args.{name}."
                )
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.parts: dict[str, Dataset[Any]] = {}

    @abstractmethod
    def load(self) -> dict[str, Dataset[Any]]:
        """The parts ``"train"``, ``"val"`` and ``"test"``.

        Raises:
            ParameterError: Data are missing; the message holds the command that gets them.
        """

    def setup(self, stage: str = "fit") -> None:
        if not self.parts:
            self.parts = self.load()
        samples = len(cast(Sized, self.parts["train"]))
        if samples < self.batch_size * self._world[0]:
            raise ParameterError(
                f"data: batch_size must be at most the {samples} training samples divided by the "
                f"{self._world[0]} processes, got {self.batch_size}; lower --data.init_args.batch_size."
            )

    def example(self) -> Tensor:
        """One training input with its batch axis."""
        return self.parts["train"][0][0].unsqueeze(0)

    def examples(self, count: int) -> Tensor:
        """At most ``count`` training inputs, evenly spread, the same in every process: ``[N, *]``."""
        part = self.parts["train"]
        total = len(cast(Sized, part))
        chosen = range(0, total, max(1, total // count))[:count]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, 0, 0))
            return torch.stack([part[index][0] for index in chosen])

    @property
    def _world(self) -> tuple[int, int]:
        trainer: Any = self.trainer
        return (trainer.world_size, trainer.global_rank) if trainer is not None else (1, 0)

    def train_dataloader(self) -> DataLoader[Any]:
        world, rank = self._world
        part = self.parts["train"]
        sampler = _EpochSampler(part, world, rank, shuffle=True, seed=self.seed, drop_last=True)
        sampler.generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            part,
            self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            drop_last=True,
            generator=sampler.generator,
            persistent_workers=False,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return self._whole("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._whole("test")

    def _whole(self, part: str) -> DataLoader[Any]:
        world, rank = self._world
        sampler = DistributedSampler(self.parts[part], world, rank, shuffle=False) if world > 1 else None
        return DataLoader(
            self.parts[part],
            self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(self.seed),
        )


def hold_out(part: Dataset[Any], share: float, seed: int) -> tuple[Dataset[Any], Dataset[Any]]:
    """Split a random ``share`` off; the same samples for the same seed.

    Raises:
        ParameterError: The share leaves one side empty.
    """
    samples = len(cast(Sized, part))
    held = round(share * samples)
    if not 0 < held < samples:
        raise ParameterError(
            f"data: validation must leave samples on both sides of {samples}, got a share of {share}; choose "
            "0.1, for example."
        )
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed)).tolist()
    return Subset(part, order[held:]), Subset(part, order[:held])


def missing(what: str, folder: str | Path, command: str, reason: str = "nothing there") -> ParameterError:
    """Data that are not there, with the command that gets them."""
    return ParameterError(f"{folder}: must hold {what}, got {reason}; get it by: {command}")
