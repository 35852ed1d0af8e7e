"""The demo's data and network: scikit-learn's scanned digits, a small residual CNN in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ...data import Split as Digits
from ...data import digits as load

__all__ = ["Digits", "ResidualNet", "load", "predictions", "train"]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)))


class ResidualNet(nn.Module):
    """Four convolutions with BatchNorm and ReLU, one skip connection, average pooling, a linear head."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = _Block(1, width)
        self.first = _Block(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(2)
        self.last = _Block(width, 2 * width)
        self.average = nn.AvgPool2d(4)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 1, 8, 8]`` to logits ``[N, 10]``."""
        x = self.stem(x)
        x = self.relu(self.norm(self.second(self.first(x))) + x)
        x = self.last(self.pool(x))
        return self.head(torch.flatten(self.average(x), 1))


def train(data: Digits, seed: int, epochs: int, batch: int = 64) -> ResidualNet:
    """Train a network; shifts by one pixel augment all but the last three epochs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ResidualNet()
    chance = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=8e-3, weight_decay=5e-2)
    rounds = len(data.train_inputs) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, epochs * rounds)
    with tqdm(range(epochs), desc="training", unit="epoch", disable=None, leave=False) as bar:
        for epoch in bar:
            loss = torch.zeros(())
            order = torch.randperm(len(data.train_inputs), generator=chance)
            for indices in order[: rounds * batch].view(rounds, batch):
                images = data.train_inputs[indices]
                if epoch < epochs - 3:
                    shift = torch.randint(-1, 2, (2,), generator=chance).tolist()
                    images = images.roll(shift, (2, 3))
                loss = F.cross_entropy(net(images), data.train_classes[indices], label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return net.eval()


def predictions(net: nn.Module, images: Tensor) -> Tensor:
    """Logits without gradients."""
    with torch.no_grad():
        return net(images)
