"""The definitions, by hand."""

from __future__ import annotations

import pytest

from spikejelly_pack.spec.budget import (
    Operand,
    SynapticCost,
    ace,
    bit_budget,
    check_bits,
    ns_ace,
    product_s_ace,
    s_ace,
    word_bits,
)
from spikejelly_pack.spec.errors import ParameterError


def spikes(digits: int, **more: object) -> Operand:
    """Return a train of ``digits`` unsigned digits."""
    return Operand("spikes", digits, digits, **more)  # type: ignore[arg-type]


def test_published_bit_budgets() -> None:
    # arXiv 2311.10802, ImageNet SEW-ResNet-34: b_w/b_s/T = 8/8/1 and 16/1/4 have one budget, 64.
    assert bit_budget(8, word_bits(8)) == bit_budget(16, word_bits(1), windows=4) == 64
    # CIFAR-10: 1/4/1, 1/2/2, 1/1/4 have the budget 4.
    assert {bit_budget(1, word_bits(1, bits), windows) for bits, windows in ((4, 1), (2, 2), (1, 4))} == {4}


def test_serial_and_packed_form_cost_the_same() -> None:
    serial = s_ace(100, 8, word_bits(digits=6, digit_bits=1))
    packed = s_ace(100, 8, word_bits(digits=1, digit_bits=6))
    assert serial == packed == 100 * 8 * 6


def test_a_sign_is_one_bit_of_the_word() -> None:
    assert word_bits(6, signed=True) == 7
    assert s_ace(10, 8, word_bits(6, signed=True), windows=3) == 10 * 8 * 7 * 3


def test_ace_and_products() -> None:
    # The classifier of PokeBNN: 2048 x 1000 at 8 bits (google/aqt, pokebnn_test.py).
    assert ace(2048 * 1000, 8, 8) == 131_072_000
    assert product_s_ace(10, 4, 5) == 200
    assert ns_ace(200, 0.25) == 50


def test_cost_of_one_layer() -> None:
    cost = SynapticCost("fc", "linear", 12, (spikes(4), Operand("weight", 8)), 2, 24.0, 6.0, 12)
    assert (cost.weight_bits, cost.bit_budget, cost.s_ace) == (8, 2 * 4 * 8, 12 * 2 * 4 * 8)
    # 24 ones of 12 * 2 * 4 digits, 6 words of 12 * 2
    assert (cost.rate("digit"), cost.rate("word")) == (0.25, 0.25)
    assert cost.ns_ace() == cost.s_ace / 4


def test_two_spike_operands_have_a_joint_rate() -> None:
    cost = SynapticCost("attention", "matmul", 10, (spikes(4), spikes(2)), 1, 20.0, 5.0)
    assert cost.s_ace == 10 * 4 * 2
    assert cost.weight_bits is None
    assert cost.rate("digit") == 20 / 80
    assert cost.rate("word") == 5 / 10


def test_a_sum_of_trains_has_the_places_of_all() -> None:
    both = Operand("spikes", 8, 8, terms=2)
    cost = SynapticCost("fc", "linear", 10, (both, Operand("weight", 1)), 1, 40.0, 10.0)
    assert cost.rate("digit") == 40 / 80
    assert cost.rate("word") == 10 / 20


def test_what_does_not_spike_has_rate_one() -> None:
    cost = SynapticCost("stem", "conv", 5, (Operand("analog", 32), Operand("weight", 32)))
    assert cost.rate("digit") == cost.rate("word") == 1.0
    assert cost.ns_ace("word") == cost.s_ace == 5 * 1024


def test_other_bits() -> None:
    signed = Operand("spikes", 5, 4, signed=True)
    cost = SynapticCost("fc", "linear", 10, (signed, Operand("weight", 32)), 1, 4.0, 4.0)
    other = cost.at(weight_bits=4, digits=2)
    assert other.s_ace == 10 * 3 * 4
    assert other.digit_events is None
    analog = SynapticCost("stem", "conv", 10, (Operand("analog", 8), Operand("weight", 32)))
    assert analog.at(digits=2).s_ace == analog.s_ace


def test_other_digits_of_a_sum_of_trains() -> None:
    assert Operand("spikes", 8, 8, terms=2).at(3) == Operand("spikes", 6, 6, terms=2)
    assert Operand("spikes", 10, 8, True, 2).at(3) == Operand("spikes", 8, 6, True, 2)
    assert Operand("codes", 8).at(3) == Operand("codes", 8)


def test_other_weight_bits_leave_the_spikes_alone() -> None:
    cost = SynapticCost("fc", "linear", 10, (spikes(4), Operand("weight", 32)), 2, 4.0, 4.0, 12, True)
    expected = SynapticCost("fc", "linear", 10, (spikes(4), Operand("weight", 4)), 2, None, None, 12, True)
    assert cost.at(weight_bits=4) == expected
    joint = SynapticCost("attention", "matmul", 10, (spikes(4), spikes(2)))
    assert joint.at(weight_bits=4) == joint


def test_the_rate_is_of_digits_unless_words_are_asked_for() -> None:
    cost = SynapticCost("fc", "linear", 10, (spikes(4), Operand("weight", 8)), 1, 10.0, 5.0)
    assert cost.rate() == 10 / 40
    assert cost.ns_ace() == cost.s_ace / 4
    assert cost.ns_ace("word") == cost.s_ace / 2


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "8", None])
def test_bits_are_positive_integers(bad: object) -> None:
    with pytest.raises(ParameterError, match=r"reader: width must be an integer >= 1, got .*; pass a number"):
        check_bits("reader", "width", bad)


def test_unknown_names() -> None:
    with pytest.raises(ParameterError, match=r"kind must be 'weight' or 'spikes' or 'codes' or 'analog'"):
        Operand("spike", 4)
    with pytest.raises(ParameterError, match=r"rate must be 'digit' or 'word', got 'spike'"):
        SynapticCost("fc", "linear", 1, (spikes(1), Operand("weight", 1))).rate("spike")
