"""SpikingJelly's builders at their smallest, with SpikePackNode in every place."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer
from torch import nn

from spikejelly_pack import SpikePackNode

T = 4


@dataclass(frozen=True)
class Builder:
    """One way to build a network from a module of ``spikingjelly.activation_based.model``."""

    name: str
    module: str
    function: str
    size: int = 32
    channels: int = 3
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def repeats(self) -> bool:
        """Whether the network repeats its image T times by itself."""
        return "T" in self.arguments

    def build(self, **neuron: Any) -> nn.Module:
        """Build it in multi-step mode."""
        home = importlib.import_module(f"spikingjelly.activation_based.model.{self.module}")
        neuron = {"time_steps": T, **neuron}
        arguments = {**self.arguments, **({"T": neuron["time_steps"]} if self.repeats else {})}
        net = getattr(home, self.function)(spiking_neuron=SpikePackNode, **arguments, **neuron)
        if self.module == "spiking_vgg":
            _shrink_classifier(net)
        functional.set_step_mode(net, "m")
        return net

    def image(
        self, generator: torch.Generator, dtype: torch.dtype = torch.float64, batch: int = 2
    ) -> torch.Tensor:
        """Return one window of a few images, as the packed form takes it."""
        image = torch.rand(batch, self.channels, self.size, self.size, dtype=dtype, generator=generator)
        return image if self.repeats else image.unsqueeze(0)

    def serial(self, image: torch.Tensor, time_steps: int = T) -> torch.Tensor:
        """Return the same input as the serial form takes it."""
        return image if self.repeats else image.repeat_interleave(time_steps, 0)


def _shrink_classifier(net: nn.Module) -> None:
    """VGG's classifier is fixed at 4096 features; its weights would be most of this folder's time."""
    for place, size in {0: (512 * 7 * 7, 16), 3: (16, 16), 6: (16, 5)}.items():
        net.classifier[place] = layer.Linear(*size)  # type: ignore[index,operator]


def _of(
    name: str, module: str, function: str, size: int = 32, channels: int = 3, **arguments: Any
) -> Builder:
    return Builder(name, module, function, size, channels, arguments)


_MS = {"T": T, "layers": (1, 1, 1), "base_channels": 8, "num_classes": 5}
_FORMER = {"T": T, "num_classes": 5}
BUILDERS = [
    _of("spiking_resnet18", "spiking_resnet", "spiking_resnet18", num_classes=5),
    _of("sew_resnet18-ADD", "sew_resnet", "sew_resnet18", cnf="ADD", num_classes=5),
    _of("sew_resnet18-AND", "sew_resnet", "sew_resnet18", cnf="AND", num_classes=5),
    _of("sew_resnet18-IAND", "sew_resnet", "sew_resnet18", cnf="IAND", num_classes=5),
    _of("spiking_vgg11_bn", "spiking_vgg", "spiking_vgg11_bn", num_classes=5),
    _of("ms_resnet", "ms_resnet", "MSResNet", stem_pool=True, **_MS),
    _of("max_resnet", "ms_resnet", "MaxResNet", size=16, **_MS),
    Builder("parametric_lif_net", "parametric_lif_net", "CIFAR10Net", 32, 3, {"channels": 8}),
    _of(
        "spikformer",
        "spikformer",
        "Spikformer",
        size=16,
        img_size_h=16,
        img_size_w=16,
        patch_size=4,
        embed_dims=32,
        num_heads=2,
        depths=1,
        **_FORMER,
    ),
    _of(
        "qkformer",
        "qkformer",
        "QKFormer",
        size=16,
        embed_dims=32,
        num_heads=(1, 2, 2),
        depths=(1, 1, 1),
        **_FORMER,
    ),
    _of(
        "spike_driven_transformer",
        "spike_driven_transformer",
        "SpikeDrivenTransformer",
        embed_dims=32,
        num_heads=2,
        depths=1,
        **_FORMER,
    ),
    _of("maxformer", "maxformer", "MaxFormer", embed_dims=64, depths=(1, 1, 1), **_FORMER),
    _of(
        "maxformer-cifar", "maxformer", "MaxFormer", 8, embed_dims=64, depths=(1, 1, 1), cifar=True, **_FORMER
    ),
    Builder(
        "masnn",
        "masnn",
        "MASNN",
        8,
        2,
        {
            "T": T,
            "input_size": (8, 8),
            "channels": (8, 8, 8),
            "fc_hidden": 16,
            "reduction_t": 2,
            "reduction_c": 2,
            "num_classes": 5,
        },
    ),
    _of("att_ms_resnet", "masnn", "AttMSResNet", reduction_c=2, **_MS),
]


@pytest.fixture(params=BUILDERS, ids=lambda builder: builder.name)
def builder(request: pytest.FixtureRequest) -> Builder:
    """Return every builder in turn."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def builder_named() -> Callable[[str], Builder]:
    """Return a builder by its name."""
    return {entry.name: entry for entry in BUILDERS}.__getitem__


@pytest.fixture(scope="session")
def forms() -> ModuleType:
    """Return the helpers of ``tests/forms.py``."""
    path = Path(__file__).parents[1] / "forms.py"
    spec = importlib.util.spec_from_file_location("spikepack_tests_forms", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
