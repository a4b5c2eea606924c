"""The forward convolution against float64 torch, scipy and jax."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
import torch.nn.functional as F
from hypothesis import given, settings

import omniconv
from tests.conv.problems import (
    LAYOUTS,
    MODES,
    Problem,
    assert_close,
    channels_inside,
    declines,
    each_way,
    forward,
    function,
    laid_out,
    problems,
)  # fmt: skip


def check_each_way(p: Problem, x: np.ndarray, w: np.ndarray, dtype: str = "float32") -> None:
    """Every algorithm on every instruction set: the right numbers, or an error that carries the reason."""
    want, magnitude = forward(p, x, w), forward(p, np.abs(x), np.abs(w))
    convolve = function("conv{}", p.nd)
    for isa, algorithm in each_way(dtype):
        if reason := declines(p, algorithm, dtype=dtype, channels_last=channels_inside(x)):
            with pytest.raises(NotImplementedError) as error:
                convolve(x, w, **p.options, algorithm=algorithm)
            assert reason in str(error.value)
            assert algorithm in str(error.value)
        else:
            got = convolve(x, w, **p.options, algorithm=algorithm)
            assert_close(got, want, magnitude, dtype, how=(isa, algorithm))


@settings(max_examples=120)
@given(p=problems(), layout=st.sampled_from(LAYOUTS))
def test_any_problem_in_any_layout(p, layout):
    check_each_way(p, laid_out(p.x(), layout), laid_out(p.w(), layout))


@given(p=problems(), layout=st.sampled_from(LAYOUTS))
def test_float64_is_computed_in_float64(p, layout):
    check_each_way(p, laid_out(p.x("float64"), layout), laid_out(p.w("float64"), layout), "float64")


@given(p=problems(), axis=st.integers(0, 4))
def test_broadcast_operands(p, axis):
    """A stride of zero: one element stands for a whole axis."""
    axis %= p.nd + 2
    x = np.broadcast_to(np.take(p.x(), [0], axis=axis), p.x_shape)
    check_each_way(p, x, p.w())
    w = np.broadcast_to(np.take(p.w(), [0], axis=axis), p.w_shape)
    check_each_way(p, p.x(), w)


@given(p=problems())
def test_conv_takes_the_rank_from_weight(p):
    x, w = p.x(), p.w()
    assert np.array_equal(omniconv.conv(x, w, **p.options), function("conv{}", p.nd)(x, w, **p.options))


@given(p=problems())
def test_layout_argument(p):
    """layout="NHWC": the same numbers, with shapes in that order."""
    x, w = p.x(), p.w()
    want, magnitude = (np.moveaxis(y, 1, -1) for y in (forward(p, x, w), forward(p, np.abs(x), np.abs(w))))
    x = np.moveaxis(x, 1, -1).copy()
    for isa, algorithm in each_way():
        if not declines(p, algorithm, channels_last=True):
            got = function("conv{}", p.nd)(x, w, layout="NHWC", algorithm=algorithm, **p.options)
            assert got.flags.c_contiguous
            assert_close(got, want, magnitude, "float32", how=(isa, algorithm))


@given(p=problems())
def test_result_lies_in_memory_as_the_input_does(p):
    w = p.w()
    assert function("conv{}", p.nd)(p.x(), w, **p.options).flags.c_contiguous
    if p.groups * p.ci > 1 and any(n > 1 for n in p.size):  # else x lies both ways
        y = function("conv{}", p.nd)(laid_out(p.x(), "nhwc"), w, **p.options)
        assert np.moveaxis(y, 1, -1).flags.c_contiguous


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arguments_are_the_same_however_they_are_written(layout):
    p = Problem((9, 9), (3, 3), 2, 2, 3, 5, (2, 2), (1, 1), ((1, 1), (1, 1)))
    x, w = p.x(), laid_out(p.w(), layout)
    want = omniconv.conv2d(x, w, **p.options)
    for padding in (1, (1,), (1, 1), [1, 1], ((1, 1), (1, 1)), [[1, 1], [1, 1]], np.int64(1)):
        for stride in (2, (2,), [2, 2], np.int32(2)):
            got = omniconv.conv2d(x, w, None, stride=stride, padding=padding, groups=np.uint8(2))
            assert np.array_equal(got, want)


# ---- words for padding -----------------------------------------------------------------------------------------------


@given(p=problems(modes=["zeros", "replicate"]))
def test_valid_and_causal(p):
    x, w, how = p.x(), p.w(), {**p.options}
    del how["padding"]
    pads = tuple((n - 1, 0) for n in p.windows)
    convolve = function("conv{}", p.nd)
    assert np.array_equal(convolve(x, w, padding="causal", **how), convolve(x, w, padding=pads, **how))
    if all(n >= k for n, k in zip(p.size, p.windows, strict=True)):
        assert np.array_equal(convolve(x, w, padding="valid", **how), convolve(x, w, **how))


@given(p=problems(modes=["zeros"]))
def test_same_is_that_of_jax(p):
    jax, x, w = pytest.importorskip("jax"), p.x(), p.w()
    got = function("conv{}", p.nd)(x, w, stride=p.stride, dilation=p.dilation, groups=p.groups, padding="same")

    pads = jax.lax.padtype_to_pads(p.size, p.windows, p.stride, "SAME")
    same = replace(p, padding=tuple(map(tuple, pads)))
    assert_close(got, forward(same, x, w), forward(same, np.abs(x), np.abs(w)), "float32")


@given(p=problems(modes=["zeros"]))
def test_same_is_that_of_torch(p):
    x, w = torch.from_numpy(p.x("float64")), torch.from_numpy(p.w("float64"))
    options = {"padding": "same", "dilation": p.dilation, "groups": p.groups}
    want = (F.conv1d, F.conv2d, F.conv3d)[p.nd - 1](x, w, **options)
    magnitude = (F.conv1d, F.conv2d, F.conv3d)[p.nd - 1](x.abs(), w.abs(), **options)
    assert_close(function("conv{}", p.nd)(x, w, **options).numpy(), want.numpy(), magnitude.numpy(), "float64")


# ---- another oracle --------------------------------------------------------------------------------------------------


@given(p=problems(modes=["zeros"], batch=1))
def test_one_channel_is_scipys_correlate(p):
    x, w = p.x("float64")[0, 0], p.w("float64")[0, 0]
    if any(n < k for n, k in zip(x.shape, w.shape, strict=True)):
        return
    got = omniconv.conv(x[None, None], w[None, None])[0, 0]
    assert_close(got, scipy.signal.correlate(x, w, "valid", "direct"), np.full(got.shape, 50.0), "float64")


@pytest.mark.parametrize("mode", MODES)
@given(p=problems(batch=1), odd=st.tuples(*[st.sampled_from([1, 3, 5])] * 3))
def test_borders_are_those_of_scipys_filters(mode, p, odd):
    kernel = odd[: p.nd]
    size = tuple(max(n, k // 2 + 1) for n, k in zip(p.size, kernel, strict=True))
    x, w = p.array("x", size, "float64"), p.array("w", kernel, "float64")
    pads = [k // 2 for k in kernel]
    got = omniconv.conv(x[None, None], w[None, None], padding=pads, padding_mode=mode)[0, 0]
    word = {"zeros": "constant", "reflect": "mirror", "replicate": "nearest", "circular": "grid-wrap"}[mode]
    assert_close(got, scipy.ndimage.correlate(x, w, mode=word), np.full(size, 50.0), "float64")


# ---- sizes at which kernels change their ways ------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_number_of_channels(layout):
    for ci in range(1, 50):
        p = Problem((5, 4), (2, 3), 1, 1, ci, (ci * 16) % 49 + 1, padding=((0, 1), (1, 1)), seed=ci)
        check_each_way(p, laid_out(p.x(), layout), p.w())


@pytest.mark.parametrize("terms", [510, 511, 512, 513, 514, 1023, 1024, 1025, 1536, 1537])
def test_numbers_of_terms_around_the_blocks_of_a_sum(terms):
    for taps in (k for k in (1, 2, 3, 5, terms) if terms % k == 0):
        p = Problem((taps + 4,), (taps,), 2, 1, terms // taps, 18, seed=terms)
        check_each_way(p, laid_out(p.x(), "nhwc"), p.w())


SPECIAL = {
    "1x1": Problem((9, 7), (1, 1), 2, 1, 33, 40),
    "1x1 with stride": Problem((9, 7), (1, 1), 2, 1, 33, 40, (2, 3)),
    "1x1 on one pixel": Problem((1, 1), (1, 1), 1, 1, 65, 17),
    "kernel of the size of the input": Problem((6, 7), (6, 7), 3, 1, 5, 9),
    "kernel larger than the input": Problem((3, 2), (7, 6), 2, 1, 3, 4, padding=((2, 2), (3, 1))),
    "windows that see only border": Problem((2, 2), (2, 2), 1, 1, 3, 4, (1, 1), (1, 1), ((5, 6), (4, 5))),
    "31x31 depthwise": Problem((33, 35), (31, 31), 1, 3, 1, 1, padding=((15, 15), (15, 15))),
    "127 taps": Problem((200,), (127,), 2, 2, 3, 4, padding=((126, 0),)),
    "11x11 with stride 4": Problem((40, 39), (11, 11), 1, 1, 3, 20, (4, 4)),
    "stride larger than the window": Problem((30, 31), (2, 2), 2, 1, 4, 5, (7, 5)),
    "dilation larger than the input": Problem((5,), (3,), 2, 1, 4, 5, (1,), (9,), ((8, 8),)),
    "depthwise": Problem((14, 13), (3, 3), 2, 37, 1, 1, padding=((1, 1), (1, 1))),
    "depthwise with multiplier": Problem((14, 13), (3, 3), 2, 11, 1, 3, padding=((1, 1), (1, 1))),
    "many images of one pixel": Problem((1,), (1,), 70, 1, 3, 5),
    "more rows than a block": Problem((300, 3), (3, 3), 1, 1, 2, 2, padding=((1, 1), (1, 1))),
    "a long row": Problem((4000,), (3,), 1, 1, 2, 3, padding=((1, 1),)),
    "one output": Problem((5, 5, 5), (5, 5, 5), 1, 1, 7, 8),
    "many planes": Problem((9, 3, 3), (3, 1, 2), 2, 1, 16, 16, (2, 1, 1), (2, 1, 1), ((1, 2), (0, 0), (1, 0))),
}


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("name", SPECIAL)
def test_special_shapes(name, layout):
    p = SPECIAL[name]
    check_each_way(p, laid_out(p.x(), layout), p.w())


# ---- epilogue --------------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    None: lambda v, _: v,
    "relu": lambda v, _: F.relu(v),
    "relu6": lambda v, _: F.relu6(v),
    "leaky_relu": lambda v, slope: F.leaky_relu(v, slope),
    "silu": lambda v, _: F.silu(v),
    "gelu": lambda v, _: F.gelu(v),
    "gelu_tanh": lambda v, _: F.gelu(v, approximate="tanh"),
    "quick_gelu": lambda v, _: v * torch.sigmoid(1.702 * v),
    "hardswish": lambda v, _: F.hardswish(v),
    "sigmoid": lambda v, _: torch.sigmoid(v),
    "tanh": lambda v, _: torch.tanh(v),
}


def finish(p: Problem, total: np.ndarray, extra: dict, activation: str | None, slope: float) -> np.ndarray:
    """activation(scale * total + bias + residual) in float64."""
    along = (1, -1) + (1,) * p.nd
    value = torch.from_numpy(total)
    if "scale" in extra:
        value = value * torch.from_numpy(extra["scale"].astype(np.float64).reshape(along))
    if "bias" in extra:
        value = value + torch.from_numpy(extra["bias"].astype(np.float64).reshape(along))
    if "residual" in extra:
        value = value + torch.from_numpy(extra["residual"].astype(np.float64))
    return ACTIVATIONS[activation](value, slope).numpy()


def epilogue_of(p: Problem, shape: tuple[int, ...], present: set, layout: str, dtype: str) -> dict:
    extra = {name: p.array(name, shape[1:2], dtype) for name in ("scale", "bias") if name in present}
    if layout == "every second":
        extra = {name: laid_out(v, layout) for name, v in extra.items()}
    if "residual" in present:
        extra["residual"] = laid_out(p.array("residual", shape, dtype), layout)
    return extra


def check_epilogue(got, total, magnitude, p, extra, activation, slope, dtype, how) -> None:
    extent = finish(p, magnitude, {k: np.abs(v) for k, v in extra.items()}, None, 0.0)
    # The slopes of all activations are at most 2; near zero, sigmoid and its kin err by a rounding of one.
    bound = 2 * extent + 0.5 * (activation is not None)
    assert_close(got, finish(p, total, extra, activation, slope), bound, dtype, how=how)


EPILOGUES = {
    "activation": st.sampled_from(list(ACTIVATIONS)),
    "present": st.sets(st.sampled_from(["scale", "bias", "residual"])),
    "layout": st.sampled_from(LAYOUTS),
    "x_layout": st.sampled_from(["nchw", "nhwc", "every second"]),
    "slope": st.floats(-2, 2, width=32),
    "dtype": st.sampled_from(["float32", "float32", "float64"]),
}


@settings(max_examples=80)
@given(p=problems(), **EPILOGUES)
def test_epilogue(p, activation, present, layout, x_layout, slope, dtype):
    x, w = laid_out(p.x(dtype), x_layout), p.w(dtype)
    total, magnitude = forward(p, x, w), forward(p, np.abs(x), np.abs(w))
    extra = epilogue_of(p, p.y_shape, present, layout, dtype)
    for isa, algorithm in each_way(dtype):
        if not declines(p, algorithm, dtype=dtype, channels_last=channels_inside(x)):
            got = function("conv{}", p.nd)(
                x, w, activation=activation, negative_slope=slope, algorithm=algorithm, **p.options, **extra
            )
            check_epilogue(got, total, magnitude, p, extra, activation, slope, dtype, (isa, algorithm))


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_activation_in_whole_vectors(activation, layout, isa):
    """Enough channels and pixels that no vector is partly empty, and one more of each."""
    p = Problem((5, 13), (2, 2), 2, 1, 3, 33)
    x, w, extra = laid_out(p.x(), layout), p.w(), epilogue_of(p, p.y_shape, {"bias", "residual"}, layout, "float32")
    got = omniconv.conv2d(x, w, **p.options, **extra, activation=activation)
    total, magnitude = forward(p, x, w), forward(p, np.abs(x), np.abs(w))
    check_epilogue(got, total, magnitude, p, extra, activation, 0.01, "float32", isa)


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_over_the_whole_range(activation, dtype, isa):
    """A 1x1 convolution by one shows the activation alone."""
    tiny = np.finfo(dtype).tiny
    ends = [0.0, tiny, 1e-20, 1e-3, 0.5, 3.0, 6.0, 9.0, 20.0, 88.0, 104.0, 1e4, 1e20, np.finfo(dtype).max, np.inf]
    x = np.array([*ends, *(-v for v in ends), *np.linspace(-12, 12, 2001)], dtype)
    got = omniconv.conv1d(x[None, None], np.ones((1, 1, 1), dtype), activation=activation)[0, 0]
    with np.errstate(over="ignore"):
        # Of minus infinity torch makes -inf * 0 = NaN in some of them, and so do we.
        want = ACTIVATIONS[activation](torch.from_numpy(x.astype(np.float64)), 0.01).numpy().astype(dtype)
        if activation == "hardswish" and dtype == "float32":
            want = np.where(x > np.finfo(dtype).max / 6.1, x * np.float32(6), want)  # x * 6 / 6, as in torch
    eps = np.finfo(dtype).eps
    with np.errstate(invalid="ignore"):
        near = np.abs(got - want) <= 4 * eps * (np.minimum(np.abs(x), 1e3) + np.abs(want))
    wrong = ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))
    assert not wrong.any(), np.stack([x, got, want])[:, wrong][:, :5]


# ---- transposed ------------------------------------------------------------------------------------------------------


@st.composite
def transposed(draw: st.DrawFn) -> tuple[Problem, tuple[int, ...], tuple[int, ...]]:
    """A problem of which x and y change places, output_padding, and the shape of the output."""
    p = draw(problems(modes=["zeros"]))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(p.stride, p.dilation, strict=True))
    axes = zip(p.size, p.stride, p.padding, p.windows, extra, strict=True)
    sizes = tuple((n - 1) * s - lo - hi + w + e for n, s, (lo, hi), w, e in axes)
    if min(sizes) < 1:
        p = replace(p, padding=())
        sizes = tuple((n - 1) * s + w + e for n, s, w, e in zip(p.size, p.stride, p.windows, extra, strict=True))
    return p, extra, (p.batch, p.groups * p.co, *sizes)


def transposed_oracle(p: Problem, x: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """All of the output of torch without padding, cropped, or filled with zeros where output padding has no term."""
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[p.nd - 1]
    whole = convolve(
        torch.from_numpy(x.astype(np.float64)), torch.from_numpy(w.astype(np.float64)),
        stride=p.stride, dilation=p.dilation, groups=p.groups,
    ).numpy()  # fmt: skip
    result = np.zeros(shape)
    part = whole[(..., *(slice(lo, lo + n) for (lo, _), n in zip(p.padding, shape[2:], strict=True)))]
    result[(..., *(slice(0, n) for n in part.shape[2:]))] = part
    return result


@settings(max_examples=80)
@given(t=transposed(), **EPILOGUES)
def test_transposed(t, activation, present, layout, x_layout, slope, dtype):
    p, output_padding, shape = t
    x = laid_out(p.x(dtype), x_layout)
    w = laid_out(p.array("w", (p.groups * p.ci, p.co, *p.kernel), dtype), layout)
    extra = epilogue_of(p, shape, present, layout, dtype)
    total, magnitude = transposed_oracle(p, x, w, shape), transposed_oracle(p, np.abs(x), np.abs(w), shape)
    for isa, algorithm in each_way(dtype):
        try:
            got = function("conv_transpose{}", p.nd)(
                x, w, stride=p.stride, dilation=p.dilation, groups=p.groups, padding=p.padding,
                output_padding=output_padding, algorithm=algorithm, activation=activation, negative_slope=slope,
                **extra,
            )  # fmt: skip
        except NotImplementedError as error:
            assert algorithm in str(error)
            listed = omniconv.algorithms(
                shape, w.shape, op="grad_input", dtype=dtype, stride=p.stride, dilation=p.dilation, groups=p.groups,
                padding=p.padding, output_padding=output_padding,
            )  # fmt: skip
            assert next(a.reason for a in listed if a.name == algorithm) in str(error)
        else:
            check_epilogue(got, total, magnitude, p, extra, activation, slope, dtype, (isa, algorithm))


@given(t=transposed())
def test_transposed_in_nhwc(t):
    p, output_padding, shape = t
    x, w = p.x(), p.array("w", (p.groups * p.ci, p.co, *p.kernel))
    how = {"stride": p.stride, "dilation": p.dilation, "groups": p.groups, "padding": p.padding}
    got = function("conv_transpose{}", p.nd)(
        np.moveaxis(x, 1, -1).copy(), w, output_padding=output_padding, layout="NHWC", **how
    )
    want = transposed_oracle(p, x, w, shape)
    magnitude = transposed_oracle(p, np.abs(x), np.abs(w), shape)
    assert_close(got, np.moveaxis(want, 1, -1), np.moveaxis(magnitude, 1, -1), "float32")
