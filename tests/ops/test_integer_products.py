"""What each route refuses, and why: the proofs of exactness, at their limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spikejelly_pack.ops import integer_products as ip
from spikejelly_pack.ops.integer_products import int8
from spikejelly_pack.ops.integer_products.base import rows_of, storage_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def dense(weights: list[list[int]], low: int = 0, high: int = 255) -> ip.Product:
    return ip.Product(torch.tensor(weights), low, high)


def refusal(name: str, product: ip.Product, device: torch.device = CPU) -> str | None:
    return ip.routes()[name].refuses(product, device)


def test_bounds_hold_for_every_subset_of_the_terms() -> None:
    product = dense([[3, -4], [1, 1]], 0, 10)
    assert product.sums == (-40, 30)
    assert product.magnitude == 40
    signed = dense([[3, -4], [1, 1]], -10, 10)
    assert signed.sums == (-70, 70)
    # A code that is never 0 still meets padding: 0 is among the sums.
    assert dense([[2]], 3, 5).sums == (0, 10)


def test_float32_up_to_its_last_exact_integer() -> None:
    last = [[127] * 518 + [11]]  # 255 * 65797 = 2^24 + 1019
    fits = [[127] * 518]  # 255 * 65786 = 2^24 - 1786
    assert refusal("float32", dense(fits)) is None
    assert "beyond the exact integers of float32" in str(refusal("float32", dense(last)))
    assert refusal("float64", dense(last)) is None
    assert "beyond the exact integers" in str(refusal("onednn", dense(last)))


def test_float32_on_cuda_only_where_it_is_full_precision() -> None:
    conv = ip.Product(torch.ones(2, 2, 3, 3, dtype=torch.int64), 0, 15, ip.Window())
    assert "Winograd" in str(refusal("float32", conv, CUDA))
    assert refusal("float32", conv, CPU) is None
    assert refusal("float32", dense([[1]]), CUDA) is None
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        assert "TF32" in str(refusal("float32", dense([[1]]), CUDA))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(("name", "held"), [("bfloat16", 256), ("float16", 2048)])
def test_half_precision_routes(name: str, held: int) -> None:
    assert refusal(name, dense([[held]], 0, 255), CUDA) is None
    assert f"exceed {held}" in str(refusal(name, dense([[held + 1]], 0, 255), CUDA))
    assert f"exceed {held}" in str(refusal(name, dense([[1]], 0, held + 1), CUDA))
    grouped = ip.Product(torch.ones(2, 1, 1, 1, dtype=torch.int64), 0, 15, ip.Window(groups=2))
    assert "groups" in str(refusal(name, grouped, CUDA))


def test_int8_takes_bytes_and_int32_sums() -> None:
    assert refusal("int8", dense([[127, -128]])) is None
    for wide in (128, -129):
        assert "beyond int8" in str(refusal("int8", dense([[wide]])))
        assert "beyond int8" in str(refusal("onednn", dense([[wide]])))
    assert "beyond int32" in str(refusal("int8", dense([[127] * 67_000])))
    assert "sums of one term" in str(refusal("int8", dense([[1]])))
    assert "codes exceed 8 bits" in str(refusal("onednn", dense([[1]], 0, 511)))
    assert refusal("onednn", dense([[64, -64]], -255, 255)) is None
    for unfit in (dense([[1]], -256, 255), dense([[1]], -255, 256), dense([[-128]], -255, 255)):
        assert "codes exceed 8 bits" in str(refusal("onednn", unfit))
    grouped = ip.Product(torch.ones(2, 1, 1, 1, dtype=torch.int64), -255, 255, ip.Window(groups=2))
    assert "codes exceed 8 bits" in str(refusal("onednn", grouped))


def test_a_cpu_without_vnni_saturates(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX2 adds pairs of u8 x s8 products in int16: 2 * 255 * 64 fits, 2 * 255 * 65 does not."""
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert refusal("int8", dense([[64, 64]])) is None
    for name in ("int8", "onednn"):
        assert "in int16, which saturates for weights of 65" in str(refusal(name, dense([[-65, 64]])))
    assert refusal("int8", dense([[65]]), CUDA) is None


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 1, torch.uint8), (0, 255, torch.uint8), (-127, 127, torch.int8), (0, 256, torch.int32),
     (-128, 128, torch.int32)],
)  # fmt: skip
def test_storage(low: int, high: int, dtype: torch.dtype) -> None:
    assert storage_dtype(low, high) is dtype
    assert [torch.tensor(n).to(dtype).item() for n in (low, high)] == [low, high]


@pytest.mark.parametrize("zero", [0, -128])
def test_unfolding_is_a_convolution(zero: int) -> None:
    """Rows times weights are the convolution of the image padded with what stands for the code 0."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-128, 128, (2, 3, 7, 6), generator=generator).to(torch.int8)
    weight = torch.randint(-9, 10, (4, 3, 3, 2), generator=generator)
    window = ip.Window((2, 1), (1, 2), (2, 1))
    rows, (samples, height, width) = rows_of(codes, (3, 2), window, zero)
    ours = rows.to(torch.int64) @ weight.permute(0, 2, 3, 1).flatten(1).t()
    ours = ours.view(samples, height, width, 4).permute(0, 3, 1, 2)
    padded = F.pad(codes.double(), (2, 2, 1, 1), value=float(zero))
    assert torch.equal(
        ours.double(), F.conv2d(padded, weight.double(), None, window.stride, 0, window.dilation)
    )


def test_rows_of_windows_as_wide_as_the_map_do_not_overlap() -> None:
    codes = torch.arange(3 * 5 * 2, dtype=torch.uint8).view(1, 3, 5, 2)
    rows, _ = rows_of(codes, (3, 2), ip.Window())
    assert rows.is_contiguous()
    assert torch.equal(rows[1], codes[0, :, 1:4].permute(1, 2, 0).flatten())


@pytest.mark.parametrize(
    "low_high", [(0, 127), (0, 255), (-127, 127), (0, 511), (-511, 511), (0, 65535), (-65535, 65535)]
)
@pytest.mark.parametrize("unsigned_bytes", [False, True])
def test_pieces_are_the_code(low_high: tuple[int, int], unsigned_bytes: bool) -> None:
    """Every code, as the int8 factors and the offset that it is multiplied as."""
    low, high = low_high
    product = dense([[1]], low, high)
    codes = torch.arange(low, high + 1).to(storage_dtype(low, high))
    pieces = int8._pieces(product, unsigned_bytes)
    total = torch.zeros(len(codes), dtype=torch.int64)
    for piece in pieces:
        part = piece.take(codes)
        assert part.dtype in ((torch.int8, torch.uint8) if unsigned_bytes else (torch.int8,))
        total += (part.to(torch.int64) - piece.zero) * piece.factor
    assert torch.equal(total, torch.arange(low, high + 1))
    assert len(pieces) == (1 if high <= 255 else 2 if high <= 16383 else 3)


def test_a_first_forward_inside_a_graph_capture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikejelly_pack.spec.errors import RunError

    ip.forget_choices()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a card")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RunError, match="run one forward before it"):
        ip.choose_route(dense([[1]]), (1, 1), CUDA)
    ip.choice._cuda_name.cache_clear()


ROUTES = [
    *(route for route in ip.ROUTES if "cpu" in route.devices),
    int8.Int8Route("int8_offset", unsigned_bytes=False),  # as on CUDA
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
@pytest.mark.parametrize(("low", "high"), [(0, 15), (-15, 15), (0, 255), (-127, 127), (0, 1023), (-300, 300)])
def test_random_products(route: Any, low: int, high: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-128, 128, (9, 37), generator=generator)
    codes = torch.randint(low, high + 1, (5, 37), generator=generator)
    codes[0], codes[1] = low, high
    check(route, ip.Product(weight, low, high), codes, (codes @ weight.t()).double())
    kernel = torch.randint(-128, 128, (6, 4, 3, 2), generator=generator)
    images = torch.randint(low, high + 1, (3, 4, 6, 7), generator=generator)
    images[0], images[1] = low, high
    for window in (ip.Window((2, 1), (1, 2), (2, 1)), ip.Window((1, 1), (2, 0), (1, 1), 2)):
        weights = kernel if window.groups == 1 else kernel[:, : 4 // window.groups]
        geometry = (window.stride, window.padding, window.dilation, window.groups)
        expected = F.conv2d(images.double(), weights.double(), None, *geometry)
        check(route, ip.Product(weights, low, high, window), images, expected)


def test_a_torch_of_signed_bytes_multiplies_every_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older releases refuse uint8 on CPUs: asked once, then no product gets one."""
    multiply, dtypes = torch.ops.aten._int_mm, []

    def signed_only(rows: Tensor, matrix: Tensor) -> Tensor:
        dtypes.append(rows.dtype)
        if rows.dtype is not torch.int8:
            raise RuntimeError("int_mm_out_cpu: Expected self dtype to be of type int8")
        return multiply(rows, matrix)

    monkeypatch.setattr(torch.ops.aten, "_int_mm", signed_only)
    int8._takes_unsigned_bytes.cache_clear()
    try:
        codes, weight = torch.arange(256)[:, None].expand(256, 2), torch.tensor([64, -64])
        for _ in range(2):
            check(int8.Int8Route(), ip.Product(weight.diag(), 0, 255), codes, (codes * weight).double())
    finally:
        int8._takes_unsigned_bytes.cache_clear()
    assert dtypes.count(torch.uint8) == 1
    assert dtypes.count(torch.int8) == 4


def check(route: Any, product: ip.Product, codes: Tensor, expected: Tensor) -> None:
    if route.refuses(product, CPU) is None:
        stored = codes.to(storage_dtype(product.low, product.high))
        for given in (
            stored,
            stored.contiguous(memory_format=torch.channels_last) if stored.dim() == 4 else stored,
        ):
            assert torch.equal(route.prepare(product, CPU)(given).double(), expected)


def _codes_of_sums(sums: Tensor) -> Tensor:
    """Codes of 68 neurons whose sum by weights ``33 x 127, 1, 33 x -127, -1`` is each of ``sums``."""
    rows = torch.zeros(len(sums), 68, dtype=torch.int64)
    for row, total in zip(rows, sums.tolist(), strict=True):
        half = row[:34] if total >= 0 else row[34:]
        many, half[33] = divmod(abs(total), 127)
        full, rest = divmod(many, 255)
        half[:full], half[full] = 255, rest
    return rows.to(torch.uint8)


@pytest.mark.parametrize("half", [True, False], ids=["round_half_up", "floor"])
@pytest.mark.parametrize("conv", [True, False], ids=["conv", "dense"])
@pytest.mark.parametrize(
    ("steps", "theta", "bias"),
    [
        (8, 4080, 900),
        (8, 4079, -470),
        (8, 3, 100_000),
        (8, 1, -5),
        (4, 60_000, -60_000),
        (1, 400_000, -99_999),
    ],
)
def test_requantization_fires_exactly_at_its_thresholds(
    steps: int, theta: int, bias: int, conv: bool, half: bool
) -> None:
    """One below and at every threshold, up to the limit of the proof; the oracle is integer arithmetic."""
    weights = [127] * 33 + [1] + [-127] * 33 + [-1]
    product = dense([weights])
    if conv:
        product = ip.Product(product.weight[:, :, None, None], 0, 255, ip.Window())
    fire = ip.Fire(torch.tensor([theta]), torch.tensor([bias]), steps, False, half)
    route = ip.fused_routes(CPU, "torch")["onednn_fused"]
    reason = route.refuses(product, fire, CPU)
    if reason is not None and "threshold" not in reason:
        pytest.skip(reason)
    assert reason is None
    shift = bias + (theta // 2 if half else 0)
    ends = torch.arange(-1, (1 << steps) + 2) * theta - shift
    sums = torch.cat([ends - 1, ends, ends + 1, torch.tensor([-1_000_000, 1_000_000, 0])])
    sums = sums[sums.abs() <= 33 * 255 * 127]
    expected = [min(max((n + shift) // theta, 0), (1 << steps) - 1) for n in sums.tolist()]
    codes = _codes_of_sums(sums)
    given = codes[:, :, None, None] if conv else codes
    assert route.prepare(product, CPU, fire)(given).flatten().tolist() == expected


def test_requantization_is_refused_where_it_is_not_proven() -> None:
    route = ip.fused_routes(CPU, "auto")["onednn_fused"]

    def reason(theta: int, bias: int = 0, signed: bool = False, steps: int = 8, low: int = 0) -> str:
        fire = ip.Fire(torch.tensor([theta]), torch.tensor([bias]), steps, signed, False)
        return str(route.refuses(dense([[1]], low), fire, CPU))

    assert "threshold" not in reason(4095, 255)
    assert "thresholds reach 1048576 with all digits" in reason(4095, 256)
    assert "thresholds reach 1048576 with all digits" in reason(4095, -256)
    assert reason(1, low=-255) == reason(1)
    for unfit in ({"signed": True}, {"steps": 9}, {"low": -256}):
        assert "must be bytes, those out unsigned" in reason(1, **unfit)
    assert "onednn_fused" not in ip.fused_routes(CPU, "cupy")
    assert "onednn_fused" not in ip.fused_routes(CUDA, "auto")


def test_a_decision_is_not_shared_with_weights_its_route_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights up to 64 and up to 127 and their sums have the same bits; without VNNI 127 saturates."""
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    small, large = (dense([row] * 8) for row in ([64] * 8, [127] + [40] * 7))
    ip.forget_choices()
    assert "int8" in ip.choose_route(small, (4, 8), CPU).seconds
    assert "int8" in ip.choose_route(large, (4, 8), CPU).refused
    ip.forget_choices()
