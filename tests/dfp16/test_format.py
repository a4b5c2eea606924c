"""Quantising: against exact fractions, rules of the format, random bits."""

from __future__ import annotations

from fractions import Fraction

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import omniconv
from omniconv import dfp16
from tests.dfp16 import oracle

FLOATS = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=3, max_side=9),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)
BITS = st.integers(2, 15)


@given(x=FLOATS, bits=BITS, rounding=st.sampled_from(["nearest_even", "toward_zero"]))
def test_mantissas_are_those_of_exact_fractions(x, bits, rounding, isa):
    got = dfp16.quantize(x, bits, rounding=rounding)
    mantissa, exponent = oracle.quantize(x, bits, rounding)
    assert int(got.exponent) == exponent
    assert np.array_equal(got.mantissa, mantissa)


@given(x=FLOATS, bits=BITS)
def test_twice_is_once_and_the_error_is_half_a_unit(x, bits):
    once = dfp16.quantize(x, bits)
    values = once.dequantize("float64")
    assert np.abs(values - x.astype(np.float64)).max() <= 0.5 * 2.0 ** int(once.exponent)
    assert np.abs(once.mantissa.astype(int)).max() <= 2**bits - 1
    if np.abs(values).max() <= np.finfo(np.float32).max:
        again = dfp16.quantize(values.astype(np.float32), bits)
        assert np.array_equal(again.dequantize("float64"), values)


@given(x=FLOATS, k=st.integers(-20, 20))
def test_a_power_of_two_changes_the_exponent_alone(x, k):
    with np.errstate(over="ignore"):
        scaled = np.ldexp(x, k)
    if not np.array_equal(np.ldexp(scaled, -k), x) or not np.isfinite(scaled).all() or not x.any():
        return
    a, b = dfp16.quantize(x), dfp16.quantize(scaled)
    assert np.array_equal(a.mantissa, b.mantissa)
    assert int(b.exponent) - int(a.exponent) == k


@pytest.mark.parametrize("x", [[np.finfo(np.float32).max, 1], [2.0**-149, 0], [-(2.0**-149)] * 40, [1, 1 - 2.0**-24]])
@pytest.mark.parametrize("rounding", ["nearest_even", "toward_zero", "stochastic"])
def test_the_ends_of_float32(x, rounding, isa):
    x = np.array(x, np.float32)
    got = dfp16.quantize(x, rounding=rounding, seed=5)
    assert np.abs(got.dequantize("float64") - x).max() < 2.0 ** int(got.exponent)
    assert np.abs(got.mantissa.astype(int)).max() <= 32767
    assert got.mantissa[0] != 0


@pytest.mark.parametrize(("granularity", "axis"), [("image", 0), ("channel", 1)])
def test_an_exponent_for_each_index(granularity, axis):
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 2)).astype(np.float32)
    x *= np.exp2(np.arange(x.shape[axis]) * 3).reshape([-1 if i == axis else 1 for i in range(4)])
    got = dfp16.quantize(x, 11, granularity)
    for i in range(x.shape[axis]):
        mantissa, exponent = oracle.quantize(x.take(i, axis), 11)
        assert np.array_equal(got.mantissa.take(i, axis), mantissa)
        assert got.exponent[i] == exponent
    assert np.abs(got.dequantize() - x).max() <= 0.5 * 2.0 ** got.exponent.max()


def test_rows_have_exponents_of_their_own():
    x = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32) ** 5
    got = dfp16.quantize(x, 9, "row")
    assert got.exponent.shape == (3, 5)
    for i, j in np.ndindex(3, 5):
        mantissa, exponent = oracle.quantize(x[i, j], 9)
        assert np.array_equal(got.mantissa[i, j], mantissa)
        assert got.exponent[i, j] == exponent


# ---- random bits ---------------------------------------------------------------------------------------------------


def test_philox_is_the_published_one():
    """Known answers of Random123: counter and key 0, and both all ones."""
    for fill, words in ((0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),):
        # With exponent 0, fraction f goes up exactly where word / 2**32 >= 1 - f: bisection reads the word.
        low, high = [0] * 4, [2**20] * 4
        for _ in range(21):
            middle = [(a + b) // 2 for a, b in zip(low, high, strict=True)]
            x = np.array([1 - m / 2**20 for m in middle], np.float32)
            up = dfp16.quantize(x, 15, rounding="stochastic", seed=fill, exponent=np.int32(0)).mantissa
            for i in range(4):
                if up[i]:
                    low[i] = middle[i]
                else:
                    high[i] = middle[i]
        assert low == [w >> 12 for w in words]


def test_random_bits_depend_on_seed_stream_and_place_alone(isa):
    x = np.random.default_rng(1).standard_normal(200_000).astype(np.float32)
    plain = dfp16.quantize(x, 7, rounding="stochastic", seed=3).mantissa
    omniconv.set_num_threads(1)
    assert np.array_equal(plain, dfp16.quantize(x, 7, rounding="stochastic", seed=3).mantissa)
    strided = np.repeat(x, 2)[::2]
    assert np.array_equal(plain, dfp16.quantize(strided, 7, rounding="stochastic", seed=3).mantissa)
    exponent = dfp16.quantize(x, 7, rounding="stochastic").exponent
    part = dfp16.quantize(x[:777], 7, rounding="stochastic", seed=3, exponent=exponent).mantissa
    assert np.array_equal(plain[:777], part)
    for other in ({"seed": 4}, {"seed": 3, "stream": 1}):
        assert (plain != dfp16.quantize(x, 7, rounding="stochastic", **other).mantissa).mean() > 0.2


def test_stochastic_rounding_has_no_bias_and_moves_no_whole_number():
    whole = np.arange(-100, 101).astype(np.float32)
    exponent = np.int32(0)
    for seed in range(50):
        got = dfp16.quantize(whole, 10, rounding="stochastic", seed=seed, exponent=exponent)
        assert np.array_equal(got.mantissa, whole)
    for fraction in (0.125, -0.3, 0.5, 0.99):
        x = np.full(40_000, 7 + fraction, np.float32)
        got = dfp16.quantize(x, 10, rounding="stochastic", seed=9, exponent=exponent).mantissa
        sigma = np.sqrt(abs(fraction) * (1 - abs(fraction)) / x.size)
        assert abs(got.mean() - x[0]) < 4 * sigma
    sums = np.full(40_000, 5 * 2**20 + 2**18, np.int64)  # 5.25 units of 2**20
    got = dfp16.requantize(np.append(sums, 2**33 - 1), bits=13, rounding="stochastic", seed=2)
    assert abs(got.mantissa[:-1].mean() * 2.0 ** int(got.exponent) / 2**20 - 5.25) < 0.01


# ---- arithmetic ----------------------------------------------------------------------------------------------------

TENSORS = st.tuples(
    hnp.arrays(np.int16, 5, elements=st.integers(-32767, 32767)), st.integers(-60, 60)
).map(lambda t: dfp16.DfpTensor(t[0], np.array(t[1], np.int32)))  # fmt: skip


@settings(max_examples=120)
@given(a=TENSORS, b=TENSORS, op=st.sampled_from(["add", "mul"]))
def test_add_and_mul_are_rounded_once(a, b, op):
    def exact(t):
        return [Fraction(int(m)) * Fraction(2) ** int(t.exponent) for m in t.mantissa]

    got = getattr(dfp16, op)(a, b)
    unit = Fraction(2) ** int(got.exponent)
    for x, y, m in zip(exact(a), exact(b), got.mantissa, strict=True):
        want = (x + y if op == "add" else x * y) / unit
        assert abs(want - int(m)) <= Fraction(1, 2)
        if abs(want - int(m)) == Fraction(1, 2):
            assert m % 2 == 0


@given(values=hnp.arrays(np.int64, 6, elements=st.integers(-(2**62), 2**62)), bits=BITS)
def test_requantize_shifts_as_little_as_it_can(values, bits):
    got = dfp16.requantize(values, 3, bits)
    shift = int(got.exponent) - 3
    want = [round(Fraction(int(v), 2**shift)) for v in values]
    assert got.mantissa.tolist() == want
    most = int(np.abs(values).max())
    assert shift == 0 or round(Fraction(most, 2 ** (shift - 1))) >= 2**bits


@pytest.mark.parametrize("shift", [1, 2, 17])
def test_requantize_shifts_once_more_where_the_largest_ties_upwards(shift):
    """32767.5 units go to the even 32768, which has 16 bits; anything below does not."""
    tie = 65535 << (shift - 1)
    got = dfp16.requantize(np.array([tie, 0], np.int64))
    assert (int(got.exponent), got.mantissa.tolist()) == (shift + 1, [16384, 0])
    if shift > 1:
        got = dfp16.requantize(np.array([1 - tie, 0], np.int64))
        assert (int(got.exponent), got.mantissa.tolist()) == (shift, [-32767, 0])


# ---- arguments -----------------------------------------------------------------------------------------------------


def test_nan_and_infinity():
    x = np.array([1, np.nan, -np.inf, np.inf, -0.5], np.float32)
    with pytest.raises(ValueError, match="x holds NaN or infinity"):
        dfp16.quantize(x)
    for rounding in ("nearest_even", "toward_zero", "stochastic"):
        got = dfp16.quantize(x, nonfinite="saturate", rounding=rounding)
        assert got.mantissa.tolist() == [2**14, 0, -32767, 32767, -(2**13)]


def test_empty_and_zero():
    assert dfp16.quantize(np.zeros((0, 3), np.float32)).mantissa.shape == (0, 3)
    zero = dfp16.quantize(np.zeros(4, np.float32))
    assert int(zero.exponent) == 0
    assert not zero.mantissa.any()


def test_arrays_keep_their_kind():
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    got = dfp16.quantize(x, granularity="image")
    assert isinstance(got.mantissa, torch.Tensor)
    assert got.mantissa.dtype == torch.int16
    assert got.exponent.dtype == torch.int32
    assert np.array_equal(got.mantissa.numpy(), dfp16.quantize(x.numpy(), granularity="image").mantissa)
    assert torch.equal(got.dequantize(), dfp16.dequantize(got))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: dfp16.quantize(np.zeros(3)), TypeError, "x has dtype float64"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), 16), ValueError, "bits is 16"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), 1), ValueError, "bits is 1"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), granularity="block"), ValueError, "granularity is 'block'"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), granularity="channel"), ValueError, "no axis 1"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), rounding="up"), ValueError, "rounding is 'up'"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), seed=-1), ValueError, "seed is -1"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), nonfinite="zero"), ValueError, "nonfinite is 'zero'"),
        (lambda: dfp16.quantize(np.zeros((), np.float32)), ValueError, "x is a scalar"),
        (lambda: dfp16.quantize(np.zeros(3, np.float32), exponent=np.zeros(2, int)), ValueError, "exponent has shape"),
        (lambda: dfp16.requantize(np.zeros(3, np.int32)), TypeError, "values has dtype int32"),
        (lambda: dfp16.dequantize(np.zeros(3)), TypeError, "tensor has dtype float64"),
        (lambda: dfp16.add(np.zeros(3, np.int16), np.zeros(3)), TypeError, "b has dtype float64"),
    ],
)
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()
