"""Convolution of 8-bit numbers: integer sums of the definition's steps, for every scheme and instruction set."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import omniconv
from omniconv import quant
from tests.dfp16 import oracle


@settings(max_examples=25)
@given(
    scheme=st.sampled_from(quant.SCHEMES), granularity=st.sampled_from(["tensor", "channel"]), seed=st.integers(0, 99),
    groups=st.sampled_from([1, 1, 2, 5]), ci=st.sampled_from([1, 3, 8, 20]), co=st.sampled_from([1, 2, 9, 17]),
    stride=st.sampled_from([1, 2]), dilation=st.sampled_from([1, 2]), nhwc=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_sums_are_those_of_the_steps(scheme, granularity, seed, groups, ci, co, stride, dilation, nhwc, bias, isa):
    rng = np.random.default_rng(seed)
    x = (np.maximum(rng.standard_normal((2, groups * ci, 9, 8)), -0.4) * 3).astype(np.float32)
    w = rng.standard_normal((groups * co, ci, 3, 2)).astype(np.float32)
    if nhwc:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    a, b = quant.calibrate(x, scheme), quant.calibrate(w, scheme, granularity=granularity)
    x[0, 0, 0, :4] = 1e9, -1e9, 3e38, 0  # beyond the range
    how = {"stride": stride, "padding": 1, "dilation": dilation, "groups": groups}
    added = rng.standard_normal(len(w)).astype(np.float32) if bias else None
    got = quant.Int8Conv2d(x.shape, w, a, b, **how)(x, added)
    conv = oracle.Conv(x.shape, w.shape, (stride,) * 2, (1, 1), (dilation,) * 2, groups)
    sums = conv.y(a.steps(x), b.steps(w)).astype(np.float64)
    if granularity == "channel":
        want = ((sums * a.scale) * b.scale.reshape(-1, 1, 1)).astype(np.float32)
    else:
        want = (sums * (a.scale * b.scale)).astype(np.float32)
    assert np.array_equal(got, want if added is None else want + added.reshape(-1, 1, 1))


@pytest.mark.parametrize("terms", [33_022, 33_024, 70_000])
def test_the_largest_steps_do_not_overflow(terms, isa):
    """All of x at one end of the asymmetric range, of weight at the other: 255 * 255 a term, and no int32 holds it."""
    x, w = (np.full((1, terms, 1, 1), v, np.float32) for v in (255.0, -255.0))
    a, b = quant.fit(0, 255, "asymmetric"), quant.fit(-255, 0, "asymmetric")
    assert (a.steps(x) == 255).all()
    assert (b.steps(w) == -255).all()
    assert quant.conv2d(x, w, a, b).item() == np.float32(-(255**2) * terms)


def test_rounding_is_to_even_and_nan_is_the_low_end(isa):
    form = quant.fit(-127, 127, "symmetric")
    x = np.array([0.5, 1.5, -2.5, 0.49999997, 127.4, 1000, -1000, np.inf, -np.inf, np.nan, -0.0], np.float32)
    want = np.array([0, 2, -2, 0, 127, 127, -128, 127, -128, -128, 0], np.float32)
    one = np.ones((1, 1, 1, 1), np.float32)
    for shape in ((1, 1, 1, 11), (11, 1, 1, 1)):
        assert np.array_equal(quant.conv2d(x.reshape(shape), one, form, form).ravel(), want)


def test_bits_depend_on_neither_threads_nor_batch_nor_isa():
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((3, 16, 11, 9), (20, 16, 3, 3)))
    a, b = quant.calibrate(x, "asymmetric"), quant.calibrate(w, "symmetric", granularity="channel")
    whole = quant.conv2d(x, w, a, b, padding=1)
    for isa in omniconv.available_isas():
        omniconv.set_isa(isa)
        for threads in (1, 2, 3):
            omniconv.set_num_threads(threads)
            assert np.array_equal(quant.conv2d(x, w, a, b, padding=1), whole)
    assert np.array_equal(quant.conv2d(x[1:2], w, a, b, padding=1), whole[1:2])


X, W, FORM = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32), quant.fit(-1, 1, "symmetric")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: quant.conv2d(X.astype("f8"), W, FORM, FORM), TypeError, "x has dtype float64"),
        (lambda: quant.conv2d(X, W.astype("f8"), FORM, FORM), TypeError, "weight has dtype float64"),
        (lambda: quant.conv2d(X, W[:, :1], FORM, FORM), ValueError, "weight"),
        (lambda: quant.conv2d(X, W, FORM, FORM, np.zeros(2, np.float32)), ValueError, "bias has shape"),
        (lambda: quant.conv2d(X, W, quant.fit([-1, -1], [1, 1], "symmetric"), FORM), ValueError, "x_format has"),
        (lambda: quant.conv2d(X, W, FORM, quant.fit([-1, -1], [1, 1], "symmetric")), ValueError,
         "weight_format has 2 scales"),
        (lambda: quant.conv2d(X, W, quant.Affine(np.array(-1.0), np.array(0)), FORM), ValueError, "scale of -1"),
        (lambda: quant.conv2d(X, W, quant.Affine(np.array(1.0), np.array(200)), FORM), ValueError, "zero point of 200"),
        (lambda: quant.Int8Conv2d(X.shape, W, FORM, FORM)(X[:, :1]), ValueError, "x has shape"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()
