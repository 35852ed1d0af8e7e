"""One quantizer against the node in its place: every code, ties, and what has no node."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.ao.quantization as ao
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import ann2snn
from torch import Tensor, nn

from spikejelly_pack.recipes import LSQActivation, QCFSActivation, SpikePackQuantizedRecipe
from spikejelly_pack.recipes.quantized_site import QuantizerSite
from spikejelly_pack.recipes.quantizers import QUANTIZERS, describe, qcfs_spec, rounding_quantizer
from spikejelly_pack.spec.errors import DtypeError, ParameterError, SpikePackError, UnsupportedError

DTYPES = st.sampled_from([torch.float32, torch.float64])
SCALES = st.floats(2.0**-10, 2.0**10, width=32)


def fake_quantize(scale: float, low: int, high: int, zero: int = 0) -> ao.FakeQuantize:
    made = ao.FakeQuantize(quant_min=low, quant_max=high, dtype=torch.qint32)
    made.disable_observer()
    made.scale, made.zero_point = torch.tensor([scale]), torch.tensor([zero], dtype=torch.int32)
    return made


def per_channel(zeros: list[int], axis: int) -> ao.FakeQuantize:
    made = ao.FakeQuantize(
        quant_min=0, quant_max=15, observer=ao.PerChannelMinMaxObserver, ch_axis=axis,
        qscheme=torch.per_channel_affine,
    )  # fmt: skip
    made.disable_observer()
    made.scale, made.zero_point = torch.ones(2), torch.tensor(zeros, dtype=torch.int32)
    return made


def values(scale: float, top: int, dtype: torch.dtype) -> Tensor:
    """Every code, every middle between codes and their float neighbours, both signs, beyond the ends."""
    halves = torch.arange(-2 * top - 4, 2 * top + 5, dtype=dtype) / 2 * torch.tensor(scale, dtype=dtype)
    above = torch.nextafter(halves, torch.full_like(halves, torch.inf))
    below = torch.nextafter(halves, torch.full_like(halves, -torch.inf))
    return torch.cat([halves, above, below, halves * (1 + 3e-6), halves * (1 - 3e-6)])[None]


def converted(module: nn.Module, x: Tensor, nonnegative: bool = False) -> tuple[Tensor, QuantizerSite]:
    """Output of the node in the place of ``module``, whose site has compared both."""
    site = QuantizerSite("act", module)
    site.spec = describe("act", module, nonnegative, QUANTIZERS)
    site(x)
    charge, node, amplitude = site.build()
    return amplitude(node(charge(x))), site


@given(bits=st.integers(1, 8), threshold=SCALES, dtype=DTYPES)
@torch.no_grad()
def test_qcfs_is_a_node(bits: int, threshold: float, dtype: torch.dtype) -> None:
    """Ties included, bit for bit."""
    module = QCFSActivation(2**bits - 1, threshold).to(dtype)
    x = values(threshold / (2**bits - 1), 2**bits - 1, dtype)
    got, site = converted(module, x)
    assert torch.equal(got, module(x))
    assert (site.seen, site.different) == (x.numel(), 0)
    assert len(got.unique()) == 2**bits


@given(bits=st.integers(2, 8), step=SCALES, signed=st.booleans(), dtype=DTYPES)
@torch.no_grad()
def test_lsq_is_a_node(bits: int, step: float, signed: bool, dtype: torch.dtype) -> None:
    """Signed: one bit is the sign, T = b - 1."""
    module = LSQActivation(bits, signed=signed, step=step).to(dtype).eval()
    x = values(step, 2**bits, dtype)
    got, site = converted(module, x)
    assert torch.equal(got, module(x))
    assert site.description.time_steps == bits - signed
    assert len(got.unique()) == (2**bits - 1 if signed else 2**bits)


@given(bits=st.integers(1, 8), scale=SCALES, zero=st.integers(0, 128), signed=st.booleans(), dtype=DTYPES)
@torch.no_grad()
def test_fake_quantize_is_a_node_off_ties(
    bits: int, scale: float, zero: int, signed: bool, dtype: torch.dtype
) -> None:
    """Only exact ties differ, and one float below 1/2. A zero point that codes no shift is a name."""
    top = 2**bits - 1
    zero = -min(zero, top)  # torch wants 0 in the range
    module = fake_quantize(scale, zero - top if signed else zero, zero + top, zero)
    x = values(scale, top, dtype)
    got, site = converted(module, x)
    expected = module(x)
    units = (x * (1 / torch.tensor(scale)).to(dtype)).abs()
    tie = (units % 1 == 0.5) | ((units < 0.5) & (units + 0.5 >= 1))
    assert torch.equal(got[~tie], expected[~tie])
    moved = tie & ((units.floor() % 2 == 0) & (units < top) & ((x > 0) | signed))
    assert site.different == int((got != expected).sum()) == int(moved.sum())


def test_ties_are_counted() -> None:
    """0.5, 2.5 round to even, 1.5 as the node does."""
    module = fake_quantize(1.0, 0, 3)
    _, site = converted(module, torch.tensor([[0.25, 0.5, 1.5, 2.5, 3.5, -0.5]]))
    assert (site.seen, site.different) == (6, 2)


def test_range_behind_a_rectifier_loses_its_negative_half() -> None:
    module = fake_quantize(0.5, -128, 127)
    _, site = converted(module, torch.rand(1, 500) * 80, nonnegative=True)
    assert (site.description.time_steps, site.description.signed) == (7, False)
    with pytest.raises(UnsupportedError, match=r"must start at 0 or be symmetric, got -128\.\.127"):
        describe("act", module, False, QUANTIZERS)


@pytest.mark.parametrize(
    ("levels", "usable"), [(4, "3 or 7"), (8, "7 or 15"), (6, "3 or 7"), (100, "63 or 127")]
)
def test_unusable_level_counts_name_the_nearest(levels: int, usable: str) -> None:
    with pytest.raises(
        UnsupportedError, match=rf"QCFS levels must be 2\^b - 1 .* got {levels}; .*{usable}\."
    ):
        describe("act", QCFSActivation(levels), False, QUANTIZERS)


def convert(net: nn.Module, x: Tensor | None = None, **options: Any) -> Any:
    batches = [torch.rand(8, 4) * 3 if x is None else x]
    return ann2snn.Converter(SpikePackQuantizedRecipe(batches, progress=False, **options)).convert(net)


class Own(nn.Module):
    """A user's quantizer: control flow that cannot be traced, and rounding to even."""

    def __init__(self, step: float = 0.5, described: float | None = None) -> None:
        super().__init__()
        self.step, self.described = nn.Parameter(torch.tensor(step)), described or step

    def forward(self, x: Tensor) -> Tensor:
        if bool((x > 1e9).any()):
            return x
        return (x / self.step).round().clamp(0, 7) * self.step


def read(path: str, module: Own, nonnegative: bool) -> Any:
    return rounding_quantizer(path, torch.tensor(module.described), 0, 7, nonnegative=nonnegative)


@torch.no_grad()
def test_a_reader_for_the_user_s_own_module() -> None:
    net, x = nn.Sequential(Own(), nn.Linear(4, 3), nn.ReLU(), Own(0.3)).eval(), torch.rand(50, 4) * 5
    snn = convert(net, x, extra_quantizers={Own: read})
    assert torch.equal(snn(x), net(x))
    with pytest.raises(UnsupportedError, match="trace the network"):
        convert(net, x)


def test_a_wrong_description_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"layer '0': the quantizer must compute what its description"):
        convert(nn.Sequential(Own(0.5, described=0.25), nn.Linear(4, 3)), extra_quantizers={Own: read})


@pytest.mark.parametrize(("shift", "value"), [(0.505, 0.496), (0.495, 0.503)])
def test_rounding_elsewhere_is_no_tie(shift: float, value: float) -> None:
    """A quantizer that rounds beside the middle differs from the node where no tie is."""

    class Shifted(Own):
        def forward(self, x: Tensor) -> Tensor:
            return (x / self.step + shift).floor().clamp(0, 7) * self.step

    net, x = nn.Sequential(Shifted(), nn.Linear(4, 3)), torch.full((2, 4), 3.0)
    assert convert(net, x, extra_quantizers={Shifted: read}) is not None
    with pytest.raises(UnsupportedError, match="the quantizer must compute what its description says"):
        convert(net, torch.full((2, 4), (1 + value) * 0.5), extra_quantizers={Shifted: read})


def test_a_tie_moves_a_code_by_one_step_only() -> None:
    class Jumping(Own):
        def forward(self, x: Tensor) -> Tensor:
            code = (x / self.step).round().clamp(0, 7)
            return torch.where(x == 2.5 * self.step, code + self.jump, code) * self.step

        jump = 1.0  # 2.5 rounds to 2, so this is what the node does

    net, x = nn.Sequential(Jumping(), nn.Linear(4, 3)), torch.full((2, 4), 1.25)
    assert sum(convert(net, x, extra_quantizers={Jumping: read}).report.ties.values()) == 0
    Jumping.jump = 3.0  # two steps beyond the node's code
    with pytest.raises(UnsupportedError, match="the quantizer must compute what its description says"):
        convert(net, x, extra_quantizers={Jumping: read})


def test_qcfs_reader_knows_both_orders() -> None:
    x = torch.rand(1, 2000) * 2
    theta = torch.tensor(1.7)
    for order, share in (("divide_first", x / theta * 7), ("multiply_first", x * 7 / theta)):
        site = QuantizerSite("act", nn.Identity())
        site.spec = qcfs_spec("act", theta, 7, order)
        charge, node, amplitude = site.build()
        assert torch.equal(amplitude(node(charge(x))), (share + 0.5).floor().clamp(0, 7) / 7 * theta)


REFUSED: dict[str, tuple[Any, type[SpikePackError], str]] = {
    "no quantizer": (
        lambda: nn.Sequential(nn.Linear(4, 3)), UnsupportedError,
        "must have an activation quantizer, got none",
    ),
    "two widths": (
        lambda: nn.Sequential(LSQActivation(2, step=1.0), nn.Linear(4, 4), LSQActivation(3, step=1.0)),
        UnsupportedError, r"must have the same bits, got T = \[2, 3\]",
    ),
    "real rectifier": (
        lambda: nn.Sequential(LSQActivation(2, step=1.0), nn.Linear(4, 4), nn.ReLU()),
        UnsupportedError, "layer '2': ReLU must stand beside an activation quantizer",
    ),
    "cap below the codes": (
        lambda: nn.Sequential(nn.ReLU6(), LSQActivation(3, step=1.0)),
        UnsupportedError, "behind a ReLU6 the largest code must stand for at most 6, got 7",
    ),
    "zero point": (
        lambda: nn.Sequential(fake_quantize(0.1, 0, 255, 7)), UnsupportedError, r"got -7\.\.248",
    ),
    "moving observer": (
        lambda: nn.Sequential(ao.FakeQuantize(quant_min=0, quant_max=255)), UnsupportedError,
        "got a moving observer; apply torch.ao.quantization.disable_observer",
    ),
    "switched off": (
        lambda: nn.Sequential(fake_quantize(0.1, 0, 255).apply(ao.disable_fake_quant)), UnsupportedError,
        "with fixed scales, got it switched off or dynamic",
    ),
    "channels on another axis": (
        lambda: nn.Sequential(per_channel([0, 0], axis=2)), UnsupportedError, "along axis 1, got ch_axis=2",
    ),
    "zero points per channel": (
        lambda: nn.Sequential(per_channel([0, 3], axis=1)), UnsupportedError,
        r"all channels must share one zero point, got \[0, 3\]",
    ),
    "bad step": (
        lambda: nn.Sequential(fake_quantize(float("nan"), 0, 255)), UnsupportedError, "positive and finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_sentence(case: str) -> None:
    make, kind, text = REFUSED[case]
    with pytest.raises(kind, match=text) as caught:
        convert(make().eval())
    assert str(caught.value).count("; ") <= 2
    assert str(caught.value).endswith(".")


def test_bad_arguments_and_data() -> None:
    net = nn.Sequential(LSQActivation(2, step=1.0), nn.Linear(4, 4))
    with pytest.raises(ParameterError, match="extra_quantizers must map a module type"):
        SpikePackQuantizedRecipe([], extra_quantizers={"Own": read})  # type: ignore[dict-item]
    with pytest.raises(ParameterError, match="dataloader must yield batches, got Tensor"):
        ann2snn.Converter(SpikePackQuantizedRecipe(torch.rand(2, 4))).convert(net)
    with pytest.raises(DtypeError, match="calibration data is empty"):
        ann2snn.Converter(SpikePackQuantizedRecipe([], progress=False)).convert(net)
    with pytest.raises(DtypeError, match="layer '0': calibration values must be finite"):
        convert(net, torch.full((2, 4), torch.nan))
    with pytest.raises(ParameterError, match="QCFSActivation: levels and threshold must be positive"):
        QCFSActivation(0)
    with pytest.raises(ParameterError, match=r"LSQActivation: bits must be in 2\.\.16"):
        LSQActivation(1, signed=True)


@torch.no_grad()
def test_cap_at_the_largest_code() -> None:
    """ReLU6 in front of codes up to exactly 6 changes nothing."""
    net, x = nn.Sequential(nn.ReLU6(), LSQActivation(2, step=2.0), nn.Linear(4, 4)), torch.rand(9, 4) * 9
    assert torch.equal(convert(net.eval(), x)(x), net(x))


def test_mixed_widths_run_packed() -> None:
    net = nn.Sequential(LSQActivation(2, step=1.0), nn.Linear(4, 4), LSQActivation(3, step=0.1)).eval()
    x = torch.rand(9, 4) * 3
    with torch.no_grad():
        assert torch.equal(convert(net, x, mixed_time_steps=True)(x), net(x))


def test_lsq_gradients_are_those_of_the_paper() -> None:
    """Inside: 1 to x, code - x/s to s; above: 0 and the top code; s scaled by 1 / sqrt(n Q)."""
    module = LSQActivation(2, step=0.5)
    x = torch.tensor([[-1.0, 0.2, 0.9, 5.0]], requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]
    per_value = [0.0, 0 - 0.4, 2 - 1.8, 3.0]
    assert module.s.grad is not None
    assert float(module.s.grad) == pytest.approx(sum(per_value) / (4 * 3) ** 0.5, rel=1e-6)


def test_a_quantizer_that_claims_to_round_ties_up_must() -> None:
    """QCFS rounds half up; one that says so and rounds half to even is found out on a tie, and only there."""

    class Even(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.round(x * 7).clamp(0, 7) / 7

    site = QuantizerSite("act", Even())
    site.spec = qcfs_spec("act", torch.tensor(1.0), 7, "multiply_first")
    assert site.spec.ties == "up"
    site(torch.tensor([[0.1, 0.3, 0.6]], dtype=torch.float64))
    with pytest.raises(
        UnsupportedError, match="layer 'act': the quantizer must compute what its description"
    ):
        site(torch.tensor([[0.5]], dtype=torch.float64) / 7)
