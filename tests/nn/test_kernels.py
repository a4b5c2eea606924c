"""Kernels of the nn family against the definitions in float64: every instruction set, bits, strides, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omniconv
from omniconv import _core, nn
from omniconv.nn import functional as F
from omniconv.nn import kernels

RNG = np.random.default_rng(7)
WIDTHS = (1, 3, 8, 31, 32, 33, 96, 131)


def rand(*shape):
    return RNG.standard_normal(shape, dtype=np.float32)


def last(x):
    """[N, C, H, W] with its channels innermost in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def close(got, want, tolerance=3e-7):
    assert got is not None and got.dtype == np.float32 and got.shape == want.shape
    assert np.linalg.norm(got - want) <= tolerance * max(np.linalg.norm(want), 1e-30)


def wide(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm(isa, width, affine):
    x = rand(5, 7, width) * 3 + 2
    w, b = (rand(width), rand(width)) if affine else (None, None)
    if width > 1:
        close(kernels.layer_norm(x, w, b, 1e-5), F.layer_norm(*wide(x, w, b)), 1e-6)
    close(kernels.layer_norm(x, w, None, 1e-6, centred=False), F.rms_norm(*wide(x, w)))


def test_layer_norm_keeps_the_digits_of_long_rows_far_from_zero(isa):
    x = rand(2, 100_003) + 300
    close(F.layer_norm(x), F.layer_norm(x.astype(np.float64)), 2e-5)  # the mean itself is rounded to 2^-16
    ones = np.full((1, 1 << 20), 0.1, np.float32)
    close(F.rms_norm(ones), F.rms_norm(ones.astype(np.float64)), 1e-6)  # one chain would lose 1e-3


def test_norm_along_channels_keeps_their_place(isa):
    x = last(rand(2, 24, 3, 5))
    y = F.layer_norm(x, rand(24), axis=1)
    assert y.strides[1] == 4
    plane = np.ascontiguousarray(x)
    close(F.layer_norm(plane, axis=1), F.layer_norm(plane.astype(np.float64), axis=1))


@pytest.mark.parametrize("width", WIDTHS)
def test_sums_and_factors_of_channels(isa, width):
    x = last(rand(3, width, 13, 11))
    close(kernels.channel_means(x), x.astype(np.float64).mean((2, 3)), 1e-6)
    tokens, gamma, beta = np.moveaxis(x, 1, -1), rand(1, 1, 1, width), rand(1, 1, 1, width)
    close(F.grn(tokens, gamma, beta), F.grn(*wide(tokens, gamma, beta)))
    factors = rand(3, width, 1, 1)
    y = F.multiply(x, factors)
    assert np.array_equal(y, x * factors) and (width == 1 or y.strides[1] == 4)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bias", [False, True])
def test_squeeze_and_excitation(isa, width, bias):
    x, hidden = last(rand(3, width, 13, 11)) + 1, max(1, width // 4)
    first, second = nn.Conv2d(width, hidden, 1, bias=bias).seed(1), nn.Conv2d(hidden, width, 1, bias=bias).seed(2)
    if bias:
        first.bias, second.bias = rand(hidden), rand(width)
    got = nn.squeeze_excite(x, first, second, squeeze="silu")
    assert width == 1 or got.strides[1] == 4
    with nn.one_by_one():
        close(got, nn.squeeze_excite(x, first, second, squeeze="silu"), 5e-7)
    first.to("float64"), second.to("float64")
    close(got, nn.squeeze_excite(x.astype(np.float64), first, second, squeeze="silu"), 5e-7)


def test_squeeze_and_excitation_names_what_does_not_fit():
    x = last(rand(2, 8, 4, 4))
    with pytest.raises(ValueError, match=r"w2 has shape \(8, 4\); expected is \(8, 3\)"):
        nn.squeeze_excite(x, nn.Conv2d(8, 3, 1), nn.Conv2d(4, 8, 1))


def test_long_sums_do_not_lose_digits(isa):
    x = np.full((1, 500, 500, 7), 0.1, np.float32).transpose(0, 3, 1, 2)[:, :5]
    close(kernels.channel_means(x), np.full((1, 5), np.float32(0.1), np.float64), 1e-6)
    infinite = last(rand(1, 3, 30, 30))
    infinite[0, 1, 2, 3], infinite[0, 2, 2, 3] = np.inf, np.nan
    assert np.array_equal(np.isfinite(kernels.channel_means(infinite)), [[True, False, False]])
    assert kernels.channel_means(infinite)[0, 1] == np.inf


@pytest.mark.parametrize("width", WIDTHS)
def test_products(isa, width):
    both = last(rand(2, 2 * width + 1, 6, 5))  # parts of wider rows
    a, b = both[:, :width], both[:, width : 2 * width]
    assert np.array_equal(F.multiply(a, b), a * b)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 37), st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.booleans(), st.booleans(),
)  # fmt: skip
def test_max_pool(shape, kernel, stride, padding, ceil_mode, poisoned):
    padding = min(padding, kernel // 2)
    if min(shape[2:]) + 2 * padding < kernel:
        return
    x = rand(*shape)
    if poisoned:
        x[RNG.random(shape) < 0.1] = np.nan
        x[RNG.random(shape) < 0.1] = -np.inf
    want = nn.max_pool(x.astype(np.float64), kernel, stride, padding, ceil_mode=ceil_mode)
    got = nn.max_pool(last(x), kernel, stride, padding, ceil_mode=ceil_mode)
    assert np.array_equal(got, want.astype(np.float32), equal_nan=True)


def test_linear_of_rows_that_lie_across():
    layer, x = nn.Linear(6, 5), rand(2, 6, 9)
    got, want = layer(x.transpose(0, 2, 1)), layer(np.ascontiguousarray(x.transpose(0, 2, 1)))
    assert np.allclose(got, want, rtol=1e-5, atol=1e-6) and got.transpose(0, 2, 1).flags.c_contiguous


def test_max_pool_on_every_level(isa):
    x = last(rand(2, 41, 12, 9))
    want = nn.max_pool(x.astype(np.float64), (3, 2), (2, 1), (1, 0))
    assert np.array_equal(nn.max_pool(x, (3, 2), (2, 1), (1, 0)), want)


def test_bits_depend_on_neither_threads_nor_batch(isa):
    x, gamma, gate = last(rand(4, 72, 60, 50)), rand(72), last(rand(4, 72, 60, 50))
    many = last(rand(4, 600, 3, 3))
    excite = nn.Conv2d(600, 200, 1).seed(1), nn.Conv2d(200, 600, 1).seed(2)

    def everything(x, gate, many):
        y = F.layer_norm(x, gamma, axis=1)
        y = F.multiply(F.grn(np.moveaxis(y, 1, -1), gamma.reshape(1, 1, 1, -1)).transpose(0, 3, 1, 2), gate)
        return nn.max_pool(y, 3, 2, 1), kernels.channel_means(y), nn.squeeze_excite(many, *excite)

    omniconv.set_num_threads(1)
    want = everything(x, gate, many)
    for threads in (2, 3):
        omniconv.set_num_threads(threads)
        for a, b in zip(everything(x, gate, many), want, strict=True):
            assert np.array_equal(a, b)
    for i in range(4):
        for a, b in zip(everything(x[i : i + 1], gate[i : i + 1], many[i : i + 1]), want, strict=True):
            assert np.array_equal(a[0], b[i])


def test_what_kernels_write_is_all_of_the_result_and_nothing_else(isa):
    for width in WIDTHS:
        x, room = rand(6, width), np.full((6, width + 2), np.nan, np.float32)
        _core.nn_layer_norm(x, None, None, 1e-6, True, room[:, 1:-1])
        assert np.isfinite(room[:, 1:-1]).all() and np.isnan(room[:, [0, -1]]).all()
        room[:] = np.nan
        _core.nn_multiply_rows(x, x, room[:, 1:-1])
        assert np.array_equal(room[:, 1:-1], x * x) and np.isnan(room[:, [0, -1]]).all()
        cube, w = np.full((2, 3, width + 2), np.nan, np.float32), np.zeros((width, width), np.float32)
        _core.nn_squeeze_excite(x.reshape(2, 3, width), w, None, "relu", w, None, "sigmoid", cube[..., 1:-1])
        assert np.array_equal(cube[..., 1:-1].reshape(6, width), x / 2) and np.isnan(cube[..., [0, -1]]).all()
        tall = np.full((1, 3, 2, width + 2), np.nan, np.float32)
        _core.nn_max_pool2d(x.reshape(1, 3, 2, width), [1, 1], [1, 1], [0, 0], tall[..., 1:-1])
        assert np.array_equal(tall[..., 1:-1].reshape(6, width), x) and np.isnan(tall[..., [0, -1]]).all()


def test_float64_has_the_reference():
    x, scale, shift = RNG.standard_normal((2, 5, 6)), RNG.standard_normal((2, 6)), RNG.standard_normal((1, 6))
    y, sums = np.empty_like(x), np.empty((2, 6))
    _core.nn_channel_affine(x, scale, shift, y)
    assert np.allclose(y, x * scale[:, None] + shift, rtol=1e-14)
    _core.nn_channel_sums(x, True, sums)
    assert np.allclose(sums, (x * x).sum(1), rtol=1e-14)
    _core.nn_layer_norm(x[0], None, shift[0], 1e-5, True, y[0])
    assert np.allclose(y[0], F.layer_norm(x[0], None, shift[0]), rtol=1e-12)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda x: _core.nn_layer_norm(x, rand(5), None, 1e-5, True, x), ValueError, "weight has shape (5,)"),
        (lambda x: _core.nn_layer_norm(x, None, x[0].astype("f8"), 1e-5, True, x), TypeError, "bias has dtype float64"),
        (lambda x: _core.nn_layer_norm(x, None, None, 1e-5, True, x[:2]), ValueError, "out has shape (2, 6)"),
        (lambda x: _core.nn_layer_norm(x[:, ::2], None, None, 1e-5, True, x[:, :3]), ValueError, "not adjacent"),
        (lambda x: _core.nn_channel_sums(x, False, x), ValueError, "x has 2 axes; expected are 3"),
        (lambda x: _core.nn_channel_affine(x[None], rand(2, 6), None, x[None]), ValueError, "scale has shape (2, 6)"),
        (lambda x: _core.nn_multiply_rows(x, x[:3], x), ValueError, "b has shape (3, 6)"),
        (lambda x: _core.nn_max_pool2d(x[None, None], [2, 2], [1, 0], [0, 0], x[None, None]), ValueError, "stride 0"),
        (lambda x: _core.nn_max_pool2d(x[None, None], [1, 1], [2, 1], [0, 0], rand(1, 2, 4, 6)), ValueError, "window"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error) as caught:
        call(rand(4, 6))
    assert words in str(caught.value)
