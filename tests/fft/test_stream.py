"""Streams against the whole convolution: any cut of the samples, states, several streams, work that grows slowly."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import bound, error, normal, oracle


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("taps", "block"), [(1, 1), (2, 1), (5, 8), (64, 4), (100, 16), (1000, 32)])
def test_any_cut(taps, block, dtype, isa):
    u, k = normal(2, 3, 700, dtype=dtype), normal(3, taps, seed=1, dtype=dtype)
    want = oracle(u, k)
    cuts = np.unique(np.random.default_rng(taps).integers(1, 700, 40))
    for sizes in ([1] * 700, [700], [1, 2, 3, 250, 444], list(np.diff([0, *cuts, 700]))):
        stream = omniconv.FFTConvStream(k, block, batch=2)
        got, at = [], 0
        for size in sizes:
            part = u[..., at : at + size]
            got.append(stream.step(part[..., 0])[..., None] if size == 1 else stream.push(part))
            at += size
        assert error(np.concatenate(got, -1), want) <= 2 * bound(dtype, 700)
        assert stream.position == 700


def test_every_output_is_final():
    """A sample changes no output before it, and the stream does not wait for it."""
    k, u = normal(1, 300), normal(1, 1, 500)
    stream = omniconv.FFTConvStream(k, 8)
    early = stream.push(u[..., :333])
    assert error(early, oracle(u, k)[..., :333]) <= 6e-7


def test_states():
    k, u = normal(4, 90), normal(3, 4, 400, seed=1)
    want = oracle(u, k)
    stream = omniconv.FFTConvStream(k, 16, batch=3)
    stream.prefill(u[..., :217])
    state = stream.state()
    first = stream.push(u[..., 217:])
    other = omniconv.FFTConvStream(k, 16)
    other.load_state(state)
    assert np.array_equal(other.push(u[..., 217:]), first) and error(first, want[..., 217:]) <= 1e-6
    stream.load_state(state)
    stream.reorder([2, 0, 0, 1])
    order = [2, 0, 0, 1]
    assert error(stream.push(u[order][..., 217:]), want[order][..., 217:]) <= 1e-6
    stream.reset()
    assert stream.position == 0
    assert error(stream.push(u[order]), want[order]) <= 1e-6
    torch = pytest.importorskip("torch")
    out = omniconv.FFTConvStream(torch.from_numpy(k), 16, batch=3).push(torch.from_numpy(u))
    assert isinstance(out, torch.Tensor) and error(out.numpy(), want) <= 1e-6


def test_squares_are_few(monkeypatch):
    """4096 steps transform 4096 / (2 U) squares of each U: work O(L log^2 L)."""
    from omniconv import fft_stream

    samples = {}

    def counted(u, *args, **how):
        samples[u.shape[-1]] = samples.get(u.shape[-1], 0) + 1
        return omniconv.fft_conv(u, *args, **how)

    monkeypatch.setattr(fft_stream, "fft_conv", counted)
    stream = omniconv.FFTConvStream(normal(1, 4096), 64)
    for x in normal(1, 1, 4096)[0, 0]:
        stream.step(np.full((1, 1), x, "float32"))
    assert samples == {
        size: 4096 // size if size == 4096 else 2048 // size for size in (64, 128, 256, 512, 1024, 2048, 4096)
    }


def test_bad_input():
    k = normal(3, 50)
    for make, kind, text in (
        (lambda: omniconv.FFTConvStream(normal(50)), ValueError, "k has shape"),
        (lambda: omniconv.FFTConvStream(k, 12), ValueError, "block is 12"),
        (lambda: omniconv.FFTConvStream(k, 0), ValueError, "block is 0"),
        (lambda: omniconv.FFTConvStream(k, batch=1.5), TypeError, "batch is"),
        (lambda: omniconv.FFTConvStream(k).push(normal(1, 3)), ValueError, "samples has shape"),
        (lambda: omniconv.FFTConvStream(k).push(normal(2, 3, 5)), ValueError, "samples has shape"),
        (lambda: omniconv.FFTConvStream(k).step(normal(1, 2)), ValueError, "sample has shape"),
        (lambda: omniconv.FFTConvStream(k).step(normal(1, 3, dtype="float64")), TypeError, "sample has dtype"),
        (lambda: omniconv.FFTConvStream(k).reorder([1]), ValueError, "order is"),
        (lambda: omniconv.FFTConvStream(k).load_state(omniconv.FFTConvStream(k[:2]).state()), ValueError, "state has"),
    ):  # fmt: skip
        with pytest.raises(kind, match=text):
            make()
