"""What the first pass makes of functions, shared and tied modules, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from spikejelly_pack.recipes.batchnorm import fold_batchnorm
from spikejelly_pack.recipes.canonical import canonicalize
from spikejelly_pack.recipes.pooling import rectify_before_pooling
from spikejelly_pack.spec.errors import UnsupportedError


class Wrapped(nn.Module):
    """A network whose forward is a function of itself and the input."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def same_function(net: nn.Module, x: Tensor, tolerance: Any) -> fx.GraphModule:
    """Canonical form of ``net``, after checking that it computes the same."""
    net = net.double().eval()
    with torch.no_grad():
        expected = net(x.clone())
        model = canonicalize(fx.symbolic_trace(net))
        fold_batchnorm(model)
        rectify_before_pooling(model, (nn.ReLU, nn.ReLU6))
        got = model(x.clone())
    bound = tolerance(torch.float64).between(200, float(expected.abs().max()) * 10)
    assert float((got - expected).abs().max()) <= bound
    return model


def conv(groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1, groups=groups)


def overwrites_its_input(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    y = net.act(x)  # in place: x is rectified too
    return net.b(y) + x


NETS: dict[str, Callable[[], nn.Module]] = {
    "in-place rectifier": lambda: Wrapped(
        overwrites_its_input, a=conv(), b=conv(), act=nn.ReLU(inplace=True)
    ),
    "in-place function": lambda: Wrapped(
        lambda n, x: (y := n.a(x), F.relu(y, inplace=True) + y)[1], a=conv()
    ),
    "in-place method": lambda: Wrapped(lambda n, x: (y := n.a(x), n.b(y.relu_()) + y)[1], a=conv(), b=conv()),
    "module called twice": lambda: Wrapped(lambda n, x: n.a(torch.relu(n.a(x))), a=conv()),
    "name of a function": lambda: Wrapped(lambda n, x: n.relu(n.a(F.relu(x) + x)), a=conv(), relu=nn.ReLU6()),
    "input by keyword": lambda: Wrapped(lambda n, x: n.act(n.a(input=x)), a=conv(), act=nn.ReLU()),
    "pool before rectifier": lambda: Wrapped(
        lambda n, x: F.relu(F.max_pool2d(n.a(x), 3, 2, 1, ceil_mode=True)), a=conv()
    ),
    "reshape to features": lambda: Wrapped(lambda n, x: n.a(x).reshape(-1, 4 * 36), a=conv()),
    "view by shape": lambda: Wrapped(lambda n, x: n.a(x).view(x.shape[0], -1), a=conv()),
    "mean": lambda: Wrapped(lambda n, x: n.a(x).mean([-1, -2], keepdim=True), a=conv()),
    "grouped batchnorm": lambda: nn.Sequential(conv(2), norm()),
    "batchnorm without weights": lambda: nn.Sequential(conv(), norm(affine=False), nn.ReLU6(inplace=True)),
    "transposed batchnorm": lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 3, groups=2, bias=False), norm()),
    "shared convolution, own batchnorms": lambda: Wrapped(
        lambda n, x: n.n1(n.a(x)) + n.n2(n.a(x)), a=conv(), n1=norm(), n2=norm()
    ),
}


def norm(affine: bool = True) -> nn.BatchNorm2d:
    module = nn.BatchNorm2d(4, affine=affine)
    nn.init.normal_(module.running_mean)
    nn.init.uniform_(module.running_var, 0.5, 2.0)
    if affine:
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    return module


@pytest.mark.parametrize("net", NETS)
def test_canonical_form_computes_the_same(net: str, tolerance: Any) -> None:
    torch.manual_seed(len(net))
    model = same_function(NETS[net](), torch.randn(3, 4, 6, 6, dtype=torch.float64), tolerance)
    assert {node.op for node in model.graph.nodes} <= {
        "placeholder",
        "call_module",
        "call_function",
        "output",
    }
    targets = [node.target for node in model.graph.nodes if node.op == "call_module"]
    assert len(targets) == len(set(targets))


def test_tied_weights_part_when_amplitudes_differ(convert: Any, images: Tensor) -> None:
    """Two layers share one parameter; each absorbs the threshold in front of it."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
    second.weight = first.weight
    ann = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)).double()
    with torch.no_grad():
        expected, got = ann(images), convert(ann, images, time_steps=12, calibrator="max")(images)
    assert float((got - expected).norm() / expected.norm()) < 0.01


REFUSED: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: nn.Sequential(conv(), nn.GELU()), "layer '1': GELU has no conversion rule"),
    (lambda: Wrapped(lambda n, x: n.a(x) * 2, a=conv()), r"operation 'mul' \(mul\) has no conversion rule"),
    (lambda: Wrapped(lambda n, x: n.a(x)[:, 0], a=conv()),
     r"operation 'getitem' \(getitem\) has no conversion"),
    (lambda: Wrapped(lambda n, x: n.a(x) + 1.0, a=conv()), "only the plain sum of two tensors"),
    (lambda: Wrapped(lambda _n, x: torch.add(x, x, alpha=2)), "only the plain sum of two tensors"),
    (lambda: Wrapped(lambda _n, x: torch.cat([x, x], 2)), "along the channels, got dim=2"),
    (lambda: Wrapped(lambda _n, x: x.mean(1)),
     "only the mean over height and width has a conversion rule, got dim=1"),
    (lambda: Wrapped(lambda _n, x: torch.flatten(x)), "got start_dim=0"),
    (lambda: Wrapped(lambda _n, x: x.view(x.size(1), -1)), r"only x.view\(x.size\(0\), -1\)"),
    (lambda: Wrapped(lambda _n, x: F.dropout(x)), "training must be False in evaluation, got True"),
    (lambda: nn.Sequential(nn.Flatten(2)), "layer '0': Flatten must keep the batch axis and nothing else"),
    (lambda: nn.Sequential(nn.utils.weight_norm(conv())), "layer '0': weight must be a parameter"),
    (lambda: Wrapped(lambda n, x: x + n.a.weight, a=conv()),
     "layer 'a.weight': a tensor used outside a layer"),
    (lambda: nn.Sequential(conv(), nn.ReLU(), norm()), "layer '2': BatchNorm must directly follow"),
    (lambda: nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False)),
     "layer '1': .*running statistics"),
    (lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(4)),
     "must normalise the 5 outputs of the layer before"),
    (lambda: nn.Sequential(conv(), nn.MaxPool3d(2)), "layer '1': MaxPool3d has no exact form on spikes"),
    (lambda: nn.Sequential(conv(), nn.MaxPool2d(2, return_indices=True)),
     "layer '1': .*must not return indices"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(("net", "message"), REFUSED, ids=[message[:50] for _, message in REFUSED])
def test_refusals_name_the_place(net: Callable[[], nn.Module], message: str) -> None:
    model = fx.symbolic_trace(net().eval())
    with pytest.raises(UnsupportedError, match=message):
        rectify_before_pooling(_folded(model), (nn.ReLU,))


def _folded(model: fx.GraphModule) -> fx.GraphModule:
    fold_batchnorm(canonicalize(model))
    return model
