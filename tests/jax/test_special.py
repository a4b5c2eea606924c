"""Bessel functions inside JAX: jit, grad and vmap against the plain functions and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv import special as plain
from omniconv import special_grad

jax = pytest.importorskip("jax")
from jax.test_util import check_grads  # noqa: E402

from omniconv.jax import special  # noqa: E402

V = np.array([0.3, 2.5, 7.0, 12.0, 30.0, 80.0, 400.0])
X = np.array([0.05, 1.7, 9.0, 21.0, 19.88, 53.1, 300.0])


@pytest.mark.parametrize("name", special_grad.DIFFERENTIABLE)
def test_value_gradient_and_batches(name):
    function = getattr(special, name)
    with jax.enable_x64(True):
        v, x = jax.numpy.asarray(V), jax.numpy.asarray(X)
        np.testing.assert_array_equal(jax.jit(function)(v, x), getattr(plain, name)(V, X))
        check_grads(lambda v, x: function(v[:3, None], x), (v, x), order=1, rtol=1e-6, atol=1e-6)
        dv, dx = jax.jit(jax.vmap(jax.grad(function, argnums=(0, 1))))(v, x)
        expected = special_grad.partials(name, V, X)
        np.testing.assert_array_equal(dv, expected[0])
        np.testing.assert_array_equal(dx, expected[1])
        outer = jax.vmap(lambda v: function(v, x))(v)
        np.testing.assert_array_equal(outer, getattr(plain, name)(V[:, None], X))


def test_dtypes():
    x = jax.numpy.asarray(X, dtype="float32")
    assert special.log_iv(2, x).dtype == np.float32
    np.testing.assert_array_equal(special.log_iv(2.5, x), plain.log_iv(np.float32(2.5), X.astype("float32")))
    with pytest.raises(TypeError, match="has dtype bfloat16"):
        special.log_iv(1.0, x.astype("bfloat16"))
