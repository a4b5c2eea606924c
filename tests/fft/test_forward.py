"""fft_conv against float64 sums: every mode, size, algorithm and instruction set; what surrounds the convolution."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import omniconv
from omniconv import _core
from omniconv.fft import lower_rate
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


def banded(u, k, keep):
    """The recipe of frequency-sparse convolution in float64: bins of a transform of 2 L above a limit set to zero."""
    length = u.shape[-1]
    spectrum = np.fft.rfft(k.astype("float64"), 2 * length)
    spectrum[..., np.arange(length + 1) > keep * length] = 0
    return np.fft.irfft(np.fft.rfft(u.astype("float64"), 2 * length) * spectrum, 2 * length)[..., :length]


@pytest.mark.parametrize(
    ("length", "taps", "keep"), [(300, 300, 0.25), (257, 514, 0.5), (64, 7, 1.0), (100, 100, 0.05)]
)
def test_frequencies_that_are_dropped(length, taps, keep, isa):
    u, k = normal(2, 3, length), normal(3, taps, seed=1)
    want = banded(u, k, keep)
    assert error(omniconv.fft_conv(u, k, frequency_keep=keep), want) <= 6e-7
    kept = omniconv.KernelSpectrum(k, length=length, frequency_keep=keep)
    assert error(omniconv.fft_conv(u, kept), want) <= 6e-7
    if taps <= length and keep < 1:
        assert error(omniconv.fft_conv(u, k), want) > 0.05
    torch = pytest.importorskip("torch")
    import omniconv.torch as ot

    leaves = [torch.from_numpy(a).double().requires_grad_() for a in (u[:, :1, :20], k[:1, :9])]
    assert torch.autograd.gradcheck(lambda u, k: ot.fft_conv(u, k, frequency_keep=keep), leaves, fast_mode=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_at_a_lower_rate(dtype, isa):
    """Any length, any number of halvings, whether they save time or not."""
    for length, taps, keep, halvings in (
        (1, 1, 0.2, 1), (7, 7, 0.1, 1), (301, 301, 0.25, 1), (300, 600, 0.1, 2), (1000, 40, 0.02, 3),
        (4097, 4097, 0.38 if dtype == "float32" else 0.3, 1), (2500, 2500, 0.12, 2),
    ):  # fmt: skip
        u, k = normal(2, 3, length, dtype=dtype), normal(3, taps, dtype=dtype, seed=1)
        kernels = [a.astype(dtype) for a in lower_rate(k.astype("float64"), length, keep, dtype, halvings)]
        samples = kernels[0].shape[-1]
        plan = _core.FftConvPlan(dtype, "causal", length, samples, samples, "auto", halvings, keep)
        got = np.full_like(u, np.nan)
        plan.run(plan.transform(*kernels), u, got)
        assert plan.algorithm == "fft" and plan.output_length == length
        assert error(got, banded(u, k, keep)) <= bound(dtype, length), (length, halvings)
        # U C D and its transpose
        g, back = normal(2, 3, length, dtype=dtype, seed=2), np.full_like(u, np.nan)
        plan.run(plan.transform(*kernels, adjoint=True), g, back)
        ways = [np.vdot(a.astype("float64"), b.astype("float64")) for a, b in ((got, g), (u, back))]
        assert abs(ways[0] - ways[1]) <= 1e-6 * np.linalg.norm(got) * np.linalg.norm(g)
        with pytest.raises(NotImplementedError, match="halvings has no step back"):
            plan.kernel_gradient(u, None, g, k, None)


def test_few_frequencies_take_a_lower_rate(isa):
    """Chosen by itself on long rows; with all that surrounds a convolution, and the same bits everywhere."""
    length, keep = 20000, 0.06
    u, pre, post = (normal(3, 4, length, seed=i) for i in range(3))
    k, skip, bias = normal(4, length, seed=3), normal(4, seed=4), normal(4, seed=5)
    kept = omniconv.KernelSpectrum(k, length=length, frequency_keep=keep)
    assert kept.halvings >= 2 and kept.shape == k.shape
    assert omniconv.KernelSpectrum(k[:, :9], length=100, frequency_keep=keep).halvings == 0
    how = {"skip": skip, "bias": bias, "activation": "silu"}
    v = u.astype("float64") * pre
    s = banded(v, k, keep) + skip[:, None] * v + bias[:, None]
    want = post * s / (1 + np.exp(-s))
    got = omniconv.fft_conv(u, kept, pre_gate=pre, post_gate=post, **how)
    assert error(got, want) <= 6e-7
    assert np.array_equal(omniconv.fft_conv(u, k, frequency_keep=keep, pre_gate=pre, post_gate=post, **how), got)
    sums = np.empty_like(u)
    assert np.array_equal(omniconv.fft_conv(u, kept, pre_gate=pre, post_gate=post, sums=sums, **how), got)
    assert error(sums, s) <= 6e-7
    swapped = [np.ascontiguousarray(a.transpose(0, 2, 1)) for a in (u, pre, post)]
    blh = omniconv.fft_conv(swapped[0], kept, pre_gate=swapped[1], post_gate=swapped[2], layout="BLH", **how)
    assert np.array_equal(blh.transpose(0, 2, 1), got)
    wide = omniconv.KernelSpectrum(np.stack([k, 2 * k]), length=length, frequency_keep=keep)
    both = omniconv.fft_conv(u[:1], wide)
    assert np.array_equal(2 * both[:, 0], both[:, 1]) and np.array_equal(both[:, 0], omniconv.fft_conv(u[:1], kept))
    loud = u.copy()
    loud[0, 0, 7] = np.nan
    rest = omniconv.fft_conv(loud, kept)
    assert np.isnan(rest[0, 0]).any()
    assert np.array_equal(rest.reshape(12, -1)[1:], omniconv.fft_conv(u, kept).reshape(12, -1)[1:])
    again = pickle.loads(pickle.dumps(kept))
    assert again.halvings == kept.halvings and np.array_equal(omniconv.fft_conv(u, again), omniconv.fft_conv(u, kept))
    # Gradients are those of the kernel without its high frequencies, at the full rate.
    grads = omniconv.fft_conv_grad(post, u, kept, wrt=("u",))
    assert error(grads.u[..., ::-1], banded(post[..., ::-1], k, keep)) <= 6e-7


def test_one_long_row_at_a_lower_rate_by_two_threads(isa):
    u, k = normal(1, 1, 150_000), normal(1, 150_000, seed=1)
    kept = omniconv.KernelSpectrum(k, length=150_000, frequency_keep=0.1)
    found = []
    for threads in (1, 2):
        omniconv.set_num_threads(threads)
        found.append(omniconv.fft_conv(u, kept))
    assert kept.halvings >= 2 and np.array_equal(*found) and error(found[0], banded(u, k, 0.1)) <= 6e-7
