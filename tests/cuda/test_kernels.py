"""What the CUDA kernels promise beside the values of tests/conv: precisions, bits, parts; on the emulator.

OMNICONV_DEVICE=emu python -m pytest tests/cuda tests/conv/test_forward.py tests/conv/test_gradients.py
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

import omniconv
from tests.conv.problems import EMULATED, SCHEDULES, Problem, forward, function, gradients, laid_out

pytestmark = pytest.mark.skipif(not EMULATED, reason="these kernels run under OMNICONV_DEVICE=emu")

PROBLEMS = {
    "3x3": Problem((9, 11), (3, 3), 2, 1, 20, 70, padding=((1, 1), (1, 1))),
    "few channels": Problem((13, 12), (5, 5), 2, 1, 3, 9, (2, 2), padding=((2, 2), (2, 2)), mode="reflect"),
    "groups": Problem((40,), (7,), 2, 3, 5, 4, (2,), (2,), ((6, 6),), mode="circular"),
    "volume": Problem((4, 5, 6), (2, 3, 3), 1, 2, 6, 5, padding=((0, 1), (1, 1), (1, 1))),
    "a long sum": Problem((6, 5), (3, 3), 2, 1, 70, 9, padding=((1, 1), (1, 1))),
    "many pixels": Problem((37, 41), (3, 2), 1, 1, 2, 5),
    "depthwise": Problem((9, 10), (3, 5), 2, 7, 1, 1, padding=((1, 1), (2, 2))),
}
OPS: dict[str, Callable[..., np.ndarray]] = {
    "forward": lambda p, x, w, g, **how: function("conv{}", p.nd)(x, w, **p.options, **how),
    "grad_input": lambda p, x, w, g, **how: function("conv{}_grad_input", p.nd)(g, w, x.shape, **p.options, **how),
    "grad_weight": lambda p, x, w, g, **how: function("conv{}_grad_weight", p.nd)(g, x, p.w_shape, **p.options, **how),
}


def wanted(p: Problem, op: str) -> np.ndarray:
    if op == "forward":
        return forward(p, p.x(), p.w())
    return gradients(p, p.x(), p.w(), p.g())[op == "grad_weight"]


def error_of(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def algorithms_of(p: Problem, op: str, precision: str) -> list[str]:
    listed = omniconv.algorithms(p.x_shape, p.w_shape, op=op, precision=precision, **p.options)
    return [a.name for a in listed if a.usable]


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("precision", "most"), [("highest", 1e-6), ("high", 2e-5), ("medium", 6e-3)])
def test_precision_and_bits(name, op, precision, most):
    """The error that is promised; the same bits under every schedule and in every layout."""
    p = PROBLEMS[name]
    x, w, g, want = p.x(), p.w(), p.g(), wanted(p, op)
    for algorithm in algorithms_of(p, op, precision):
        how = {"precision": precision, "algorithm": algorithm}
        results = []
        for i, schedule in enumerate(SCHEDULES):
            os.environ["OMNICONV_EMU_SCHEDULE"] = schedule
            layout = ["nchw", "nhwc", "every second"][i]
            results.append(OPS[op](p, laid_out(x, layout), laid_out(w, layout), laid_out(g, layout), **how))
        assert error_of(results[0], want) <= most, algorithm
        for other in results[1:]:
            assert np.array_equal(results[0], other), algorithm


@pytest.mark.parametrize("op", OPS)
def test_tensor_cores_are_taken_for_the_lower_precisions_alone(op):
    p = PROBLEMS["3x3"]
    listed = {a.name: a for a in omniconv.algorithms(p.x_shape, p.w_shape, op=op, **p.options)}
    assert "highest" in listed["tensor_cores"].reason
    for precision, least in (("medium", 1e-4), ("high", 0)):
        assert algorithms_of(p, op, precision)[0] == "tensor_cores"
        got = OPS[op](p, p.x(), p.w(), p.g(), precision=precision)
        assert error_of(got, wanted(p, op)) > least  # products are those of bfloat16 indeed


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_an_image_does_not_depend_on_its_batch(name, precision):
    p = PROBLEMS[name]
    x, w = p.x(), p.w()
    how = {**p.options, "precision": precision}
    whole = function("conv{}", p.nd)(x, w, **how)
    for i in range(p.batch):
        assert np.array_equal(whole[i : i + 1], function("conv{}", p.nd)(x[i : i + 1], w, **how))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("kernel", [(3, 5), (16, 32), (23, 25)])
def test_forward_algorithms_have_one_order_of_sums(layout, kernel):
    """depthwise and implicit_gemm: the same bits, with one block of terms and with several."""
    p = Problem((24, 30), kernel, 1, 5, 1, 2, padding=((1, 1), (2, 2)))
    x, w = laid_out(p.x(), layout), p.w()
    results = [omniconv.conv2d(x, w, **p.options, algorithm=a) for a in ("depthwise", "implicit_gemm")]
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    "p",
    [
        Problem((20, 37), (7, 9), 2, 2, 1, 1, padding=((3, 3), (4, 4)), mode="reflect"),
        Problem((17, 35), (31, 31), 1, 2, 1, 1, padding=((15, 15), (15, 15))),
        Problem((33, 12), (63, 10), 1, 2, 1, 1, padding=((31, 31), (5, 4)), mode="circular"),
        Problem((2, 9, 8), (1, 8, 8), 2, 3, 1, 1, padding=((1, 0), (4, 3), (3, 4))),
    ],
    ids=lambda p: "x".join(map(str, p.kernel)),
)
@pytest.mark.parametrize("op", ["forward", "grad_input"])
def test_large_kernels_have_the_order_of_sums_of_others(p, op):
    x, w, g, want = p.x(), p.w(), p.g(), wanted(p, op)
    a, b = (OPS[op](p, x, w, g, algorithm=name) for name in ("depthwise_large", "implicit_gemm"))
    assert error_of(a, want) <= 1e-6
    assert np.array_equal(a, b)
    last = [laid_out(array, "nhwc") for array in (x, w, g)]
    assert np.array_equal(OPS[op](p, *last, algorithm="depthwise_large"), a)
    if op == "forward":
        two = np.concatenate([w, -2 * w]).reshape(2, *w.shape).swapaxes(0, 1).reshape(-1, *w.shape[1:])
        both = OPS[op](p, x, two, g, algorithm="depthwise_large")  # two outputs of each input channel
        assert np.array_equal(both[:, ::2], a)
        assert np.array_equal(both[:, 1::2], -2 * a)


@pytest.mark.parametrize("p", [
    Problem((20, 37), (7, 9), 2, 2, 1, 2, padding=((3, 3), (4, 4)), mode="reflect"),
    Problem((35, 19), (33, 31), 1, 2, 1, 1, padding=((15, 15), (15, 15))),
    Problem((2, 9, 8), (1, 8, 8), 3, 3, 1, 1, padding=((1, 0), (4, 3), (3, 4))),
    Problem((34, 11), (20, 64), 34, 1, 1, 1, padding=((9, 9), (31, 32))),
], ids=lambda p: "x".join(map(str, p.kernel)))  # fmt: skip
def test_gradients_of_large_kernels(p):
    """Of parts of several tiles, too, and where no tile is full."""
    x, g, want = p.x(), p.g(), wanted(p, "grad_weight")
    results = []
    for schedule in SCHEDULES:
        os.environ["OMNICONV_EMU_SCHEDULE"] = schedule
        x, g = followed_by_nan(x), followed_by_nan(g)
        results.append(OPS["grad_weight"](p, x, None, g, algorithm="depthwise_large"))
        assert error_of(results[-1], want) <= 1e-6
        assert np.array_equal(results[0], results[-1])
    x = x.copy()
    x[..., -1, :] = np.nan  # which taps of the first row never meet, unless the border brings them there
    if p.mode == "zeros" and p.padding[-2][1] < p.kernel[-2] - 1:
        got = OPS["grad_weight"](p, x, None, g, algorithm="depthwise_large")
        assert np.isfinite(got[..., 0, :]).all()
        assert np.isnan(got[..., -1, :]).any()


def test_large_kernels_say_why_they_decline():
    for w_shape, how, why in (
        ((4, 1, 5, 9), {"groups": 4}, "7 to 64 taps"),
        ((4, 1, 9, 9), {"groups": 4, "stride": 2}, "stride 1"),
        ((4, 2, 9, 9), {"groups": 2}, "one input channel"),
    ):
        listed = {a.name: a for a in omniconv.algorithms((1, 4, 70, 70), w_shape, **how)}
        assert why in listed["depthwise_large"].reason


IM2WIN = ["im2win", "im2win_full", *(f"im2win_{s}" for s in ("buffered", "micro", "tiled", "shared", "naive"))]


@pytest.mark.parametrize(
    "p",
    [
        Problem((9, 70), (3, 3), 2, 1, 5, 70, padding=((1, 1), (1, 1)), mode="circular"),
        Problem((11, 13), (5, 4), 1, 2, 3, 3, (2, 3), (1, 2), ((2, 1), (3, 3)), "reflect"),
        Problem((4, 5, 6), (3, 2, 2), 2, 1, 2, 5, (2, 1, 1), (1, 2, 1), ((1, 1), (1, 0), (0, 2)), "replicate"),
        Problem((8, 9), (7, 7), 1, 1, 11, 4, padding=((3, 3), (3, 3))),  # more than one block of 512 terms
    ],
    ids=["3x3", "dilated", "volume", "a long sum"],
)
def test_im2win_and_its_steps_have_one_order_of_sums(p):
    x, w = p.x(), p.w()
    listed = {a.name: a for a in omniconv.algorithms(p.x_shape, p.w_shape, **p.options)}
    assert all(listed[name].usable for name in IM2WIN)
    assert listed["im2win"].workspace_bytes < listed["im2win_full"].workspace_bytes
    first, *others = (OPS["forward"](p, x, w, None, algorithm=name) for name in IM2WIN)
    assert error_of(first, wanted(p, "forward")) <= 1e-6
    for name, other in zip(IM2WIN[1:], others, strict=True):
        assert np.array_equal(first, other), name


def test_im2win_says_why_it_declines():
    many = {a.name: a for a in omniconv.algorithms((1, 64, 9, 99), (8, 64, 3, 3))}
    assert "more than 40 KB" in many["im2win"].reason
    assert many["im2win_full"].usable
    backward = {a.name: a for a in omniconv.algorithms((1, 4, 9, 9), (8, 4, 3, 3), op="grad_weight")}
    assert all("no gradient of the weights" in backward[name].reason for name in IM2WIN)


def followed_by_nan(array: np.ndarray) -> np.ndarray:
    """The array, with NaN in memory where one more image would be."""
    longer = np.full((array.shape[0] + 1, *array.shape[1:]), np.nan, array.dtype)
    longer[:-1] = array
    return longer[:-1]


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("ci", [1, 3])
def test_what_is_outside_of_a_sum_is_not_multiplied_by_zero(ci, precision):
    """Not the elements that a step reads past the last term, nor other groups, nor what lies behind an array."""
    p = Problem((5, 4, 5), (2, 2, 3), 3, 2, ci, 3)  # 12 or 36 terms, 108 pixels: the last step has some to spare
    x, w, g = p.x(), p.w(), p.g()
    for op in OPS:
        for algorithm in algorithms_of(p, op, precision):

            def run(x=x, w=w, g=g, op=op, algorithm=algorithm):
                return OPS[op](p, x, w, g, precision=precision, algorithm=algorithm)

            want = run()
            assert np.array_equal(run(followed_by_nan(x), w, followed_by_nan(g)), want), (op, algorithm)
            if op == "grad_weight":
                continue
            far_x, far_g, second = x.copy(), g.copy(), w.copy()
            far_x[:, :, -1] = far_g[:, :, -1] = np.nan
            second[p.co :] = np.nan  # all of the second group
            half = want.shape[1] // 2
            assert np.array_equal(run(w=second)[:, :half], want[:, :half]), (op, algorithm)
            seen = slice(0, -1) if op == "forward" else slice(0, -2)
            assert np.array_equal(run(far_x, w, far_g)[:, :, seen], want[:, :, seen]), (op, algorithm)


def test_plans_keep_their_weights():
    p = PROBLEMS["groups"]
    x, w = p.x(), p.w()
    plan = omniconv.plan_conv1d(p.x_shape, w, **p.options)
    want = function("conv{}", p.nd)(x, w, **p.options)
    w[:] = np.nan
    assert np.array_equal(plan(x), want)
    assert plan.packed_bytes > 0


def test_a_name_of_the_cpu_is_unknown_here():
    with pytest.raises(ValueError, match=r"allowed on this device are 'auto', .*'implicit_gemm'"):
        omniconv.conv1d(np.ones((1, 1, 4), "f"), np.ones((1, 1, 1), "f"), algorithm="planar")
