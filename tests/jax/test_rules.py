"""What docs/frameworks.md says of jit and vmap."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

import omniconv.jax as oj  # noqa: E402
from omniconv import models  # noqa: E402

RNG = np.random.default_rng(0)


def rand(*shape):
    return jnp.asarray(RNG.standard_normal(shape, dtype=np.float32))


def calls(function, *arrays):
    """(primitives of ours at the top, loops) in the text that JAX traces."""
    equations = jax.make_jaxpr(function)(*arrays).jaxpr.eqns
    names = [e.primitive.name for e in equations]
    return sum(n.startswith("omniconv") for n in names), sum(n in ("scan", "while") for n in names)


def test_one_weight_is_one_call_and_many_are_a_loop():
    x, w = rand(3, 2, 4, 6, 6), rand(5, 4, 3, 3)
    for function in (oj.conv2d, lambda x, w: oj.conv_transpose2d(x, jnp.swapaxes(w, 0, 1))):
        shared = jax.vmap(function, (0, None))
        assert calls(shared, x, w) == (1, 0)
        assert np.array_equal(shared(x, w), jnp.stack([function(one, w) for one in x]))
        each = jax.vmap(function)
        weights = jnp.stack([w, w * 2, w + 1])
        assert calls(each, x, weights) == (0, 1)
        assert np.array_equal(each(x, weights), jnp.stack([function(a, b) for a, b in zip(x, weights, strict=True)]))


def test_long_convolutions_loop_and_per_sample_kernels_do_not():
    u, k = rand(3, 2, 4, 20), rand(4, 7)
    shared = jax.vmap(oj.fft_conv, (0, None))
    assert calls(shared, u, k) == (0, 1)
    assert np.array_equal(shared(u, k), jnp.stack([oj.fft_conv(one, k) for one in u]))
    kernels = rand(2, 4, 7)
    assert calls(lambda u, k: oj.fft_conv(u, k, per_sample=True), u[0], kernels) == (1, 0)


def test_special_functions_are_one_call():
    v, x = rand(3, 5) ** 2 + 1, rand(3, 5) ** 2 + 1
    mapped = jax.vmap(lambda v, x: oj.special.log_iv(v, x))
    assert np.array_equal(mapped(v, x), oj.special.log_iv(v, x))


def test_models_under_jit_and_vmap():
    net = models.create("espcn_x2").to("jax")
    x = rand(2, 1, 12, 14)
    want = net(x)
    assert np.allclose(jax.jit(net)(x), want, rtol=1e-5, atol=1e-5)
    assert np.allclose(jax.vmap(lambda one: net(one[None])[0])(x), want, rtol=1e-5, atol=1e-5)
