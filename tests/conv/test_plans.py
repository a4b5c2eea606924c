"""Plans, and what algorithms say of themselves."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given

import omniconv
from tests.conv.problems import (
    ALGORITHMS,
    Problem,
    assert_close,
    declines,
    each_way,
    forward,
    function,
    laid_out,
    problems,
)  # fmt: skip

# Ci, size, Co, kernel, stride of the twelve layers that the Im2win papers measure.
TWELVE = [
    (3, 227, 96, 11, 4), (3, 231, 96, 11, 4), (3, 227, 64, 7, 2), (64, 224, 64, 7, 2), (96, 24, 256, 5, 1),
    (256, 12, 512, 3, 1), (3, 224, 64, 3, 1), (64, 112, 128, 3, 1), (64, 56, 64, 3, 1), (128, 28, 128, 3, 1),
    (256, 14, 256, 3, 1), (512, 7, 512, 3, 1),
]  # fmt: skip
P = Problem((9, 8), (3, 2), 2, 2, 3, 5, (2, 1), (1, 2), ((1, 2), (2, 0)), "reflect")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_im2win_takes_two_megabytes_a_thread(threads, batch, layout, isa):
    omniconv.set_num_threads(threads)
    for ci, size, co, k, stride in TWELVE:
        shape = (batch, ci, size, size) if layout == "NCHW" else (batch, size, size, ci)
        w = np.zeros((co, ci, k, k), np.float32)
        plan = omniconv.plan_conv2d(shape, w, stride=stride, algorithm="im2win", layout=layout)
        assert 0 < plan.workspace_bytes <= threads * 2 * 2**20, (ci, size, co, k)
        assert plan.packed_bytes >= w.nbytes
        listed = omniconv.algorithms(shape, w.shape, stride=stride, layout=layout)
        assert {a.name for a in listed} == set(ALGORITHMS) - {"auto"}
        assert all(a.usable == (not a.reason) for a in listed)


@given(p=problems())
def test_algorithms_are_listed_with_reasons_and_the_best_is_taken(p):
    for op in ("forward", "grad_input", "grad_weight"):
        listed = omniconv.algorithms(p.x_shape, p.w_shape, op=op, **p.options)
        assert sorted(a.name for a in listed) == sorted(set(ALGORITHMS) - {"auto"})
        usable = [a for a in listed if a.usable]
        assert usable == listed[: len(usable)]
        assert all(a.reason == "" and a.cost > 0 and a.workspace_bytes >= 0 for a in usable)
        assert all(a.reason for a in listed if not a.usable)
        image = omniconv.algorithms((1, *p.x_shape[1:]), p.w_shape, op=op, **p.options)
        assert [a.name for a in image] == [a.name for a in listed], "the order follows the batch"
        if op == "forward":
            plan = function("plan_conv{}", p.nd)(p.x_shape, p.w(), **p.options)
            assert plan.algorithm == listed[0].name


def test_reasons():
    def reason(name, *args, **options):
        return next(a.reason for a in omniconv.algorithms(*args, **options) if a.name == name)

    image, kernel = (1, 4, 8, 8), (6, 4, 3, 3)
    assert "contiguous" in reason("direct", image, kernel)
    assert reason("direct", (1, 8, 8, 4), kernel, layout="NHWC") == ""
    assert "float64" in reason("im2win", image, kernel, dtype="float64")
    assert reason("reference", image, kernel, dtype="float64") == ""
    assert "gradient" in reason("im2col", image, kernel, op="grad_weight")
    window = (1, 4096, 130, 130)
    assert "bytes" in reason("im2win", window, (1, 4096, 128, 128))


def test_a_named_algorithm_that_declines_is_an_error_with_the_reason():
    x, w = np.zeros((1, 4, 8, 8), np.float32), np.zeros((6, 4, 3, 3), np.float32)
    with pytest.raises(NotImplementedError, match=r"direct.*contiguous"):
        omniconv.conv2d(x, w, algorithm="direct")
    with pytest.raises(NotImplementedError, match=r"im2win.*float64"):
        omniconv.conv2d(x.astype("float64"), w.astype("float64"), algorithm="im2win")
    with pytest.raises(NotImplementedError, match=r"im2col.*gradient"):
        omniconv.conv2d_grad_weight(np.zeros((1, 6, 6, 6), np.float32), x, 3, algorithm="im2col")
    with pytest.raises(NotImplementedError, match=r"im2win.*bytes"):
        shape = (1, 4096, 130, 130)
        function("plan_conv{}", 2)(shape, np.broadcast_to(np.float32(0), (1, 4096, 128, 128)), algorithm="im2win")


@given(p=problems())
def test_plan_of_every_algorithm(p):
    x, w, b, r = p.x(), p.w(), p.array("b", p.y_shape[1:2]), p.array("r", p.y_shape)
    inside = laid_out(x, "nhwc")
    along = (-1,) + (1,) * p.nd
    total, magnitude = forward(p, x, w), forward(p, np.abs(x), np.abs(w))
    want = total * b.reshape(along).astype(np.float64) + b.reshape(along) + r
    magnitude = magnitude * np.abs(b).reshape(along) + np.abs(b).reshape(along) + np.abs(r)
    for isa, algorithm in each_way():
        for last in (False, True):
            data = inside if last else x
            if declines(p, algorithm, channels_last=last):
                continue
            plan = function("plan_conv{}", p.nd)(
                p.x_shape, w, b, scale=b, algorithm=algorithm, channels_last=last, **p.options
            )
            assert algorithm in ("auto", plan.algorithm)
            assert plan.flops > 0
            got = plan(data, residual=r)
            assert_close(got, want, magnitude, "float32", how=(isa, algorithm))
            out = np.full(p.y_shape, np.nan, np.float32)
            assert plan(data, residual=r, out=out) is out
            assert np.array_equal(out, got)


def test_explain_names_every_algorithm_and_why_not():
    plan = omniconv.plan_conv2d(P.x_shape, P.w(), **P.options)
    text = plan.explain()
    assert all(name in text for name in ALGORITHMS if name != "auto")
    assert f"* {plan.algorithm}" in text
    assert next(a.reason for a in omniconv.algorithms(P.x_shape, P.w_shape, **P.options) if not a.usable) in text
    assert plan.algorithm in repr(plan)


@pytest.mark.parametrize("algorithm", ["im2win", "reference", "im2win_full", "im2col"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_plan_does_not_see_later_changes(algorithm, dtype, isa):
    if dtype == "float64" and algorithm != "reference":
        return
    x, w, b, s = P.x(dtype), P.w(dtype), P.array("b", P.y_shape[1:2], dtype), P.array("s", P.y_shape[1:2], dtype)
    want = omniconv.conv2d(x, w, b, scale=s, algorithm=algorithm, **P.options)
    for make in (np.array, torch.tensor):
        given = [make(a) for a in (w, b, s)]
        plan = omniconv.plan_conv2d(P.x_shape, given[0], given[1], scale=given[2], algorithm=algorithm, **P.options)
        for a in given:
            a[...] = float("nan")
        del given, a
        assert np.array_equal(plan(x), want)


def test_a_plan_outlives_a_change_of_instruction_set_and_threads():
    """Its weights are packed for the kernels it was made with."""
    x, w = P.x(), P.w()
    for made in omniconv.available_isas():
        omniconv.set_isa(made)
        plan = omniconv.plan_conv2d(P.x_shape, w, **P.options)
        want = plan(x)
        for other in omniconv.available_isas():
            omniconv.set_isa(other)
            for threads in (1, 2, 3):
                omniconv.set_num_threads(threads)
                assert np.array_equal(plan(x), want)


def test_one_plan_in_several_threads():
    plan, x = omniconv.plan_conv2d(P.x_shape, P.w(), **P.options), P.x()
    want, results = plan(x), []

    def work():
        for _ in range(50):
            results.append(np.array_equal(plan(x), want))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [True] * 200


def test_a_plan_takes_the_shape_it_was_made_for():
    plan = omniconv.plan_conv2d((2, 6, 9, 8), P.w(), **P.options)
    for shape in ((1, 6, 9, 8), (2, 6, 8, 9), (2, 6, 9), (2, 9, 8, 6), ()):
        with pytest.raises(ValueError, match="x has"):
            plan(np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match="x has dtype float64"):
        plan(np.zeros(P.x_shape))
    plan = omniconv.plan_conv2d((2, 9, 8, 6), P.w(), layout="NHWC", **P.options)
    with pytest.raises(ValueError, match=r"x has shape \(2, 6, 9, 8\); expected is \(2, 9, 8, 6\)"):
        plan(np.zeros((2, 6, 9, 8), np.float32))


@given(p=problems())
def test_plan_in_nhwc(p):
    x = np.moveaxis(p.x(), 1, -1).copy()
    plan = function("plan_conv{}", p.nd)(x.shape, p.w(), layout="NHWC", **p.options)
    want = function("conv{}", p.nd)(x, p.w(), layout="NHWC", **p.options)
    assert np.array_equal(plan(x), want)
