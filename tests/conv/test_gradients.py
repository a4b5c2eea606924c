"""Gradients of the convolution against torch's autograd in float64, and against the forward pass itself."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

import omniconv
from tests.conv.problems import (
    LAYOUTS,
    MODES,
    Problem,
    assert_close,
    channels_inside,
    declines,
    each_way,
    function,
    gradients,
    laid_out,
    problems,
)  # fmt: skip

DTYPES = st.sampled_from(["float32", "float32", "float32", "float64"])


def oracle(p: Problem, x: np.ndarray, w: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, ...]:
    """dx, dw, and the sums of the absolute values of their terms."""
    return *gradients(p, x, w, g), *gradients(p, np.abs(x), np.abs(w), np.abs(g))


def check_each_way(p: Problem, x: np.ndarray, w: np.ndarray, g: np.ndarray, dtype="float32", tolerance=0.0) -> None:
    dx, dw, dx_magnitude, dw_magnitude = oracle(p, x, w, g)
    grad_input, grad_weight = function("conv{}_grad_input", p.nd), function("conv{}_grad_weight", p.nd)
    for isa, algorithm in each_way(dtype):
        how = {**p.options, "algorithm": algorithm}
        if reason := declines(p, algorithm, "grad_input", dtype, channels_inside(g)):
            with pytest.raises(NotImplementedError) as error:
                grad_input(g, w, p.x_shape, **how)
            assert reason in str(error.value)
        else:
            assert_close(grad_input(g, w, p.x_shape, **how), dx, dx_magnitude, dtype, tolerance, (isa, algorithm))
        if reason := declines(p, algorithm, "grad_weight", dtype, channels_inside(x)):
            with pytest.raises(NotImplementedError) as error:
                grad_weight(g, x, p.w_shape, **how)
            assert reason in str(error.value)
        else:
            assert_close(grad_weight(g, x, p.w_shape, **how), dw, dw_magnitude, dtype, tolerance, (isa, algorithm))


@pytest.mark.parametrize("mode", MODES)
@given(data=st.data(), layout=st.sampled_from(LAYOUTS), dtype=DTYPES)
def test_any_problem_in_any_layout(mode, data, layout, dtype):
    p = data.draw(problems(modes=[mode]))
    x, w, g = laid_out(p.x(dtype), layout), laid_out(p.w(dtype), layout), laid_out(p.g(dtype), layout)
    check_each_way(p, x, w, g, dtype)


@given(p=problems(), axis=st.integers(0, 4))
def test_broadcast_gradient(p, axis):
    """As torch hands over the gradient of a sum: strides of zero. Roundings of equal terms add up."""
    g = np.broadcast_to(np.take(p.g(), [0], axis=axis % (p.nd + 2)), p.y_shape)
    check_each_way(p, p.x(), p.w(), g, tolerance=1e-5)


@settings(max_examples=100)
@given(p=problems())
def test_adjoint_identity(p):
    """<conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_weight(g, x)>: no oracle but algebra."""
    x, w, g = p.x("float64"), p.w("float64"), p.g("float64")
    y = function("conv{}", p.nd)(x, w, **p.options)
    dx = function("conv{}_grad_input", p.nd)(g, w, p.x_shape, **p.options)
    dw = function("conv{}_grad_weight", p.nd)(g, x, p.w_shape, **p.options)
    scale = function("conv{}", p.nd)(np.abs(x), np.abs(w), **p.options).ravel() @ np.abs(g).ravel()
    product = y.ravel() @ g.ravel()
    assert abs(x.ravel() @ dx.ravel() - product) <= 1e-14 * scale
    assert abs(w.ravel() @ dw.ravel() - product) <= 1e-14 * scale


@given(p=problems(modes=["zeros"]))
def test_transposed_convolution_is_the_adjoint(p):
    """<conv_transpose(g, w), x> = <g, conv(x, w)>, the output being made as large as x by output padding."""
    x, w, g = p.x("float64"), p.w("float64"), p.g("float64")
    axes = zip(p.size, p.y_shape[2:], p.stride, p.windows, p.padding, strict=True)
    # What the last window leaves of x: output padding where it ends before x does, removed where it ends beyond.
    left = [n - ((o - 1) * s + window - lo) for n, o, s, window, (lo, _) in axes]
    assume(all(e < max(s, d) for e, s, d in zip(left, p.stride, p.dilation, strict=True)))
    how = {"stride": p.stride, "dilation": p.dilation, "groups": p.groups}
    ends = [(lo, max(-e, 0)) for (lo, _), e in zip(p.padding, left, strict=True)]
    extra = [max(e, 0) for e in left]
    back = function("conv_transpose{}", p.nd)(g, w, padding=ends, output_padding=extra, **how)
    assert back.shape == x.shape
    y = function("conv{}", p.nd)(x, w, padding=p.padding, **how)
    scale = function("conv{}", p.nd)(np.abs(x), np.abs(w), padding=p.padding, **how).ravel() @ np.abs(g).ravel()
    assert abs(back.ravel() @ x.ravel() - y.ravel() @ g.ravel()) <= 1e-14 * scale


@given(p=problems(), dtype=DTYPES)
def test_layout_argument(p, dtype):
    x, w, g = p.x(dtype), p.w(dtype), p.g(dtype)
    dx, dw, dx_magnitude, dw_magnitude = oracle(p, x, w, g)
    x_last, g_last = np.moveaxis(x, 1, -1).copy(), np.moveaxis(g, 1, -1).copy()
    how = {**p.options, "layout": "NHWC"}
    got = function("conv{}_grad_input", p.nd)(g_last, w, x_last.shape, **how)
    assert got.flags.c_contiguous
    assert_close(got, np.moveaxis(dx, 1, -1), np.moveaxis(dx_magnitude, 1, -1), dtype)
    got = function("conv{}_grad_weight", p.nd)(g_last, x_last, p.w_shape, **how)
    assert got.flags.c_contiguous
    assert_close(got, dw, dw_magnitude, dtype)


@given(p=problems(), layout=st.sampled_from(LAYOUTS), dtype=DTYPES)
def test_bias(p, layout, dtype):
    g = p.g(dtype)
    axes = (0, *range(2, g.ndim))
    want, magnitude = g.sum(axes, dtype=np.float64), np.abs(g).sum(axes, dtype=np.float64)
    assert_close(omniconv.conv_grad_bias(laid_out(g, layout)), want, magnitude, dtype)
    last = laid_out(np.moveaxis(g, 1, -1), layout)
    assert_close(omniconv.conv_grad_bias(last, layout="NHWC"), want, magnitude, dtype)


def test_kernel_size_or_weight_shape():
    p = Problem((9, 8), (3, 3), 2, 2, 3, 4, padding=((1, 1), (1, 1)))
    x, g = p.x(), p.g()
    want = omniconv.conv2d_grad_weight(g, x, p.w_shape, **p.options)
    for kernel in (3, (3, 3), [3, 3], (3,), list(p.w_shape), np.int64(3)):
        assert np.array_equal(omniconv.conv2d_grad_weight(g, x, kernel, **p.options), want)


SPECIAL = {
    "phases without a tap": Problem((23, 22), (2, 1), 2, 1, 3, 20, (4, 3)),
    "phases without a tap, folded": Problem((23, 22), (2, 1), 2, 1, 3, 20, (4, 3), (), ((1, 2), (1, 1)), "reflect"),
    "stride and dilation with a common factor": Problem((29, 31), (3, 4), 1, 1, 5, 6, (4, 6), (2, 4), ((3, 1), (2, 5))),
    "rows past the last window": Problem((17, 18), (2, 2), 2, 1, 4, 4, (5, 6)),
    "many pixels": Problem((90, 91), (3, 3), 2, 1, 2, 3, padding=((1, 1), (1, 1))),
    "many channels": Problem((3, 3), (3, 3), 1, 1, 130, 140, padding=((1, 1), (1, 1))),
    "depthwise": Problem((20, 21), (5, 5), 2, 35, 1, 1, padding=((2, 2), (2, 2))),
    "depthwise circular": Problem((9, 10), (7, 7), 2, 18, 1, 1, padding=((3, 3), (3, 3)), mode="circular"),
    "pad as large as the input": Problem((4, 5), (5, 5), 2, 2, 3, 3, padding=((4, 4), (5, 5)), mode="circular"),
    "1x1": Problem((30, 31), (1, 1), 2, 1, 33, 34),
    "volume": Problem((7, 8, 9), (3, 2, 3), 2, 2, 3, 4, (2, 1, 3), (1, 2, 1), ((1, 1), (2, 0), (0, 2)), "replicate"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_special_shapes(name, layout):
    p = SPECIAL[name]
    check_each_way(p, laid_out(p.x(), layout), p.w(), laid_out(p.g(), layout))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_number_of_channels(layout):
    for ci in range(1, 50, 2):
        p = Problem((5, 4), (2, 3), 1, 1, ci, (ci * 16) % 49 + 1, padding=((0, 1), (1, 1)), seed=ci)
        check_each_way(p, laid_out(p.x(), layout), p.w(), laid_out(p.g(), layout))
