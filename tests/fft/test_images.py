"""fft_conv2d against PyTorch's sums in float64, per border; filters by spectra against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import normal

torch = pytest.importorskip("torch")
F = torch.nn.functional


def expected(x, w, b, padding, modes, groups):
    x, w, b = (None if a is None else torch.from_numpy(a).double() for a in (x, w, b))
    ph, pw = padding
    for pad, mode in (((0, 0, ph, ph), modes[0]), ((pw, pw, 0, 0), modes[1])):
        x = F.pad(x, pad, mode="circular") if mode == "circular" else F.pad(x, pad)
    return F.conv2d(x, w, b, groups=groups).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("modes", [(a, b) for a in ("zeros", "circular") for b in ("zeros", "circular")])
def test_borders(modes, dtype, isa):
    for shape, taps, padding in (
        ((2, 3, 14, 14), (7, 7), (3, 3)), ((1, 2, 20, 9), (5, 9), (2, 4)), ((1, 2, 9, 20), (4, 3), (0, 1)),
        ((2, 1, 16, 16), (16, 16), (0, 0)), ((1, 2, 30, 31), (31, 1), (15, 0)), ((1, 1, 5, 6), (1, 1), (0, 0)),
        ((1, 2, 200, 210), (31, 31), (15, 15)), ((1, 1, 8, 8), (9, 9), (8, 7)),
    ):  # fmt: skip
        x, w = normal(*shape, dtype=dtype), normal(shape[1], 1, *taps, dtype=dtype, seed=1)
        b = normal(shape[1], dtype=dtype, seed=2)
        got = omniconv.fft_conv2d(x, w, b, padding=padding, padding_mode=modes)
        want = expected(x, w, b, padding, modes, shape[1])
        assert got.dtype == dtype and got.shape == want.shape
        assert np.linalg.norm(got - want) <= (6e-7 if dtype == "float32" else 5e-14) * np.linalg.norm(want), (
            shape,
            taps,
        )


@pytest.mark.parametrize(("channels", "outputs", "groups"), [(6, 6, 6), (6, 12, 6), (6, 4, 2), (3, 2, 1)])
def test_groups_and_gradients(channels, outputs, groups):
    import omniconv.torch as ot

    x, w, b = normal(2, channels, 12, 13), normal(outputs, channels // groups, 5, 5, seed=1), normal(outputs, seed=2)
    want = expected(x, w, b, (2, 2), ("zeros", "zeros"), groups)
    got = omniconv.fft_conv2d(x, w, b, groups=groups)
    assert np.linalg.norm(got - want) <= 6e-7 * np.linalg.norm(want)
    leaves = [torch.from_numpy(a).double().requires_grad_() for a in (x, w, b)]
    call = lambda x, w, b: ot.fft_conv2d(x, w, b, groups=groups, padding_mode=("circular", "zeros"))  # noqa: E731
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


def test_bad_images():
    x, w = normal(1, 4, 9, 9), normal(4, 1, 3, 3)
    for change, text in (
        ({"x": normal(4, 9, 9)}, "x has shape"), ({"weight": normal(4, 3, 3)}, "weight has shape"),
        ({"weight": normal(4, 2, 3, 3)}, "with 4 groups"), ({"groups": 3}, "groups is 3"),
        ({"groups": 0}, "groups is 0"),
        ({"padding": 3}, r"padding is \(3, 3\)"), ({"padding": (1, -1)}, "padding is"),
        ({"padding": (1,)}, "padding is"),
        ({"weight": normal(4, 1, 2, 3)}, "needs odd"), ({"padding_mode": "reflect"}, "padding_mode is 'reflect'"),
        ({"bias": normal(3)}, "bias has shape"), ({"weight": normal(4, 1, 11, 11), "padding": 0}, "larger than"),
        ({"weight": normal(4, 1, 21, 21), "padding": 10, "padding_mode": "circular"}, "more than a period"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            omniconv.fft_conv2d(**({"x": x, "weight": w} | change))


@pytest.mark.parametrize("size", [(14, 14), (7, 9), (8, 5)])
def test_global_filter(size):
    x, w = normal(2, *size, 6, dtype="float64"), normal(size[0], size[1] // 2 + 1, 6, 2, seed=1, dtype="float64")
    want = torch.fft.irfft2(
        torch.fft.rfft2(torch.from_numpy(x), dim=(1, 2), norm="ortho") * torch.view_as_complex(torch.from_numpy(w)),
        s=size, dim=(1, 2), norm="ortho",
    ).numpy()  # fmt: skip
    assert np.allclose(omniconv.global_filter2d(x, w), want, rtol=0, atol=1e-12)
    assert np.allclose(omniconv.global_filter2d(x, w[..., 0] + 1j * w[..., 1]), want, rtol=0, atol=1e-12)
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, w)]
    assert torch.autograd.gradcheck(omniconv.global_filter2d, tensors, fast_mode=True)
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    grads = jax.grad(lambda x, w: omniconv.global_filter2d(x, w).sum(), (0, 1))(
        *(jnp.asarray(a, "float32") for a in (x, w))
    )
    omniconv.global_filter2d(*tensors).sum().backward()
    for got, t in zip(grads, tensors, strict=True):
        assert np.allclose(got, t.grad, atol=1e-3)
    with pytest.raises(ValueError, match="x has shape"):
        omniconv.global_filter2d(x[:, :-1], w)


def test_affnet_filter():
    x, w1, w2 = normal(2, 12, 8, 10, dtype="float64"), *(normal(2, 3, 4, 4, seed=i, dtype="float64") for i in (1, 2))
    b1, b2 = (normal(2, 3, 4, seed=i, dtype="float64") for i in (3, 4))
    z = np.fft.rfft2(x, norm="ortho")
    y = np.zeros_like(z)
    layers = (w1, b1), (w2, b2)
    for block in range(3):  # frequency by frequency, complex
        part = z[:, 4 * block : 4 * block + 4]
        (m1, c1), (m2, c2) = ((w[0, block] + 1j * w[1, block], b[0, block] + 1j * b[1, block]) for w, b in layers)
        hidden = np.einsum("bihw,io->bohw", part, m1) + c1[:, None, None]
        hidden = np.maximum(hidden.real, 0) + 1j * np.maximum(hidden.imag, 0)
        mask = np.einsum("bihw,io->bohw", hidden, m2) + c2[:, None, None]
        shrink = lambda v: np.sign(v) * np.maximum(np.abs(v) - 0.5, 0)  # noqa: E731
        y[:, 4 * block : 4 * block + 4] = (shrink(mask.real) + 1j * shrink(mask.imag)) * part
    want = x + np.fft.irfft2(y, s=x.shape[2:], norm="ortho")
    got = omniconv.affnet_filter2d(x, w1, b1, w2, b2, threshold=0.5)
    assert np.allclose(got, want, rtol=0, atol=1e-12)
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, w1, b1, w2, b2)]
    assert torch.allclose(omniconv.affnet_filter2d(*tensors, threshold=0.5), torch.from_numpy(want))
    silu = lambda *a: omniconv.affnet_filter2d(*a, threshold=0.5, activation=F.silu)  # noqa: E731
    assert torch.autograd.gradcheck(silu, tensors, fast_mode=True)
