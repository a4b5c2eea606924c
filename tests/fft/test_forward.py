"""fft_conv against float64 sums: every mode, size, algorithm and instruction set; what surrounds the convolution."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import FAST, MODES, SIZES, bound, error, normal, oracle, run


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_every_size(mode, dtype, isa):
    for length, taps in SIZES:
        if mode == "valid" and taps > length:
            continue
        u, k = normal(2, 3, length, dtype=dtype), normal(3, taps, dtype=dtype, seed=1)
        want = oracle(u, k, mode)
        for algorithm in ("auto", *FAST, *(("reference",) if length * taps < 100_000 else ())):
            got = run(algorithm, u, k, mode=mode)
            if got is not None:
                assert error(got, want) <= bound(dtype, length), (length, taps, algorithm)
                assert got.dtype == dtype


def test_long_rows(isa):
    """Sizes whose first passes are done by columns, and those with factors 3 and 5."""
    for length in (100003, 48000, 40000, 65536):
        u, k = normal(2, 1, length), normal(1, length, seed=1)
        for threads in (1, 2):
            omniconv.set_num_threads(threads)
            assert error(run("fft", u, k), oracle(u, k)) <= 6e-7
    u, k = normal(1, 1, 50000, dtype="float64"), normal(1, 50000, dtype="float64", seed=1)
    assert error(run("fft", u, k), oracle(u, k)) <= bound("float64", 50000)


@pytest.mark.parametrize("signal", ["dc", "decay", "impulse", "alternating", "large", "small"])
def test_signals(signal, isa):
    t = np.arange(1500)
    shape = {
        "dc": np.ones(1500), "decay": np.exp(-8 * t / 1500), "impulse": t == 500, "alternating": 1.0 - 2 * (t % 2),
        "large": np.full(1500, 1e4), "small": np.full(1500, 1e-4),
    }[signal]  # fmt: skip
    noise = normal(2, 2, 1500) + (signal == "dc")
    u = (shape * (1 if signal in ("impulse", "alternating") else noise)).astype("float32").reshape(-1, 1500)
    u = np.broadcast_to(u[-1], (2, 2, 1500)).copy()
    k = normal(2, 1500, seed=1)
    for algorithm in FAST:
        got = run(algorithm, u, k)
        assert got is None or error(got, oracle(u, k)) <= 6e-7


def test_what_surrounds_the_convolution(isa):
    length = 700
    u, pre, post = (normal(2, 5, length, seed=i) for i in range(3))
    k, skip, bias = normal(5, 90, seed=3), normal(5, seed=4), normal(5, seed=5)
    v = u.astype(np.float64) * pre
    sums = oracle(v, k) + skip[:, None] * v + bias[:, None]
    for algorithm in (*FAST, "reference"):
        got = run(algorithm, u, k, pre_gate=pre, post_gate=post, skip=skip, bias=bias)
        assert error(got, post * sums) <= 6e-7
        got = run(algorithm, u, k, pre_gate=pre, post_gate=post, skip=skip, bias=bias, activation="silu")
        assert error(got, post * sums / (1 + np.exp(-sums))) <= 6e-7
        got = run(algorithm, u.astype("float64"), k.astype("float64"), activation="tanh")
        assert error(got, np.tanh(oracle(u, k))) <= 1e-14


def test_gates_are_not_interchangeable():
    u, pre, post, k = normal(1, 2, 300), normal(1, 2, 300, seed=1), normal(1, 2, 300, seed=2), normal(2, 300, seed=3)
    got = omniconv.fft_conv(u, k, pre_gate=pre, post_gate=post)
    assert error(got, pre * oracle(post * u, k)) > 0.1


def test_reverse_kernels(isa):
    u = normal(2, 3, 400)
    for taps, back in ((400, 400), (30, 7), (1, 50), (500, 450)):
        k, r = normal(3, taps, seed=1), normal(3, back, seed=2)
        want = oracle(u, k) + oracle(u[..., ::-1], r)[..., ::-1]
        for algorithm in (*FAST, "reference"):
            got = run(algorithm, u, k, k_rev=r)
            assert got is None or error(got, want) <= 6e-7, (taps, back, algorithm)
        want = oracle(u, k, "circular") + oracle(u[..., ::-1], r, "circular")[..., ::-1]
        for algorithm in (*FAST, "reference"):
            got = run(algorithm, u, k, k_rev=r, mode="circular")
            assert got is None or error(got, want) <= 6e-7, (taps, back, algorithm)


def test_several_kernels_and_kernels_per_sample(isa):
    u, k = normal(3, 4, 150), normal(2, 4, 60, seed=1)
    skip, bias = normal(2, 4, seed=2), normal(2, 4, seed=3)
    want = np.stack([oracle(u, kernel) for kernel in k], 1) + skip[..., None] * u[:, None] + bias[..., None]
    each = normal(3, 4, 60, seed=4)
    for algorithm in (*FAST, "reference"):
        assert error(run(algorithm, u, k, skip=skip, bias=bias), want) <= 6e-7
        got = run(algorithm, u, each, per_sample=True)
        assert error(got, np.concatenate([oracle(u[i : i + 1], each[i]) for i in range(3)])) <= 6e-7


def test_layouts_and_strides_give_the_same_bits(isa):
    u, pre, post, k, skip = (
        normal(2, 19, 333), normal(2, 19, 333, seed=1), normal(2, 19, 333, seed=2), normal(19, 40, seed=3), normal(19)
    )  # fmt: skip
    for algorithm in (*FAST, "reference"):
        want = run(algorithm, u, k, pre_gate=pre, post_gate=post, skip=skip)
        turned = [np.ascontiguousarray(a.swapaxes(1, 2)) for a in (u, pre, post)]
        got = run(algorithm, turned[0], k, pre_gate=turned[1], post_gate=turned[2], skip=skip, layout="BLH")
        assert np.array_equal(got.swapaxes(1, 2), want)
        wide = np.zeros((2, 19, 666), "float32")
        wide[..., ::2] = u
        assert np.array_equal(
            run(algorithm, wide[..., ::2], k[:, ::-1][:, ::-1], pre_gate=pre, post_gate=post, skip=skip), want
        )
        back = u[..., ::-1].copy()[..., ::-1]
        assert np.array_equal(run(algorithm, back, k, pre_gate=pre, post_gate=post, skip=skip), want)


def test_flipped_weights_are_cross_correlations():
    torch = pytest.importorskip("torch")
    x, w = torch.randn(2, 6, 50), torch.randn(6, 1, 9)
    want = torch.conv1d(x, w, padding=8, groups=6)[..., :50]
    got = omniconv.fft_conv(x, omniconv.flip_taps(w))
    assert torch.allclose(got, want, atol=1e-5)
    assert np.array_equal(omniconv.flip_taps(w.numpy()), omniconv.flip_taps(w).numpy())


def test_spectra_serve_many_calls():
    import pickle

    k = normal(4, 300)
    for algorithm in ("auto", *FAST, "reference"):
        spectrum = omniconv.KernelSpectrum(k, length=500, algorithm=algorithm)
        again = pickle.loads(pickle.dumps(spectrum))
        for batch in (1, 3):
            u = normal(batch, 4, 500, seed=batch)
            want = omniconv.fft_conv(u, k, algorithm=algorithm)
            assert np.array_equal(omniconv.fft_conv(u, spectrum), want)
            assert np.array_equal(omniconv.fft_conv(u, again), want)
    assert omniconv.KernelSpectrum(k, length=500, mode="same").shape == (4, 300)


def test_partial_kernels_take_little_memory():
    length = 1 << 20
    spectrum = omniconv.KernelSpectrum(normal(1, 1024), length=length)
    assert spectrum.algorithm == "overlap_save"
    assert spectrum.workspace_bytes < 8 << 20
    u = normal(1, 1, length)
    got = omniconv.fft_conv(u, spectrum)
    assert error(got[..., :5000], oracle(u[..., :5000], normal(1, 1024))) <= 6e-7
    assert error(got[..., -5000:], oracle(u[..., -6023:], normal(1, 1024))[..., -5000:]) <= 6e-7
    longer = omniconv.KernelSpectrum(normal(1, 1024), length=4 * length)
    assert longer.workspace_bytes == spectrum.workspace_bytes


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 3e-4), ("bfloat16", 2.5e-3)])
def test_halves(dtype, limit):
    """float32 inside: against float64 sums of the numbers as they were rounded."""
    torch = pytest.importorskip("torch")
    as_half = getattr(torch, dtype)
    u, pre, post, k = (torch.randn(2, 3, 500) for _ in range(3)), None, None, torch.randn(3, 500) * 0.05
    u, pre, post = (t.to(as_half) for t in u)
    want = post.double().numpy() * oracle((u.double() * pre.double()).numpy(), k.numpy())
    got = omniconv.fft_conv(u, k, pre_gate=pre, post_gate=post)
    assert got.dtype == as_half and error(got.double().numpy(), want) <= limit
    out = torch.full_like(got, torch.nan)
    assert omniconv.fft_conv(u, k, pre_gate=pre, post_gate=post, out=out) is out and torch.equal(out, got)
    grads = omniconv.fft_conv_grad(post, u, k, pre_gate=pre, wrt=("u", "k"))
    assert grads.u.dtype == as_half and grads.k.dtype == torch.float32
    wide = omniconv.fft_conv_grad(post.double(), u.double(), k.double(), pre_gate=pre.double(), wrt=("u", "k"))
    assert error(grads.k.double().numpy(), wide.k.numpy()) <= 1e-6
    assert error(grads.u.double().numpy(), wide.u.numpy()) <= limit
    if dtype == "float16":
        same = omniconv.fft_conv(u.numpy(), k.numpy(), pre_gate=pre.numpy(), post_gate=post.numpy())
        assert same.dtype == dtype and np.array_equal(same, got.numpy())


@pytest.mark.parametrize(
    ("length", "taps", "keep"), [(300, 300, 0.25), (257, 514, 0.5), (64, 7, 1.0), (100, 100, 0.05)]
)
def test_frequencies_that_are_dropped(length, taps, keep, isa):
    """The recipe of frequency-sparse convolution: bins of a transform of 2 L above a limit set to zero."""
    u, k = normal(2, 3, length), normal(3, taps, seed=1)
    spectrum = np.fft.rfft(k.astype("float64"), 2 * length)
    spectrum[:, np.arange(length + 1) > keep * length] = 0
    want = np.fft.irfft(np.fft.rfft(u.astype("float64"), 2 * length) * spectrum, 2 * length)[..., :length]
    assert error(omniconv.fft_conv(u, k, frequency_keep=keep), want) <= 6e-7
    kept = omniconv.KernelSpectrum(k, length=length, frequency_keep=keep)
    assert error(omniconv.fft_conv(u, kept), want) <= 6e-7
    if taps <= length and keep < 1:
        assert error(omniconv.fft_conv(u, k), want) > 0.05
    torch = pytest.importorskip("torch")
    import omniconv.torch as ot

    leaves = [torch.from_numpy(a).double().requires_grad_() for a in (u[:, :1, :20], k[:1, :9])]
    assert torch.autograd.gradcheck(lambda u, k: ot.fft_conv(u, k, frequency_keep=keep), leaves, fast_mode=True)
