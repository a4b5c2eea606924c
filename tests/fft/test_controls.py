"""Negative controls: results wrong in the ways that such code goes wrong fail the measure that right ones pass.

An all-zero output, a shift by one, wrap-around: tests of long convolutions have passed all of these, where tolerances
were relative to the largest element or absolute.
"""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import bound, error, normal, oracle

B, H = 2, 3


def peak_error(got, want, u, k):
    """Largest error of an element over the norms of its row and kernel: what cancellation in a sum does not blow up."""
    scale = np.linalg.norm(u.astype(np.float64), axis=-1) * np.linalg.norm(k.astype(np.float64), axis=-1)
    return float((np.abs(np.asarray(got, np.float64) - want).max(-1) / scale).max())


def passes(got, want, u, k, dtype):
    length = u.shape[-1]
    return error(got, want) <= bound(dtype, length) and peak_error(got, want, u, k) <= bound(dtype, length)


def kernels(kind, taps, dtype):
    k = normal(H, taps, dtype=dtype, seed=1)
    return k * np.exp(-8 * np.arange(taps) / taps).astype(dtype) if kind == "decay" else k


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["white", "dc", "decay"])
@pytest.mark.parametrize("length", [16, 257, 1000, 4096])
def test_wrong_results_fail(length, kind, dtype):
    u, pre, post = (normal(B, H, length, dtype=dtype, seed=i + 2) + (kind == "dc" and i == 0) for i in range(3))
    u, pre, post = (a.astype(dtype) for a in (u, pre, post))
    k = kernels(kind, length, dtype)
    wide = u.astype(np.float64) * pre
    want = post * oracle(wide, k)
    gated = {"pre_gate": pre, "post_gate": post}
    right = omniconv.fft_conv(u, k, **gated)
    assert passes(right, want, u, k, dtype)
    short = k.copy()
    short[:, -1] = 0
    mirrored = np.concatenate([k[:, :1], k[:, :0:-1]], -1)  # what the conjugate of its transform belongs to
    controls = {
        "zeros": np.zeros_like(right),
        "shifted": np.roll(right, 1, -1),
        "not gated": omniconv.fft_conv(u, k),
        "wrapped around": omniconv.fft_conv(u, k, mode="circular", **gated),
        "last tap dropped": omniconv.fft_conv(u, short, **gated),
        "gates swapped": omniconv.fft_conv(u, k, pre_gate=post, post_gate=pre),
        "conjugated": omniconv.fft_conv(u, mirrored, mode="circular", **gated),
        "conjugated, causal": omniconv.fft_conv(u, mirrored, **gated),
        "samples swapped": right[::-1],
        "channels swapped": right[:, ::-1],
        "a thousandth of the other sample": right + right.dtype.type(1e-3) * right[::-1],
        "one element": np.where(np.arange(length) == length // 2, 0, right),
    }
    if kind == "decay":  # the last tap is 1 / 3000 of the first, and one output alone sees it: below the tolerance
        del controls["last tap dropped"]
    for name, wrong in controls.items():
        assert not passes(wrong, want, u, k, dtype), name


@pytest.mark.parametrize("mode", ["causal", "circular", "same", "full"])
def test_neighbours_of_large_and_broken_rows_are_exact(mode):
    """Rows packed in pairs as one complex row would leak eps times the larger one, and every NaN."""
    u, k = normal(2, 4, 900), normal(4, 300, seed=1)
    alone = omniconv.fft_conv(u, k, mode=mode)
    for value in (1e6, 1e30, np.inf, np.nan):
        v = u.copy()
        v[0, 1] *= np.float32(value)
        got = omniconv.fft_conv(v, k, mode=mode)
        others = np.ones((2, 4), bool)
        others[0, 1] = False
        np.testing.assert_array_equal(got[others], alone[others])
