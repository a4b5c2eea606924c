"""Arrays of several frameworks: the same kind out as in, no hidden copy, no hidden import, no hidden rounding."""

from __future__ import annotations

import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import omniconv
from tests.conv.problems import Problem, function, laid_out, problems

jax = pytest.importorskip("jax")
jnp = jax.numpy

KINDS = {
    "numpy": (np.ascontiguousarray, np.ndarray),
    "torch": (lambda a: torch.from_numpy(np.ascontiguousarray(a)), torch.Tensor),
    "jax": (jnp.asarray, jax.Array),
}
P = Problem((9, 8), (3, 2), 2, 2, 3, 5, (2, 1), (1, 2), ((1, 2), (2, 0)), "reflect")


class Exporter:
    """An array of a framework that nobody has heard of."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def all_results(p: Problem, make, dtype: str = "float32", other=None) -> dict:
    """Every function on arrays that `make` makes, the second operands by `other`."""
    other = other or make
    x, w, g = make(p.x(dtype)), other(p.w(dtype)), make(p.g(dtype))
    b, r = other(p.array("b", p.y_shape[1:2], dtype)), other(p.array("r", p.y_shape, dtype))
    flipped = other(p.array("w", (p.groups * p.ci, p.co, *p.kernel), dtype))
    how = {"stride": p.stride, "dilation": p.dilation, "groups": p.groups}
    return {
        "conv": function("conv{}", p.nd)(x, w, b, scale=b, residual=r, activation="gelu", **p.options),
        "transpose": function("conv_transpose{}", p.nd)(x, flipped, b, **how),
        "grad_input": function("conv{}_grad_input", p.nd)(g, w, p.x_shape, **p.options),
        "grad_weight": function("conv{}_grad_weight", p.nd)(g, other(p.x(dtype)), p.w_shape, **p.options),
        "grad_bias": omniconv.conv_grad_bias(g),
        "plan": function("plan_conv{}", p.nd)(p.x_shape, w, b, **p.options)(x),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
@settings(max_examples=10)
@given(p=problems())
def test_the_kind_of_the_first_array_comes_out(kind, other, p):
    make, cls = KINDS[kind]
    want = all_results(p, np.asarray)
    for name, got in all_results(p, make, other=KINDS[other][0]).items():
        assert isinstance(got, cls), name
        assert str(got.dtype).endswith("float32")
        assert np.array_equal(np.asarray(got), want[name]), name


def test_float64_is_never_narrowed():
    want = all_results(P, np.asarray, "float64")
    with jax.enable_x64(True):
        for kind, (make, cls) in KINDS.items():
            for name, got in all_results(P, make, "float64").items():
                assert isinstance(got, cls), (kind, name)
                assert str(got.dtype).endswith("float64")
                assert np.array_equal(np.asarray(got), want[name]), (kind, name)
    exact = function("conv{}", 2)(P.x("float64") + 1e-12, P.w("float64"), **P.options)
    assert not np.array_equal(exact, want["plan"])
    assert np.abs(want["conv"] - want["conv"].astype("float32")).max() > 0


@given(p=problems())
def test_anything_that_exports_dlpack(p):
    want = all_results(p, np.asarray)
    for name, got in all_results(p, Exporter).items():
        assert isinstance(got, np.ndarray)
        assert np.array_equal(got, want[name])


@given(p=problems(), layout=st.sampled_from(["contiguous", "channels_last", "slice", "transposed", "expanded"]))
def test_torch_layouts(p, layout):
    x = torch.from_numpy(p.x())
    if layout == "channels_last":
        x = torch.from_numpy(laid_out(p.x(), "nhwc"))
    elif layout == "slice":
        x = torch.from_numpy(np.repeat(p.x(), 2, axis=-1))[..., ::2]
    elif layout == "transposed":
        x = torch.from_numpy(np.ascontiguousarray(p.x().swapaxes(0, -1))).transpose(0, -1)
    elif layout == "expanded":
        x = x[:1].expand(p.x_shape)
    got = function("conv{}", p.nd)(x, torch.from_numpy(p.w()), **p.options)
    assert np.array_equal(got.numpy(), function("conv{}", p.nd)(x.numpy(), p.w(), **p.options))
    if layout == "channels_last" and p.groups * p.ci > 1:
        assert got.movedim(1, -1).is_contiguous()
        if p.nd == 2:
            assert got.is_contiguous(memory_format=torch.channels_last)
    elif layout == "contiguous":
        assert got.is_contiguous()


def test_out_may_be_of_another_kind_but_not_jax():
    x, w = P.x(), P.w()
    want = omniconv.conv2d(x, w, **P.options)
    for a in (x, torch.from_numpy(x), jnp.asarray(x)):
        for out in (np.empty(P.y_shape, np.float32), torch.empty(P.y_shape)):
            assert omniconv.conv2d(a, w, out=out, **P.options) is out
            assert np.array_equal(np.asarray(out), want)
        with pytest.raises(TypeError, match="out is a JAX array"):
            omniconv.conv2d(a, w, out=jnp.zeros(P.y_shape), **P.options)


def test_torch_gradients_are_refused_where_they_would_be_lost():
    x, w = torch.from_numpy(P.x()), torch.from_numpy(P.w())
    for name, arguments in (
        ("x", (x.clone().requires_grad_(), w)),
        ("weight", (x, w.clone().requires_grad_())),
        ("bias", (x, w, torch.zeros(10, requires_grad=True))),
    ):
        with pytest.raises(ValueError, match=rf"^{name} requires grad.*omniconv\.torch"):
            omniconv.conv2d(*arguments, **P.options)
        with torch.no_grad():
            assert not omniconv.conv2d(*arguments, **P.options).requires_grad
        assert not omniconv.conv2d(*(a.detach() for a in arguments), **P.options).requires_grad


def test_lazily_negated_and_conjugated_tensors():
    x = torch.complex(torch.zeros(P.x_shape), torch.from_numpy(P.x())).conj().imag  # minus x, by a flag
    assert x.is_neg()
    got = omniconv.conv2d(x, torch.from_numpy(P.w()), **P.options)
    assert np.array_equal(got.numpy(), omniconv.conv2d(-P.x(), P.w(), **P.options))


def test_jax_tracers_get_a_clear_error():
    for name, call in (
        ("x", jax.jit(lambda x: omniconv.conv2d(x, P.w(), **P.options))),
        ("weight", lambda x: jax.grad(lambda w: omniconv.conv2d(P.x(), w, **P.options).sum())(jnp.asarray(P.w()))),
        ("bias", lambda x: jax.vmap(lambda b: omniconv.conv2d(P.x(), P.w(), b, **P.options))(jnp.zeros((2, 10)))),
    ):
        with pytest.raises(TypeError, match=rf"^{name} is being traced.*omniconv\.jax"):
            call(jnp.asarray(P.x()))


def test_other_byte_order_and_odd_strides():
    """Strides that are no multiple of an element are packed; the other byte order is another dtype."""
    x, w = P.x(), P.w()
    want = omniconv.conv2d(x, w, **P.options)
    records = np.zeros(P.x_shape, [("pad", "i1"), ("value", "f4")])
    records["value"] = x
    assert records["value"].strides[-1] % 4 != 0
    assert np.array_equal(omniconv.conv2d(records["value"], w, **P.options), want)
    with pytest.raises(TypeError, match="x has dtype >f4"):
        omniconv.conv2d(x.astype(">f4"), w, **P.options)


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return result.stdout.strip()


def test_numpy_and_torch_users_import_nothing_else():
    assert run(
        "import sys, numpy as np, omniconv\n"
        "x, w = np.ones((1, 2, 5, 5), 'f4'), np.ones((3, 2, 3, 3), 'f4')\n"
        "omniconv.conv2d(x, w); omniconv.plan_conv2d(x.shape, w)(x); omniconv.conv2d_grad_weight(w[:1], w[:1], 1)\n"
        "print(sorted({'torch', 'jax', 'cupy', 'tensorflow', 'scipy'} & set(sys.modules)))"
    ) == "[]"  # fmt: skip
    assert run(
        "import sys, torch, omniconv\n"
        "print(type(omniconv.conv2d(torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3))).__name__, 'jax' in sys.modules)"
    ) == "Tensor False"  # fmt: skip


def test_import_brings_in_little():
    """No assertion by the clock: what takes the time of an import is modules."""
    count = "import sys, numpy; before = set(sys.modules); import omniconv; print(len(set(sys.modules) - before))"
    assert int(run(count)) < 60
