"""omniconv.jax against jax.lax in float64: values, derivatives, jit, vmap; and large arrays on one processor."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import omniconv.jax as oj

# function, x, weight, arguments; padding as (low, high) pairs
CASES = [
    ("conv1d", (2, 4, 11), (6, 4, 3), {}),
    ("conv1d", (3, 6, 17), (6, 1, 5), {"stride": 2, "padding": [(8, 0)], "dilation": 2, "groups": 6}),
    ("conv2d", (2, 4, 9, 8), (6, 4, 3, 3), {"padding": [(1, 1), (1, 1)]}),
    ("conv2d", (2, 4, 10, 11), (6, 4, 3, 2), {"stride": (2, 3), "padding": [(2, 1), (0, 1)], "dilation": (1, 2)}),
    ("conv2d", (1, 1, 5, 5), (3, 1, 2, 2), {"stride": 3}),
    ("conv3d", (2, 4, 5, 6, 7), (6, 2, 3, 2, 3), {"padding": [(1, 1), (0, 0), (2, 2)], "groups": 2}),
]  # fmt: skip
TRANSPOSED = [
    ("conv_transpose1d", (2, 4, 7), (4, 3, 5), {"stride": 3, "padding": 1, "output_padding": 2}),
    ("conv_transpose2d", (2, 6, 5, 6), (6, 2, 3, 4), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 3}),
    ("conv_transpose2d", (2, 4, 5, 4), (4, 3, 2, 2), {"dilation": (3, 2), "output_padding": (2, 1)}),
    ("conv_transpose3d", (1, 4, 3, 4, 3), (4, 2, 3, 2, 2), {"stride": (2, 1, 2), "output_padding": (1, 0, 1)}),
]  # fmt: skip

ALL = CASES + TRANSPOSED


def each(value, n: int) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


def lax_conv(x, w, *, stride=1, padding=0, dilation=1, groups=1):
    n = w.ndim - 2
    pads = [(p, p) if isinstance(p, int) else p for p in each(padding, n)]
    return jax.lax.conv_general_dilated(
        x, w, each(stride, n), pads, rhs_dilation=each(dilation, n), feature_group_count=groups
    )


def lax_conv_transpose(x, w, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    n = w.ndim - 2
    stride, padding, extra, dilation = (each(v, n) for v in (stride, padding, output_padding, dilation))
    pads = [
        (d * (k - 1) - p, d * (k - 1) - p + e) for k, d, p, e in zip(w.shape[2:], dilation, padding, extra, strict=True)
    ]
    # [Ci, Co / g, k] to [Co, Ci / g, k], flipped
    ci, co = w.shape[:2]
    w = (
        w.reshape(groups, ci // groups, co, *w.shape[2:])
        .swapaxes(1, 2)
        .reshape(groups * co, ci // groups, *w.shape[2:])
    )
    w = jnp.flip(w, range(2, n + 2))
    return jax.lax.conv_general_dilated(
        x, w, (1,) * n, pads, lhs_dilation=stride, rhs_dilation=dilation, feature_group_count=groups
    )


def arrays(x_shape, w_shape, dtype="float32"):
    random = np.random.default_rng(1)
    return tuple(jnp.asarray(random.standard_normal(s), dtype) for s in (x_shape, w_shape))


def error(found, expected) -> float:
    found, expected = (np.asarray(v, "float64") for v in (found, expected))
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def first(x):
    return jnp.moveaxis(x, -1, 1)


def last(x):
    return jnp.moveaxis(x, 1, -1)


@pytest.fixture(autouse=True)
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@functools.cache
def reference(case: int) -> tuple:
    """Operands in float32, and in float64 the gradients and values of sin(conv).sum()."""
    name, x_shape, w_shape, arguments = ALL[case]
    transposed = "transpose" in name
    x, weight = arrays(x_shape, w_shape)
    bias = jnp.arange(w_shape[1] * arguments.get("groups", 1) if transposed else w_shape[0], dtype="float32")

    def loss(x, weight, bias):
        y = (lax_conv_transpose if transposed else lax_conv)(x, weight, **arguments)
        y = y + bias.reshape(-1, *(1,) * (x.ndim - 2))
        return jnp.sin(y).sum(), y

    exact = [v.astype("float64") for v in (x, weight, bias)]
    return (x, weight, bias), jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*exact)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("layout", [None, "NHWC"])
@pytest.mark.parametrize("case", range(len(ALL)))
def test_values_and_gradients(case, layout, jit) -> None:
    name, _, _, arguments = ALL[case]
    operands, (expected, y_expected) = reference(case)

    def loss(x, weight, bias):
        if layout is None:
            y = getattr(oj, name)(x, weight, bias, **arguments)
        else:
            y = first(getattr(oj, name)(last(x), weight, bias, layout=layout, **arguments))
        return jnp.sin(y).sum(), y

    gradient = jax.grad(loss, (0, 1, 2), has_aux=True)
    found, y = (jax.jit(gradient) if jit else gradient)(*operands)
    assert y.dtype == "float32"
    assert error(y, y_expected) < 1e-6
    for g, e in zip(found, expected, strict=True):
        assert g.dtype == "float32"
        assert error(g, e) < 2e-6  # sin of a float32 result is part of it


def test_named_algorithm_is_that_of_the_convolution_alone() -> None:
    x, weight = arrays((1, 4, 6, 6), (6, 4, 3, 3))
    found = jax.grad(lambda w: oj.conv2d(x, w, algorithm="im2col").sum())(weight)
    assert error(found, jax.grad(lambda w: lax_conv(x, w).sum())(weight)) < 1e-6
    with pytest.raises(NotImplementedError, match="algorithm 'direct' cannot"):
        jax.jit(lambda *v: oj.conv2d(*v, algorithm="direct"))(x, weight)  # takes NHWC alone


def test_general_conv_and_words_for_padding() -> None:
    x, weight = arrays((2, 4, 9, 8), (6, 4, 3, 4), "float64")
    same = oj.conv(x, weight, padding="same", stride=2)
    assert error(same, jax.lax.conv(x, weight, (2, 2), "SAME")) < 1e-13
    assert error(oj.conv(x, weight, padding="valid"), jax.lax.conv(x, weight, (1, 1), "VALID")) < 1e-13


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode) -> None:
    x, weight = arrays((2, 4, 7, 6), (6, 4, 3, 3), "float64")
    words = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}

    def expected(x, weight):
        return jnp.sin(lax_conv(jnp.pad(x, ((0, 0), (0, 0), (2, 2), (1, 1)), words[mode]), weight))

    def found(x, weight):
        return jnp.sin(oj.conv2d(x, weight, padding=(2, 1), padding_mode=mode))

    for g, e in zip(
        jax.vjp(found, x, weight)[1](found(x, weight)),
        jax.vjp(expected, x, weight)[1](expected(x, weight)),
        strict=True,
    ):
        assert error(g, e) < 1e-13


def test_derivatives_of_second_order_in_both_modes() -> None:
    x, weight = arrays((1, 4, 5, 4), (4, 2, 3, 2), "float64")
    bias = jnp.ones(4)
    check_grads(
        jax.jit(lambda *v: oj.conv2d(*v, stride=(2, 1), padding=1, groups=2)), (x, weight, bias), 2, ("fwd", "rev")
    )
    x, weight = arrays((1, 4, 3, 2), (4, 1, 3, 2), "float64")
    check_grads(
        jax.jit(lambda *v: oj.conv_transpose2d(*v, stride=2, output_padding=1, groups=2)),
        (x, weight),
        2,
        ("fwd", "rev"),
    )


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, 2), (2, None)])
@pytest.mark.parametrize("layout", [None, "NHWC"])
def test_vmap(axes, layout) -> None:
    x, weight = arrays((2, 4, 6, 6), (6, 2, 3, 3), "float64")
    many = [v if a is None else jnp.stack([v, v * 2, v + 1], a) for v, a in zip((x, weight), axes, strict=True)]

    def ours(x, weight):
        if layout is None:
            return oj.conv2d(x, weight, padding=1, groups=2)
        return first(oj.conv2d(last(x), weight, padding=1, groups=2, layout=layout))

    def both(f):
        return jax.jit(jax.vmap(lambda x, w: (f(x, w), jax.grad(lambda *v: jnp.sin(f(*v)).sum(), (0, 1))(x, w)), axes))

    found, expected = (
        jax.tree.leaves(both(f)(*many)) for f in (ours, lambda x, w: lax_conv(x, w, padding=1, groups=2))
    )
    for g, e in zip(found, expected, strict=True):
        assert error(g, e) < 1e-13


LARGE = """
import faulthandler, os
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{processors}])
faulthandler.dump_traceback_later(100, exit=True)
import jax, jax.numpy as jnp, omniconv.jax as oj

@jax.jit
def step(x, w):  # two convolutions that may run at once, their gradients, and one under vmap
    def loss(w):
        a, b = oj.conv1d(x * 2, w), oj.conv1d(x + 1, w)
        return (a * b).mean()
    return jax.grad(loss)(w) + jax.vmap(lambda x: oj.conv1d(x[None], w))(x).mean()

w = jnp.ones((2, 4, 3))
x = jnp.ones((4, 4, 1 << 20))  # 64 MB
for i in range(5):
    w = step(x + i, w * 1e-3)
print(jnp.isfinite(w).all())
"""


@pytest.mark.parametrize("processors", [1, 2])
def test_large_arrays_do_not_deadlock(processors) -> None:
    code = LARGE.format(processors=processors)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout.strip() == "True", result.stderr


def test_train() -> None:
    x, weight = arrays((4, 3, 8, 8), (5, 3, 3, 3))
    target = lax_conv(x, weight, padding=1)
    step = jax.jit(lambda w: w - 0.1 * jax.grad(lambda w: ((oj.conv2d(x, w, padding=1) - target) ** 2).mean())(w))
    w = jnp.zeros_like(weight)
    losses = [float(jnp.abs((w := step(w)) - weight).max()) for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses[::10]))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"x": jnp.zeros((2, 4, 8, 8), "bfloat16")}, TypeError, "x has dtype bfloat16"),
        ({"weight": np.zeros((6, 4, 3, 3), "float64")}, TypeError, "weight has dtype float64"),
        ({"x": np.zeros((2, 3, 8, 8), "float32")}, ValueError, "channels"),
        ({"x": np.zeros((8, 8), "float32")}, ValueError, "x has 2 dimensions"),
        ({"bias": np.zeros(5, "float32")}, ValueError, "bias has shape"),
        ({"stride": 0}, ValueError, "stride is 0"),
        ({"padding": -1}, ValueError, "padding is -1"),
        ({"groups": 4}, ValueError, "groups is 4"),
        ({"padding_mode": "mirror"}, ValueError, "padding_mode"),
        ({"layout": "CHWN"}, ValueError, "layout is 'CHWN'"),
        ({"algorithm": "nearest"}, ValueError, "algorithm is 'nearest'"),
    ],
)
def test_bad_arguments(change, kind, text, jit) -> None:
    arguments = {"x": np.zeros((2, 4, 8, 8), "float32"), "weight": np.zeros((6, 4, 3, 3), "float32"), **change}
    operands = {k: v for k, v in arguments.items() if k in ("x", "weight", "bias")}
    rest = {k: v for k, v in arguments.items() if k not in operands}

    def call(operands):
        return oj.conv2d(**operands, **rest)

    with pytest.raises(kind, match=text):
        (jax.jit(call) if jit else call)(operands)


def test_missing_jax_names_the_extra() -> None:
    code = "import sys; sys.modules['jax'] = None; import omniconv.jax"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: omniconv.jax needs JAX" in found.stderr
    assert "omniconv[jax]" in found.stderr
