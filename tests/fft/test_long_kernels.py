"""Kernel makers against their definitions; gradients in torch and JAX. Golden cases hold them too."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import normal

torch = pytest.importorskip("torch")


def double(*shape, seed=0):
    return normal(*shape, seed=seed, dtype="float64")


def test_squash_and_smooth():
    k = double(2, 3, 20)
    assert np.allclose(omniconv.squash(k, 0.5), np.sign(k) * np.maximum(np.abs(k) - 0.5, 0))
    want = torch.nn.functional.avg_pool1d(torch.from_numpy(k), 5, 1, 2).numpy()
    assert np.allclose(omniconv.smooth(k, 5), want, rtol=0, atol=1e-14)
    z = np.fft.rfft(k)
    weights = np.exp(-0.5 * (np.arange(5) - 2) ** 2)
    spread = np.array([[np.convolve(row, weights, "same") for row in rows] for rows in z])
    assert np.allclose(omniconv.smooth(k, 5, domain="frequency"), np.fft.irfft(spread, 20))
    for call in (lambda: omniconv.smooth(k, 4), lambda: omniconv.squash(k, -1), lambda: omniconv.smooth(k, domain="x"),
                 lambda: omniconv.smooth(k[..., :-1], domain="frequency")):  # fmt: skip
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("mode", ["cat", "sum"])
def test_sgconv_kernel(mode, interpolation):
    w, decay = torch.from_numpy(double(4, 2, 3, 6)), torch.tensor([1.5, 2.0, 3.0], dtype=torch.float64)
    parts = []
    for s in range(4):
        factor = 2 ** (max(0, s - 1) if mode == "cat" else s)
        parts.append(
            torch.nn.functional.interpolate(w[s], scale_factor=factor, mode=interpolation) * decay[:, None] ** (3 - s)
        )
    if mode == "cat":
        want = torch.cat(parts, -1)
    else:
        want = sum(torch.nn.functional.pad(p, (0, 48 - p.shape[-1])) for p in parts)
    norm = want.norm(dim=-1, keepdim=True)
    for length in (20, 60):
        k, found = omniconv.sgconv_kernel(w, length, decay=decay, mode=mode, interpolation=interpolation)
        cut = torch.nn.functional.pad(want / norm, (0, 20))[..., :length]
        assert torch.allclose(k, cut, rtol=1e-12, atol=1e-14) and torch.allclose(found, norm)
        assert k.shape == (2, 3, length)
    again, _ = omniconv.sgconv_kernel(list(w), 20, decay=decay, mode=mode, interpolation=interpolation, norm=2 * norm)
    assert torch.allclose(again, want[..., :20] / (2 * norm))


def test_gradients():
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    t, z = omniconv.hyena_positions(9, 5)
    w1, w2, freq = double(6, 5), double(4, 6, seed=1), double(6, seed=2)
    b1, deltas = double(6, seed=3), double(4, seed=4)
    factors = [omniconv.dft_matrix(2), omniconv.dft_matrix(3)]
    calls = {
        "squash": (lambda k: omniconv.squash(k, 0.3), [double(3, 8)]),
        "smooth": (lambda k: omniconv.smooth(k, 3, domain="frequency"), [double(3, 8)]),
        "sgconv": (lambda w: omniconv.sgconv_kernel(w, 12)[0], [double(3, 1, 2, 4)]),
        "hyena": (lambda z, w1, b1, w2, f, t, d: omniconv.hyena_filter(z, [(w1, b1), (w2, None)], f, t, d, shift=0.1),
                  [z, w1, b1, w2, freq, t, deltas]),
        "butterfly": (lambda x, a, b: abs(omniconv.butterfly_fft(x, [a, b])) ** 2, [double(2, 6), *factors]),
    }  # fmt: skip
    for name, (call, arrays) in calls.items():
        tensors = [torch.from_numpy(np.asarray(a)).requires_grad_() for a in arrays]
        assert torch.autograd.gradcheck(call, tensors, fast_mode=True), name
        (call(*tensors) ** 2).sum().backward()
        narrow = [jnp.asarray(a, "complex64" if np.iscomplexobj(a) else "float32") for a in arrays]
        grads = jax.grad(lambda *a, call=call: (call(*a) ** 2).sum(), tuple(range(len(arrays))))(*narrow)
        for got, tensor in zip(grads, tensors, strict=True):
            want = tensor.grad.numpy()
            want = want.conj() if np.iscomplexobj(want) else want  # JAX's gradient of complex numbers is the conjugate
            assert np.linalg.norm(got - want) <= 1e-4 * np.linalg.norm(want), name


def test_butterfly_is_a_transform_of_its_factors():
    x = double(3, 4, 120)
    for sizes in ((120,), (2, 60), (8, 15), (5, 4, 6), (2, 2, 2, 3, 5)):
        got = omniconv.butterfly_fft(x, [omniconv.dft_matrix(n) for n in sizes])
        assert np.allclose(got, np.fft.fft(x), rtol=0, atol=1e-11)
    changed = omniconv.butterfly_fft(x, [2 * omniconv.dft_matrix(8), omniconv.dft_matrix(15)])
    assert np.allclose(changed, 2 * np.fft.fft(x))
    with pytest.raises(ValueError, match="factors have shapes"):
        omniconv.butterfly_fft(x, [omniconv.dft_matrix(8)])


def test_decays_and_positions():
    like = torch.zeros(1)
    assert omniconv.exp_decay(6, 40, like=like).dtype == torch.float32
    rates = -np.log(omniconv.exp_decay(6, 40)[:, 1]) * 40
    assert np.allclose(rates, 3.0 ** (np.arange(6) / 6))
    t, z = omniconv.hyena_positions(32, 7, like=like)
    assert z.shape == (32, 7) and z.dtype == t.dtype == torch.float32 and torch.equal(z[:, 0], t)
    for features in (1, 4):
        with pytest.raises(ValueError, match="features is"):
            omniconv.hyena_positions(32, features)
