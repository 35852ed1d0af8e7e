"""From a PyTorch network of your own to spikes in Intel Lava, in one short script.

Run it after ``pip install .``, with a Python 3.10 environment for Lava beside it, which
``tox run -e lava --notest`` makes::

    python examples/convert_and_simulate.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from spikingjelly.activation_based import ann2snn
from torch import nn

import lava_bridge
from spikejelly_pack import SpikePackRecipe, export


def train(images: torch.Tensor, classes: torch.Tensor) -> nn.Module:
    """Any trained network of convolutions, BatchNorm, ReLU, average pooling and linear layers will do."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), classes).backward()
        optimizer.step()
    return net.eval()


def main() -> None:
    """Train, convert, export, simulate, compare."""
    pixels, targets = load_digits(return_X_y=True)
    images = torch.as_tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    classes = torch.as_tensor(targets)
    ann = train(images[:1400], classes[:1400])

    recipe = SpikePackRecipe([images[:512]], time_steps=4)
    snn = ann2snn.Converter(recipe).convert(ann)
    print(snn.report)

    export(snn, "digits.spk", images[:16])
    result = lava_bridge.simulate("digits.spk", images[1400:1464].numpy())
    logits = torch.from_numpy(result.outputs["output"])
    right = (logits.argmax(1) == classes[1400:1464]).float().mean()
    milliseconds = 1e3 * result.seconds_per_sample
    print(f"Lava: {right:.1%} of {result.samples} images right, {milliseconds:.1f} ms each")


if __name__ == "__main__":
    main()
