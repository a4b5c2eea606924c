"""Long convolutions inside JAX against those of omniconv itself, and their derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import omniconv
import omniconv.jax as oj
from tests.fft.long_convs import normal

MORE = {
    "plain": {}, "same": {"mode": "same"}, "full": {"mode": "full"}, "valid": {"mode": "valid"},
    "circular": {"mode": "circular", "k_rev": normal(3, 6, seed=9)}, "reverse": {"k_rev": normal(3, 30, seed=9)},
    "all": {
        "pre_gate": normal(2, 3, 40, seed=3), "post_gate": normal(2, 3, 40, seed=4), "skip": normal(3, seed=5),
        "bias": normal(3, seed=6), "activation": "gelu",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_values(name):
    u, k = normal(2, 3, 40), normal(3, 9, seed=1)
    want = omniconv.fft_conv(u, k, **MORE[name])
    for call in (oj.fft_conv, jax.jit(lambda u, k: oj.fft_conv(u, k, **MORE[name]))):
        got = call(u, k, **MORE[name]) if call is oj.fft_conv else call(u, k)
        assert np.linalg.norm(got - want) <= 1e-6 * np.linalg.norm(want)


@pytest.mark.parametrize("name", MORE)
def test_derivatives(name):
    with jax.enable_x64(True):
        how = {n: v.astype("float64") if isinstance(v, np.ndarray) else v for n, v in MORE[name].items()}
        arrays = {n: jnp.asarray(v) for n, v in how.items() if isinstance(v, np.ndarray)}
        words = {n: v for n, v in how.items() if not isinstance(v, np.ndarray)}
        u, k = normal(2, 3, 40, dtype="float64"), normal(3, 9, seed=1, dtype="float64")
        check_grads(lambda u, k, a: oj.fft_conv(u, k, **a, **words), (u, k, arrays), order=2, atol=1e-5, rtol=1e-5)


def test_kernels_layouts_and_vmap():
    u = normal(2, 3, 40)
    for k, how in ((normal(4, 3, 9), {}), (normal(2, 3, 9), {"per_sample": True})):
        want = omniconv.fft_conv(u, k, **how)
        assert np.allclose(oj.fft_conv(u, k, **how), want, atol=1e-5)
        grads = jax.grad(lambda u, k, how=how: (oj.fft_conv(u, k, **how) ** 2).sum(), (0, 1))(
            jnp.asarray(u), jnp.asarray(k)
        )
        expected = omniconv.fft_conv_grad(2 * want, u, k, **how)
        assert np.allclose(grads[0], expected.u, atol=1e-3) and np.allclose(grads[1], expected.k, atol=1e-3)
    k = normal(3, 9)
    turned = oj.fft_conv(u.swapaxes(1, 2), k, layout="BLH")
    assert np.allclose(turned.swapaxes(1, 2), omniconv.fft_conv(u, k), atol=1e-5)
    many, kernels = normal(5, 2, 3, 40), normal(5, 3, 9)
    got = jax.vmap(oj.fft_conv)(many, kernels)
    assert np.allclose(got, [omniconv.fft_conv(a, b) for a, b in zip(many, kernels, strict=True)], atol=1e-5)


def test_errors_name_the_argument():
    u, k = normal(2, 3, 40), normal(3, 9)
    for how, text in (
        ({"skip": normal(4)}, "skip has shape"), ({"mode": "causl"}, "mode is"),
        ({"k_rev": normal(2, 3)}, "k_rev has shape"),
        ({"pre_gate": normal(2, 3, 41)}, "pre_gate has shape"), ({"layout": "LBH"}, "layout is"),
        ({"k_rev": normal(3, 3), "mode": "same"}, "k_rev is given"), ({"activation": "elu"}, "activation is"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            jax.jit(lambda u, k, how=how: oj.fft_conv(u, k, **how))(u, k)
    with pytest.raises(ValueError, match="channels"):
        oj.fft_conv(u, normal(4, 9))
    with pytest.raises(TypeError, match="k has dtype"):
        oj.fft_conv(u, k.astype("int32"))


def test_dropped_frequencies_and_images():
    import omniconv

    u, k = np.random.randn(2, 3, 50).astype("float32"), np.random.randn(3, 50).astype("float32")
    got = jax.jit(lambda u, k: oj.fft_conv(u, k, frequency_keep=0.3))(u, k)
    assert np.allclose(got, omniconv.fft_conv(u, k, frequency_keep=0.3), atol=1e-5)
    x, w = np.random.randn(1, 2, 9, 8).astype("float32"), np.random.randn(2, 1, 5, 3).astype("float32")
    got = jax.jit(oj.fft_conv2d)(x, w)
    assert np.allclose(got, omniconv.fft_conv2d(x, w), atol=1e-5)
    assert jax.grad(lambda w: (oj.fft_conv2d(x, w) ** 2).sum())(jnp.asarray(w)).shape == w.shape
    assert oj.fft_conv(jnp.asarray(u, "bfloat16"), k).dtype == "bfloat16"
