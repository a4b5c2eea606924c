"""The MLP block against its formula in float64: every instruction set, bits, layouts, poisoned results, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

import omniconv
from omniconv.nn import functional as F

RNG = np.random.default_rng(3)


def rand(*shape):
    return RNG.standard_normal(shape, dtype=np.float32)


def last(x):
    """The same with its channels adjacent in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def poisoned(shape):
    return np.moveaxis(np.full((shape[0], *shape[2:], shape[1]), np.nan, np.float32), -1, 1)


ACTIVATIONS = {
    "gelu": lambda v: v * (1 + erf(v / np.sqrt(2))) / 2,
    "silu": lambda v: v / (1 + np.exp(-v)),
    "none": lambda v: v,
}


def convolved(x, w, stride, padding, dilation, groups):
    """By its definition, tap by tap."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    co, ci, kh, kw = w.shape
    rows, columns = ((n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(x.shape[2:], (kh, kw), strict=True))
    y = np.zeros((x.shape[0], groups, co // groups, rows, columns))
    for i in range(kh):
        for j in range(kw):
            part = x[:, :, i * dilation :, j * dilation :][:, :, ::stride, ::stride][:, :, :rows, :columns]
            part = part.reshape(x.shape[0], groups, ci, rows, columns)
            y += np.einsum("ngchw,goc->ngohw", part, w[:, :, i, j].reshape(groups, co // groups, ci))
    return y.reshape(x.shape[0], co, rows, columns)


def exact(x, a, residual=None, stride=1, padding=0, dilation=1, groups=1, activation="gelu", norm=False, eps=1e-6):
    """The formula, in float64."""
    a = {name: v.astype(np.float64) for name, v in a.items()}
    y = x.astype(np.float64)
    if "conv_weight" in a:
        y = convolved(y, a["conv_weight"], stride, padding, dilation, groups)
        y = y * a.get("conv_scale", np.ones(1)).reshape(-1, 1, 1) + a.get("conv_bias", np.zeros(1)).reshape(-1, 1, 1)
    y = np.moveaxis(y, 1, -1)
    if norm:
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + eps)
        y = y * a.get("norm_weight", 1.0) + a.get("norm_bias", 0.0)
    y = ACTIVATIONS[activation](y @ a["w1"].T * a.get("scale1", 1.0) + a.get("bias1", 0.0))
    y = np.moveaxis(y @ a["w2"].T * a.get("scale2", 1.0) + a.get("bias2", 0.0), -1, 1)
    return y if residual is None else y + residual.astype(np.float64)


def arrays(mid, hidden, channels, conv=None, epilogue=True, norm=False):
    found = {"w1": rand(hidden, mid) / np.float32(mid**0.5), "w2": rand(channels, hidden) / np.float32(hidden**0.5)}
    if epilogue:
        found |= {"bias1": rand(hidden), "scale1": rand(hidden), "bias2": rand(channels), "scale2": rand(channels)}
    if norm and epilogue:
        found |= {"norm_weight": rand(mid), "norm_bias": rand(mid)}
    if conv:
        found["conv_weight"] = rand(*conv) / np.float32(np.prod(conv[1:]) ** 0.5)
        found |= {"conv_bias": rand(mid), "conv_scale": rand(mid)} if epilogue else {}
    return found


def block(x_shape, mid, hidden, channels, conv=None, epilogue=True, norm=False, **options):
    return x_shape, arrays(mid, hidden, channels, conv, epilogue, norm), {"norm": norm, **options}


CASES = {
    "convnext": block((2, 24, 9, 7), 24, 96, 24, (24, 1, 7, 7), norm=True, padding=3, groups=24),
    "convnext, ragged": block((1, 37, 11, 5), 37, 131, 37, (37, 1, 7, 7), norm=True, padding=3, groups=37),
    "wide": block((1, 16, 5, 6), 16, 1100, 40, (16, 1, 3, 3), padding=1, groups=16),
    "convfirst": block((2, 32, 10, 9), 32, 64, 32, (32, 8, 3, 3), padding=1, groups=4, activation="silu"),
    "strided": block((3, 8, 13, 12), 16, 24, 8, (16, 8, 3, 3), stride=2, padding=1),
    "dilated": block((1, 12, 15, 14), 12, 20, 5, (12, 1, 3, 3), padding=2, dilation=2, groups=12, norm=True),
    "no padding": block((1, 8, 40, 30), 8, 16, 8, (8, 1, 5, 5), groups=8, epilogue=False),
    "one pixel": block((3, 7, 1, 1), 7, 9, 7, (7, 1, 3, 3), padding=1, groups=7),
    "mlp": block((300, 48), 48, 100, 48, norm=True),
    "mlp of images": block((2, 33, 6, 7), 33, 70, 12, epilogue=False),
    "sequence": block((2, 20, 50), 20, 30, 20, norm=True, activation="none"),
    "long": block((5, 600), 600, 1030, 33),
}


def residual_of(case):
    shape, found, options = CASES[case]
    plan = omniconv.plan_mlp(shape, **found, **options)
    return plan, last(rand(*shape)), last(rand(*plan.output_shape))


@pytest.mark.parametrize("case", CASES)
def test_the_formula(isa, case):
    _, found, options = CASES[case]
    plan, x, residual = residual_of(case)
    for r in (None, residual):
        out = poisoned(plan.output_shape)
        y = plan(x, residual=r, out=out)
        want = exact(x, found, r, **options)
        assert y is out and np.linalg.norm(y - want) <= 1e-6 * np.linalg.norm(want)
    assert np.array_equal(plan(x, residual=residual), y)


@pytest.mark.parametrize("case", CASES)
def test_float64_runs_on_the_reference(case):
    shape, found, options = CASES[case]
    _, x, residual = residual_of(case)
    wide = {name: v.astype(np.float64) for name, v in found.items()}
    y = omniconv.plan_mlp(shape, **wide, **options)(x.astype(np.float64), residual=residual.astype(np.float64))
    np.testing.assert_allclose(y, exact(x, found, residual, **options), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_bits_depend_on_neither_threads_nor_batch(isa, case):
    shape, found, options = CASES[case]
    x = last(rand(5, *shape[1:]) if len(shape) > 2 else rand(*shape))
    residual = None
    results = []
    for threads in (1, 2, 3):
        omniconv.set_num_threads(threads)
        plan = omniconv.plan_mlp(x.shape, **found, **options)
        residual = last(rand(*plan.output_shape)) if residual is None else residual
        results.append(plan(x, residual=residual))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    piece = x[1:4]
    part = omniconv.plan_mlp(piece.shape, **found, **options)(piece, residual=residual[1:4])
    assert np.array_equal(part, results[0][1:4])


def test_bits_are_those_of_the_operations_one_by_one(isa):
    _, found, _ = CASES["wide"]
    x = last(rand(2, 16, 9, 8))
    y = omniconv.conv2d(x, found["conv_weight"], found["conv_bias"], scale=found["conv_scale"], padding=1, groups=16,
                        algorithm="direct")  # fmt: skip
    y = omniconv.conv2d(y, found["w1"][:, :, None, None], found["bias1"], scale=found["scale1"], activation="gelu")
    y = omniconv.conv2d(y, found["w2"][:, :, None, None], found["bias2"], scale=found["scale2"], residual=x[:, :1] + y[
        :, :40] * 0)  # fmt: skip
    plan = omniconv.plan_mlp(x.shape, **found, padding=1, groups=16)
    residual = last(np.broadcast_to(x[:, :1], plan.output_shape))
    assert np.array_equal(plan(x, residual=residual), y)


def test_parts_of_wider_arrays(isa):
    x, out = last(rand(2, 40, 6, 5)), poisoned((2, 50, 6, 5))
    found = arrays(16, 24, 30)
    plan = omniconv.plan_mlp((2, 16, 6, 5), **found)
    y = plan(x[:, 3:19], out=out[:, 5:35])
    assert np.array_equal(y, plan(last(x[:, 3:19]))) and np.isnan(out[:, :5]).all() and np.isnan(out[:, 35:]).all()
    cut = arrays(8, 24, 8, (8, 1, 3, 3))
    plan = omniconv.plan_mlp((1, 8, 4, 3), **cut, padding=1, groups=8)
    assert np.array_equal(plan(x[:1, 3:11, 1:5, 1:4]), plan(last(x[:1, 3:11, 1:5, 1:4].copy())))


def test_torch_and_jax():
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    x, found = rand(6, 8), arrays(8, 16, 8)
    want = omniconv.plan_mlp((6, 8), **found)(x)
    plan = omniconv.plan_mlp((6, 8), **{n: torch.from_numpy(v) for n, v in found.items()})
    assert np.array_equal(plan(torch.from_numpy(x)).numpy(), want)
    assert np.array_equal(np.asarray(plan(jnp.asarray(x))), want)


def test_no_pixels():
    plan = omniconv.plan_mlp((0, 8, 3, 3), **arrays(8, 16, 8))
    assert plan(last(rand(0, 8, 3, 3))).shape == (0, 8, 3, 3)


A = arrays(8, 16, 8)
CONV = arrays(8, 16, 8, (8, 1, 3, 3))
X = last(rand(1, 8, 5, 5))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: omniconv.plan_mlp((4, 9), **A), ValueError, r"w1 has shape \(16, 8\); expected is \(16, 9\)"),
        (lambda: omniconv.plan_mlp((4, 8), **A | {"w2": rand(8, 15)}), ValueError, "w2 has shape"),
        (lambda: omniconv.plan_mlp((4, 8), **A | {"bias1": rand(15)}), ValueError, "bias1 has shape"),
        (lambda: omniconv.plan_mlp((4, 8), **A | {"w2": A["w2"].astype(float)}), TypeError, "w2 has dtype float64"),
        (lambda: omniconv.plan_mlp((4, 8), **A | {"w1": None}), TypeError, "w1 is"),
        (lambda: omniconv.plan_mlp((4, 8), **A | {"w1": rand(8)}), ValueError, "axes"),
        (lambda: omniconv.plan_mlp((4, 8), **A, activation="cubic"), ValueError, "cubic"),
        (lambda: omniconv.plan_mlp((4, 8), **A, padding=1), TypeError, "padding"),
        (lambda: omniconv.plan_mlp((4, 8), **CONV, groups=8), ValueError, "conv_weight"),
        (lambda: omniconv.plan_mlp(X.shape, **CONV), ValueError, "groups"),
        (lambda: omniconv.plan_mlp(X.shape, **CONV, groups=8, padding=3), NotImplementedError, "past its kernel"),
        (
            lambda: omniconv.plan_mlp(X.shape, **CONV, groups=8, padding=1, padding_mode="reflect"),
            NotImplementedError,
            "zeros",
        ),
        (lambda: omniconv.plan_mlp((4, 8), **A)(rand(5, 8)), ValueError, r"x has shape \(5, 8\)"),
        (lambda: omniconv.plan_mlp((4, 8), **A)(rand(4, 8).astype(float)), TypeError, "x has dtype"),
        (lambda: omniconv.plan_mlp((4, 8), **A)(rand(8, 4).T), ValueError, "x has channels that are not adjacent"),
        (lambda: omniconv.plan_mlp((4, 8), **A)(rand(4, 8), residual=rand(4, 9)), ValueError, "residual has shape"),
        (lambda: omniconv.plan_mlp(X.shape, **A)(last(rand(1, 8, 5, 9))[..., :5]), ValueError, "not evenly spaced"),
        (lambda: omniconv.plan_mlp(X.shape, **A)(X, out=X), ValueError, "out overlaps x"),
    ],
)
def test_bad_input(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_nn_activation_agrees():
    v = np.linspace(-5, 5, 101)
    for name in ("gelu", "silu"):
        np.testing.assert_allclose(F.activation(v, name), ACTIVATIONS[name](v), rtol=1e-12, atol=1e-15)
