"""Small networks of every kind, and an oracle: the plain ANN with numpy quantizers put into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from spikingjelly.activation_based import ann2snn
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spikejelly_pack.recipes import SpikePackRecipe

RELU_CALLS = {
    F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.hardtanh, F.relu6,
}  # fmt: skip


#: Synapses that read a value which no rectifier made, by the name of that value.
READERS = {"avgpool": ("c", "d"), "add": ("e",)}


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(2 * 8 * 8, 12),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(12, 5),
        )


class Residual(nn.Module):
    """One ReLU module called three times, in place; a skip connection; pooling folded into the head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv3 = nn.Conv2d(6, 4, 3, stride=2)
        self.relu, self.pool, self.fc = nn.ReLU(inplace=True), nn.AvgPool2d(3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)) + x)
        x = self.relu(self.conv3(x))
        return self.fc(self.pool(x).view(x.size(0), -1))


class Functional(nn.Module):
    """Everything as functions: relu, concat, mean, dropout, reshape."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1)
        self.b = nn.Conv2d(2, 4, 3, padding=1)
        self.c = nn.Conv2d(8, 14, 3, padding=1, groups=2)
        self.fc = nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([F.relu(self.a(x)), torch.relu(self.b(x))], dim=1)
        x = self.c(F.dropout(x, 0.3, training=self.training)).relu_()
        return self.fc(x.mean((2, 3)))


class PooledConv(nn.Module):
    """Max-pooling before its rectifier and of spikes; a convolution that reads averages and one a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.maxpool, self.relu = nn.MaxPool2d(3, 2, 1), nn.ReLU()
        self.avgpool = nn.AvgPool2d((1, 3))  # odd: no average lies on a tie of equal thresholds
        self.c, self.d = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, bias=False)
        self.e, self.fc = nn.Conv2d(4, 2, 1), nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.maxpool(self.a(x)))
        x = F.max_pool2d(F.relu(self.b(x)), 2, 1)
        x = self.avgpool(x)
        x = self.c(x) + self.d(x)
        x = torch.cat([self.e(x), x], dim=1)
        return self.fc(torch.flatten(x, 1))


class Decoder(nn.Module):
    """Transposed and depthwise convolutions, upsampling, a module called twice, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 4, 2, stride=2)
        self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
        self.norm, self.act = nn.BatchNorm2d(6), nn.ReLU6()
        self.scale, self.head = nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.act(self.down(x))
        x = self.act(self.deep(self.act(self.deep(x))))
        return self.act(self.norm(self.up(x))), self.head(self.scale(x))


MODELS: dict[str, type[nn.Module]] = {
    "mlp": Mlp,
    "residual": Residual,
    "functional": Functional,
    "pooled": PooledConv,
    "decoder": Decoder,
}


def build(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(len(name))
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model.to(dtype).eval()


def quantize(x: np.ndarray, theta: np.ndarray, time_steps: int, signed: bool) -> np.ndarray:
    """Nearest multiple of theta / (2^T - 1) in [0, theta] (signed: [-theta, theta])."""
    top = 2**time_steps - 1
    shaped = theta.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2)) if theta.size > 1 else float(theta)
    code = np.minimum(np.floor(np.abs(x) / (shaped / top) + 0.5), top) * np.sign(x)
    return (code if signed else np.maximum(code, 0)) * shaped / top


class _Quantizing(TorchFunctionMode):
    """Quantize what the calls that nodes stand for return, in the order of the report."""

    def __init__(self, snn: nn.Module, entries: list[Any]) -> None:
        super().__init__()
        self.snn = snn
        self.waiting = {
            "flatten": [e for e in entries if e.stands_for.startswith("flatten")],
            "relu": [e for e in entries if not e.stands_for.startswith("flatten")],
        }

    def coded(self, x: Tensor, entry: Any) -> Tensor:
        theta = self.snn.get_submodule(entry.path).theta.numpy()
        return torch.from_numpy(quantize(x.numpy(), theta, entry.time_steps, entry.signed))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        calls = {"relu": RELU_CALLS, "flatten": {torch.flatten}}
        for kind, queue in self.waiting.items():
            if func in calls[kind] and queue:
                return self.coded(result, queue.pop(0))
        return result


def run_oracle(ann: nn.Module, snn: Any, x: Tensor) -> Any:
    """The ANN, with numpy quantizers where the report says that nodes stand."""
    encoder, *entries = snn.report.layers
    inserted = [e for e in entries if e.stands_for in READERS]
    mode = _Quantizing(snn, [e for e in entries if e not in inserted])
    hooks = [
        ann.get_submodule(reader).register_forward_pre_hook(lambda _module, x, e=e: mode.coded(x[0], e))
        for e in inserted
        for reader in READERS[e.stands_for]
    ]
    with torch.no_grad(), mode:
        result = ann(mode.coded(x, encoder))
    for hook in hooks:
        hook.remove()
    assert not any(mode.waiting.values())
    return result


def convert(model: nn.Module, *batches: Tensor, **options: Any) -> Any:
    recipe = SpikePackRecipe(list(batches), progress=False, **options)
    return ann2snn.Converter(recipe).convert(model)


@pytest.fixture(scope="session")
def oracle() -> Callable[..., Any]:
    return run_oracle


@pytest.fixture(scope="session", name="convert")
def convert_fixture() -> Callable[..., Any]:
    """``convert(model, *batches, time_steps=..)`` through SpikingJelly's converter."""
    return convert


@pytest.fixture(scope="session")
def make() -> Callable[..., nn.Module]:
    """``make(name, dtype)``: a network of the zoo with random weights and statistics."""
    return build


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Calibration and test images ``[24, 2, 8, 8]`` in [-1, 1], float64."""
    return torch.rand(24, 2, 8, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * 2 - 1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``name`` runs over the zoo."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", list(MODELS))


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Scanned digits of scikit-learn: training images, test images and test labels."""
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 16
    return images[:1200], images[1200:], torch.from_numpy(data.target)[1200:]


@pytest.fixture(scope="session")
def digits_net(digits: tuple[Tensor, Tensor, Tensor]) -> nn.Module:
    """A convolutional network trained for a few seconds."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip
    labels = torch.from_numpy(load_digits().target)[:1200]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(8):
        for index in torch.randperm(1200).split(60):
            loss = F.cross_entropy(net(digits[0][index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()
