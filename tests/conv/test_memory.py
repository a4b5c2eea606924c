"""What is read and written: all of `out`, nothing around it, no stale memory; NaN reaches what it takes part in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import omniconv
from tests.conv.problems import (
    LAYOUTS,
    MODES,
    Problem,
    declines,
    each_way,
    forward,
    function,
    gradients,
    laid_out,
    problems,
    room_for,
)  # fmt: skip

DTYPES = st.sampled_from(["float32", "float32", "float64"])


def calls(p: Problem, dtype: str) -> dict[str, tuple[str, tuple[int, ...], Callable[..., np.ndarray]]]:
    """Of each function: the op, the shape of the result, and the call."""
    x, w, g, b = p.x(dtype), p.w(dtype), p.g(dtype), p.array("b", p.y_shape[1:2], dtype)
    nd, how = p.nd, p.options
    both = {
        "forward": ("forward", p.y_shape, lambda **k: function("conv{}", nd)(x, w, **how, **k)),
        "epilogue": ("forward", p.y_shape, lambda **k: function("conv{}", nd)(x, w, b, activation="silu", **how, **k)),
        "grad_input": (
            "grad_input", p.x_shape, lambda **k: function("conv{}_grad_input", nd)(g, w, p.x_shape, **how, **k),
        ),
        "grad_weight": (
            "grad_weight", p.w_shape, lambda **k: function("conv{}_grad_weight", nd)(g, x, p.w_shape, **how, **k),
        ),
    }  # fmt: skip
    if p.mode == "zeros":
        flipped = p.array("w", (p.groups * p.ci, p.co, *p.kernel), dtype)
        plain = {"stride": p.stride, "dilation": p.dilation, "groups": p.groups}
        shape = function("conv_transpose{}", nd)(x, flipped, **plain).shape
        both["transposed"] = ("", shape, lambda **k: function("conv_transpose{}", nd)(x, flipped, **plain, **k))
    return both


@given(p=problems(), layout=st.sampled_from(LAYOUTS), dtype=DTYPES)
def test_out_is_written_everywhere_and_nothing_else(p, layout, dtype):
    for name, (op, shape, call) in calls(p, dtype).items():
        for isa, algorithm in each_way(dtype):
            if op and declines(p, algorithm, op, dtype):
                continue
            if not op and (algorithm not in ("auto", "reference")):
                continue
            out = room_for(shape, dtype, layout)
            whole = out if out.base is None else out.base
            assert np.isnan(whole).all()
            assert call(out=out, algorithm=algorithm) is out
            assert np.array_equal(out, call(algorithm=algorithm)), (name, isa, algorithm)  # no NaN is left in it
            assert np.isnan(whole).sum() == whole.size - out.size, (name, isa, algorithm)


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "a window", "every second"])
def test_nothing_is_written_beside_any_number_of_channels(layout, isa):
    for co in range(1, 50):
        for p in (Problem((5, 6), (2, 3), 2, 1, 3, co), Problem((5, 3), (2, 1), 1, 2, 3, co)):
            room = room_for((p.batch + 1, p.groups * co + 3, 6, 8), "float32", layout)
            out = room[(slice(p.batch), slice(1, 1 + p.groups * co), *(slice(1, n + 1) for n in p.y_shape[2:]))]
            for algorithm in ("im2win", "im2col"):
                room[...] = np.nan
                omniconv.conv2d(p.x(), p.w(), out=out, algorithm=algorithm, groups=p.groups)
                assert np.isnan(room).sum() == room.size - out.size, (co, algorithm)
                assert not np.isnan(out).any(), (co, algorithm)


@given(p=problems(), layout=st.sampled_from(LAYOUTS))
def test_out_of_layout_nhwc(p, layout):
    x, w = np.moveaxis(p.x(), 1, -1).copy(), p.w()
    want = function("conv{}", p.nd)(x, w, layout="NHWC", **p.options)
    out = room_for(want.shape, "float32", layout)
    assert function("conv{}", p.nd)(x, w, layout="NHWC", out=out, **p.options) is out
    assert np.array_equal(out, want)
    g = np.moveaxis(p.g(), 1, -1).copy()
    out = room_for(x.shape, "float32", layout)
    assert function("conv{}_grad_input", p.nd)(g, w, x.shape, layout="NHWC", out=out, **p.options) is out
    assert np.array_equal(out, function("conv{}_grad_input", p.nd)(g, w, x.shape, layout="NHWC", **p.options))


@given(p=problems(), layout=st.sampled_from(["nchw", "every second", "backwards", "a window", "unaligned"]))
def test_out_of_the_gradient_of_the_bias(p, layout):
    g, out = p.g(), room_for(p.y_shape[1:2], "float32", layout)
    assert omniconv.conv_grad_bias(g, out=out) is out
    assert np.array_equal(out, omniconv.conv_grad_bias(g))


@given(p=problems(), dtype=DTYPES)
def test_inputs_are_neither_written_nor_need_be_writable(p, dtype):
    operands = [p.x(dtype), p.w(dtype), p.g(dtype), p.array("b", p.y_shape[1:2], dtype), p.array("r", p.y_shape, dtype)]
    before = [a.copy() for a in operands]
    for a in operands:
        a.flags.writeable = False
    x, w, g, b, r = operands
    for _, algorithm in each_way(dtype):
        if not declines(p, algorithm, dtype=dtype):
            function("conv{}", p.nd)(x, w, b, scale=b, residual=r, algorithm=algorithm, **p.options)
        if not declines(p, algorithm, "grad_input", dtype):
            function("conv{}_grad_input", p.nd)(g, w, p.x_shape, algorithm=algorithm, **p.options)
        if not declines(p, algorithm, "grad_weight", dtype):
            function("conv{}_grad_weight", p.nd)(g, x, p.w_shape, algorithm=algorithm, **p.options)
    function("plan_conv{}", p.nd)(p.x_shape, w, b, **p.options)(x)
    omniconv.conv_grad_bias(g)
    assert all(np.array_equal(a, c) for a, c in zip(operands, before, strict=True))


def fill_workspaces_with_nan() -> None:
    """Leaves NaN in the scratch memory of all threads."""
    p = Problem((24, 24), (3, 3), 1, 1, 16, 32, padding=((1, 1), (1, 1)))
    x, w, g = (np.full(shape, np.nan, np.float32) for shape in (p.x_shape, p.w_shape, p.y_shape))
    for algorithm in ("im2win", "im2col", "im2win_full"):
        omniconv.conv2d(x, w, algorithm=algorithm, **p.options)
    omniconv.conv2d_grad_weight(g, x, p.w_shape, **p.options)
    omniconv.conv2d_grad_input(g, w, p.x_shape, **p.options)


@settings(max_examples=30)
@given(data=st.data(), mode=st.sampled_from(MODES))
def test_no_result_depends_on_what_was_in_memory(data, mode, isa):
    p = data.draw(problems(modes=[mode]))
    for name, (op, _, call) in calls(p, "float32").items():
        for algorithm in ("auto", "im2win", "im2win_full", "im2col"):
            if op and not declines(p, algorithm, op):
                want = call(algorithm=algorithm)
                fill_workspaces_with_nan()
                assert np.array_equal(call(algorithm=algorithm), want), (name, algorithm)


# ---- NaN and infinity ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@settings(max_examples=20)
@given(p=problems(), at=st.integers(0, 2**31))
def test_one_value_that_is_not_finite_reaches_what_it_takes_part_in(value, p, at):
    x, w, g = p.x(), p.w(), p.g()
    for op, operand in (("forward", x), ("grad_input", g), ("grad_weight", x), ("grad_weight", g)):
        mark = np.zeros_like(operand)
        mark.flat[at % mark.size] = 1
        dirty = np.where(mark == 1, np.float32(value), operand)
        ones = np.ones_like
        if op == "forward":
            reached = forward(p, mark, ones(w)) > 0
            clean, got = ((lambda a, v=v: function("conv{}", p.nd)(v, w, algorithm=a, **p.options)) for v in (x, dirty))
        elif op == "grad_input":
            reached = gradients(p, x, ones(w), mark)[0] > 0
            clean, got = (
                (lambda a, v=v: function("conv{}_grad_input", p.nd)(v, w, p.x_shape, algorithm=a, **p.options))
                for v in (g, dirty)
            )
        else:
            pair = (mark, ones(g)) if operand is x else (ones(x), mark)
            reached = gradients(p, pair[0], w, pair[1])[1] > 0
            first, second = ((g, x), (g, dirty)) if operand is x else ((g, x), (dirty, x))
            clean, got = (
                (lambda a, v=v: function("conv{}_grad_weight", p.nd)(*v, p.w_shape, algorithm=a, **p.options))
                for v in (first, second)
            )
        for isa, algorithm in each_way():
            if declines(p, algorithm, op):
                continue
            result = got(algorithm)
            assert not np.isfinite(result[reached]).any(), (op, isa, algorithm)
            if op == "grad_weight":
                # A weight of the same channels multiplies it by the zeros of the border where it is not part of it.
                own = own_weights(p, mark, operand is x)
                assert np.array_equal(result[~own], clean(algorithm)[~own]), (op, isa, algorithm)
            elif algorithm in ("auto", "fft") or algorithm.startswith("winograd"):
                # Outputs of such a tile or image are computed in another way: the same numbers, in other last bits.
                want = clean(algorithm)
                assert np.abs(result - want)[~reached].max(initial=0) <= 1e-5 * np.abs(want).max(), (op, isa, algorithm)
            else:
                assert np.array_equal(result[~reached], clean(algorithm)[~reached]), (op, isa, algorithm)


def own_weights(p: Problem, mark: np.ndarray, of_x: bool) -> np.ndarray:
    """The weights that multiply the channel in which the mark is."""
    own = np.zeros(p.w_shape, bool)
    channel = int(np.argwhere(mark)[0][1])
    if of_x:
        group = channel // p.ci
        own[group * p.co : (group + 1) * p.co, channel % p.ci] = True
    else:
        own[channel] = True
    return own


@settings(max_examples=20)
@given(p=problems(), at=st.integers(0, 2**31))
def test_nan_in_weight_or_epilogue_stays_in_its_channel(p, at):
    x, r = p.x(), p.array("r", p.y_shape)
    channels = p.y_shape[1]
    channel = at % channels
    others = np.arange(channels) != channel
    b = p.array("b", (channels,))
    for isa, algorithm in each_way():
        if declines(p, algorithm):
            continue
        convolve = function("conv{}", p.nd)

        def run(x, w, b, s, r, convolve=convolve, algorithm=algorithm):
            return convolve(x, w, b, scale=s, residual=r, activation="relu", algorithm=algorithm, **p.options)

        clean = run(x, p.w(), b, b, r)
        for argument in ("w", "b", "s", "r"):
            w, bias, scale, residual = p.w(), b.copy(), b.copy(), r.copy()
            dirty = {"w": w[channel], "b": bias[channel : channel + 1], "s": scale[channel : channel + 1],
                     "r": residual[:, channel]}[argument]  # fmt: skip
            dirty[...] = np.nan
            got = run(x, w, bias, scale, residual)
            # Weights may decide how all of a problem is computed; nothing else may.
            compare = np.array_equal if argument != "w" else partial(np.allclose, rtol=1e-4, atol=1e-4)
            assert compare(got[:, others], clean[:, others]), (argument, isa, algorithm)
            if argument != "w":  # of a window that sees nothing but border, the reference makes no product
                assert np.isnan(got[:, channel]).all(), (argument, isa, algorithm)


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "leaky_relu", "silu", "gelu", "gelu_tanh", "quick_gelu",
                                        "hardswish", "sigmoid", "tanh"])  # fmt: skip
@pytest.mark.parametrize("algorithm", ["im2win", "reference"])
def test_activations_pass_nan_on(activation, algorithm, isa):
    x = np.full((1, 3, 20), np.nan, np.float32)
    y = omniconv.conv1d(x, np.ones((18, 3, 1), np.float32), activation=activation, algorithm=algorithm)
    assert np.isnan(y).all()


# ---- no images -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(p=problems(batch=0), layout=st.sampled_from(["nchw", "nhwc"]))
def test_zero_images(p, layout, dtype):
    x, w, g = laid_out(p.x(dtype), layout), p.w(dtype), laid_out(p.g(dtype), layout)
    for _, algorithm in each_way(dtype):
        if not declines(p, algorithm, dtype=dtype):
            y = function("conv{}", p.nd)(x, w, algorithm=algorithm, **p.options)
            assert y.shape == p.y_shape
        if not declines(p, algorithm, "grad_input", dtype):
            dx = function("conv{}_grad_input", p.nd)(g, w, p.x_shape, algorithm=algorithm, **p.options)
            assert dx.shape == p.x_shape
        if not declines(p, algorithm, "grad_weight", dtype):
            dw = function("conv{}_grad_weight", p.nd)(g, x, p.w_shape, algorithm=algorithm, **p.options)
            assert np.array_equal(dw, np.zeros(p.w_shape))
    assert np.array_equal(omniconv.conv_grad_bias(g), np.zeros(p.y_shape[1]))
    assert function("plan_conv{}", p.nd)(p.x_shape, w, **p.options)(x).shape == p.y_shape
    last = np.moveaxis(x, 1, -1)
    assert function("conv{}", p.nd)(last, w, layout="NHWC", **p.options).shape == (0, *p.y_shape[2:], p.y_shape[1])
