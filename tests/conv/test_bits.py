"""The same bits: for any number of threads, any batch, any memory layout, and every time."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import omniconv
from tests.conv.problems import EMULATED, Problem, declines, each_way, function, laid_out, problems

# Sizes with several blocks of work: what is cut differently for 1, 2 and 3 threads.
LARGER = {
    "7x7 stride 2": Problem((27, 30), (7, 7), 3, 1, 3, 20, (2, 2), padding=((3, 3), (3, 3))),
    "3x3": Problem((10, 14), (3, 3), 3, 1, 60, 40, padding=((1, 1), (1, 1))),
    "depthwise": Problem((14, 17), (5, 5), 3, 20, 1, 1, padding=((2, 2), (2, 2))),
    "depthwise, many taps": Problem((20, 35), (15, 15), 2, 3, 1, 1, padding=((7, 7), (7, 7))),
    "groups": Problem((13, 16), (3, 3), 3, 3, 6, 9, (2, 2), padding=((1, 1), (1, 1)), mode="reflect"),
    "1x1": Problem((7, 10), (1, 1), 3, 1, 130, 70),
    "long row": Problem((5000,), (9,), 3, 1, 4, 6, padding=((8, 0),)),
    "volume": Problem((6, 7, 9), (3, 3, 3), 2, 1, 5, 18, padding=((1, 1), (1, 1), (1, 1)), mode="circular"),
    "few pixels, many channels": Problem((3, 3), (3, 3), 3, 1, 70, 300, padding=((1, 1), (1, 1))),
    "many blocks": Problem((230, 12), (5, 5), 2, 1, 5, 5, (2, 2)),
}

if EMULATED:  # a thread takes microseconds there; tiles, blocks of terms and parts are those of CUDA
    LARGER = {
        "7x7 stride 2": Problem((15, 14), (7, 7), 3, 1, 3, 20, (2, 2), padding=((3, 3), (3, 3))),
        "3x3": Problem((6, 7), (3, 3), 3, 1, 60, 50, padding=((1, 1), (1, 1))),
        "depthwise": Problem((9, 8), (5, 5), 3, 6, 1, 1, padding=((2, 2), (2, 2))),
        "groups": Problem((7, 8), (3, 3), 3, 2, 6, 9, (2, 2), padding=((1, 1), (1, 1)), mode="reflect"),
        "long row": Problem((700,), (9,), 3, 1, 2, 3, padding=((8, 0),)),
        "volume": Problem((4, 5, 6), (3, 3, 3), 3, 1, 2, 5, padding=((1, 1), (1, 1), (1, 1)), mode="circular"),
    }

UNUSUAL = [1e-42, 1e-30, 1e-16, 1e-15, 1e18, 1e19, 1e30, 3e38, -1e-40, -2e38]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def with_unusual_values(array: np.ndarray) -> np.ndarray:
    """Tiny and huge numbers here and there: what kernels of several parts or ranges might treat apart."""
    array = array.copy()
    places = np.random.default_rng(7).integers(0, array.size, len(UNUSUAL))
    array.reshape(-1)[places] = UNUSUAL
    return array


def check_same(p: Problem, run: Callable[[str], np.ndarray], op: str) -> None:
    for isa, algorithm in each_way():
        if declines(p, algorithm, op):
            continue
        omniconv.set_num_threads(1)
        want = run(algorithm)
        for threads in (2, 3, 1):
            omniconv.set_num_threads(threads)
            assert same(run(algorithm), want), (isa, algorithm, threads)


def check_threads(p: Problem, change: Callable = lambda a: a) -> None:
    x, w, g, b, r = change(p.x()), p.w(), change(p.g()), p.array("b", p.y_shape[1:2]), p.array("r", p.y_shape)
    nd, how = p.nd, p.options
    check_same(p, lambda a: function("conv{}", nd)(x, w, algorithm=a, **how), "forward")
    finish = {"bias": b, "residual": r, "activation": "silu"}
    check_same(p, lambda a: function("conv{}", nd)(x, w, algorithm=a, **finish, **how), "forward")
    check_same(p, lambda a: function("conv{}_grad_input", nd)(g, w, p.x_shape, algorithm=a, **how), "grad_input")
    check_same(p, lambda a: function("conv{}_grad_weight", nd)(g, x, p.w_shape, algorithm=a, **how), "grad_weight")
    check_same(p, lambda a: omniconv.conv_grad_bias(g), "forward")


on_threads = pytest.mark.skipif(EMULATED, reason="the emulator's blocks run one after the other")


@on_threads
@pytest.mark.parametrize("name", LARGER)
def test_any_number_of_threads_on_larger_problems(name):
    check_threads(LARGER[name])


@on_threads
@settings(max_examples=20)
@given(p=problems())
def test_any_number_of_threads(p):
    check_threads(p)


@pytest.mark.parametrize("name", LARGER)
def test_unusual_values(name):
    """The sums that take part in them overflow or lose digits, alike in every block, and no other sum does."""
    p = LARGER[name]
    if not EMULATED:
        check_threads(p, with_unusual_values)
    check_batch(p, [1], with_unusual_values)


def check_batch(p: Problem, cuts: list[int], change: Callable = lambda a: a) -> None:
    x, w, g = change(p.x()), p.w(), change(p.g())
    pieces = list(zip([0, *cuts], [*cuts, p.batch], strict=True))

    def forward(a: str, i: slice) -> np.ndarray:
        return function("conv{}", p.nd)(x[i], w, algorithm=a, **p.options)

    def grad_input(a: str, i: slice) -> np.ndarray:
        return function("conv{}_grad_input", p.nd)(g[i], w, x[i].shape, algorithm=a, **p.options)

    for threads in (1,) if EMULATED else (1, 2):
        omniconv.set_num_threads(threads)
        for isa, algorithm in each_way():
            for op, run in (("forward", forward), ("grad_input", grad_input)):
                if not declines(p, algorithm, op):
                    together = run(algorithm, slice(None))
                    parts = np.concatenate([run(algorithm, slice(*piece)) for piece in pieces])
                    assert same(parts, together), (isa, algorithm, op, threads)


@pytest.mark.parametrize("name", LARGER)
def test_batch_in_pieces_on_larger_problems(name):
    p = LARGER[name]
    check_batch(p, [1] if p.batch == 2 else [2] if p.batch == 3 else [2, 3])


@settings(max_examples=25)
@given(p=problems(batch=4), cut=st.integers(0, 4))
def test_batch_in_pieces(p, cut):
    check_batch(p, [cut])


@pytest.mark.parametrize("name", LARGER)
def test_larger_problems_in_both_layouts(name):
    check_layouts(LARGER[name])


@settings(max_examples=25)
@given(p=problems())
def test_both_layouts(p):
    check_layouts(p)


def check_layouts(p: Problem) -> None:
    x, w, g = p.x(), p.w(), p.g()
    inside, g_inside = laid_out(x, "nhwc"), laid_out(g, "nhwc")
    last = np.moveaxis(inside, 1, -1)
    convolve = function("conv{}", p.nd)
    for isa, algorithm in each_way():
        if not declines(p, algorithm):
            want = convolve(x, w, algorithm=algorithm, **p.options)
            assert np.array_equal(convolve(inside, w, algorithm=algorithm, **p.options), want), (isa, algorithm)
            shaped = convolve(last, w, algorithm=algorithm, layout="NHWC", **p.options)
            assert np.array_equal(np.moveaxis(shaped, -1, 1), want), (isa, algorithm)
        if not declines(p, algorithm, "grad_input"):
            run = function("conv{}_grad_input", p.nd)
            want = run(g, w, p.x_shape, algorithm=algorithm, **p.options)
            assert np.array_equal(run(g_inside, w, p.x_shape, algorithm=algorithm, **p.options), want), (isa, algorithm)
        if not declines(p, algorithm, "grad_weight"):
            run = function("conv{}_grad_weight", p.nd)
            want = run(g, x, p.w_shape, algorithm=algorithm, **p.options)
            assert np.array_equal(run(g_inside, inside, p.w_shape, algorithm=algorithm, **p.options), want)


@settings(max_examples=30)
@given(p=problems())
def test_plans_and_functions(p):
    x, w, b = p.x(), p.w(), p.array("b", p.y_shape[1:2])
    for isa, algorithm in each_way():
        # "auto" counts what it costs a function to pack weights, and may choose otherwise for a plan.
        if algorithm != "auto" and not declines(p, algorithm):
            how = {**p.options, "algorithm": algorithm, "activation": "relu6"}
            plan = function("plan_conv{}", p.nd)(p.x_shape, w, b, **how)
            want = function("conv{}", p.nd)(x, w, b, **how)
            assert np.array_equal(plan(x), want), (isa, algorithm)
            assert np.array_equal(plan(x), want), (isa, algorithm)


@pytest.mark.skipif(EMULATED, reason="tiles of rows of pixels are the CPU's")
@pytest.mark.parametrize("taps", [3, 5])
def test_planes_of_any_height_have_the_bits_of_im2win(taps):
    """Rows are cut into tiles by the height of the plane; widths are those of one to four vectors."""
    before, rng = omniconv.isa(), np.random.default_rng(2)
    try:
        for isa in omniconv.available_isas():
            omniconv.set_isa(isa)
            for height in range(1, 21):
                for width in (5, 23, 37, 50):
                    x = rng.standard_normal((2, 3, height, width), np.float32)
                    w, bias = rng.standard_normal((3, 1, taps, taps), np.float32), np.ones(3, np.float32)
                    for options in ({}, {"bias": bias, "activation": "relu"}):
                        how = {"groups": 3, "padding": taps // 2, **options}
                        y = omniconv.conv2d(x, w, algorithm="planar", **how)
                        assert np.array_equal(y, omniconv.conv2d(x, w, algorithm="im2win", **how)), (isa, x.shape)
    finally:
        omniconv.set_isa(before)


@pytest.mark.skipif(EMULATED, reason="kernels of the CPU")
@pytest.mark.parametrize("taps", [(3, 3), (1, 5), (3, 2, 3)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_at_any_address(isa, taps, stride):
    """Channels that begin with a vector are read in place, others are copied: the sums are those of im2win."""
    shape = (2, *(9, 17, 12)[-len(taps) :], 32)
    rng = np.random.default_rng(3)
    memory = np.zeros(np.prod(shape) + 32, np.float32)
    values = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((32, 1, *taps), np.float32)
    options = {"groups": 32, "padding": [t // 2 + 1 for t in taps], "stride": stride, "layout": "NHWC"}
    convolve = function("conv{}", len(taps))
    want = convolve(values, weight, algorithm="im2win", **options)
    for shift in (0, 1):
        begin = -memory.ctypes.data % 64 // 4 + shift
        x = memory[begin : begin + values.size].reshape(shape)
        x[...] = values
        assert np.array_equal(convolve(x, weight, algorithm="depthwise", **options), want)


# Channels in and out of a group: lanes that pick from a vector of whole groups, and groups of whole vectors; 70
# channels cut a sum after 512 terms, within a tap.
@pytest.mark.skipif(EMULATED, reason="kernels of the CPU")
@pytest.mark.parametrize("channels", [(26, 8, 8), (5, 4, 4), (9, 1, 2), (3, 5, 8), (2, 16, 48), (2, 70, 16)], ids=str)
def test_groups_have_the_bits_of_im2win(isa, channels):
    groups, ci, co = channels
    rng = np.random.default_rng(4)
    for taps, stride, dilation, size in [
        ((3, 3), 1, 1, (9, 11)), ((3, 3), 2, 1, (14, 5)), ((5, 4), 1, 2, (15, 13)), ((4, 2), 3, 1, (13, 9)),
        ((9,), 1, 1, (21,)), ((3, 3, 2), 1, 1, (4, 5, 6)),
    ]:  # fmt: skip
        w = rng.standard_normal((groups * co, ci, *taps), np.float32)
        padding, n = [t // 2 * dilation for t in taps], len(taps)
        options = {"groups": groups, "stride": stride, "padding": padding, "dilation": dilation}
        options["layout"] = ("NLC", "NHWC", "NDHWC")[n - 1]
        x = rng.standard_normal((2, *size, groups * ci), np.float32)
        convolve, back = function("conv{}", n), function("conv{}_grad_input", n)
        for more in ({}, {"bias": rng.standard_normal(groups * co, np.float32), "activation": "relu"}):
            want = convolve(x, w, algorithm="im2win", **options, **more)
            out = np.full_like(want, np.nan)
            convolve(x, w, algorithm="grouped", out=out, **options, **more)
            assert np.array_equal(out, want), (taps, stride, dilation)
        if ci == co and stride == 1:  # the weights of a group are then not evenly spaced
            got, want = (back(want, w, x.shape, algorithm=a, **options) for a in ("grouped", "im2win"))
            assert np.array_equal(got, want), (taps, dilation)


@pytest.mark.skipif(EMULATED, reason="kernels of the CPU")
@pytest.mark.parametrize("channels", [24, 64, 200])
def test_sequences_of_any_length_have_the_bits_of_im2win(isa, channels):
    rng = np.random.default_rng(6)
    for taps, stride, dilation, mode in [(3, 1, 1, "zeros"), (7, 2, 1, "zeros"), (4, 1, 5, "circular")]:
        x = rng.standard_normal((2, 1501, channels), np.float32)
        w = rng.standard_normal((channels, 1, taps), np.float32)
        options = {"groups": channels, "stride": stride, "padding": taps, "dilation": dilation, "padding_mode": mode}
        for more in ({}, {"bias": rng.standard_normal(channels, np.float32), "activation": "silu"}):
            want = omniconv.conv1d(x, w, algorithm="im2win", layout="NLC", **options, **more)
            for part in (x, np.pad(x, ((0, 0), (0, 0), (1, 2)))[..., 1:-2]):
                out = np.full_like(want, np.nan)
                omniconv.conv1d(part, w, algorithm="depthwise", layout="NLC", out=out, **options, **more)
                assert np.array_equal(out, want), (taps, stride, dilation, mode)
    long = omniconv.algorithms((1, 1 << 20, channels), (channels, 1, 3), groups=channels, padding=1, layout="NLC")
    assert next(a for a in long if a.name == "depthwise").usable
