"""The same bits for any threads, batch and place in it; rows that do not touch each other; outputs written once."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import FAST, MODES, normal, run

PROBLEMS = [
    (1000, 1000, "fft"),
    (1000, 60, "overlap_save"),
    (9000, 37, "direct"),
    (90000, 90000, "fft"),
    (50000, 300, "overlap_save"),
]


@pytest.mark.parametrize(("length", "taps", "algorithm"), PROBLEMS)
def test_threads_and_batches(length, taps, algorithm, isa):
    u, pre, k, skip = normal(4, 3, length), normal(4, 3, length, seed=1), normal(3, taps, seed=2), normal(3)
    how = {"skip": skip, "activation": "gelu"}
    omniconv.set_num_threads(1)
    want = run(algorithm, u, k, pre_gate=pre, **how)
    for threads in (2, 3):
        omniconv.set_num_threads(threads)
        assert np.array_equal(run(algorithm, u, k, pre_gate=pre, **how), want)
        for i in range(4):
            one = run(algorithm, u[i : i + 1], k, pre_gate=pre[i : i + 1], **how)
            assert np.array_equal(one, want[i : i + 1])
        one = run(algorithm, u[:1, 1:2], k[1:2], pre_gate=pre[:1, 1:2], skip=skip[1:2], activation="gelu")
        assert np.array_equal(one, want[:1, 1:2])


@pytest.mark.parametrize("algorithm", FAST)
def test_gradients_by_threads(algorithm, isa):
    u, k, g = normal(3, 5, 900), normal(5, 80, seed=1), normal(3, 5, 900, seed=2)
    how = {"skip": normal(5), "post_gate": normal(3, 5, 900, seed=3), "algorithm": algorithm}
    omniconv.set_num_threads(1)
    want = omniconv.fft_conv_grad(g, u, k, **how)
    for threads in (2, 3):
        omniconv.set_num_threads(threads)
        for got, expected in zip(omniconv.fft_conv_grad(g, u, k, **how), want, strict=True):
            assert expected is None or np.array_equal(got, expected)
    part = omniconv.fft_conv_grad(g[1:2], u[1:2], k, **(how | {"post_gate": how["post_gate"][1:2]}))
    assert np.array_equal(part.u, want.u[1:2])


@pytest.mark.parametrize("value", [1e6, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("algorithm", [*FAST, "reference"])
def test_rows_do_not_touch_each_other(algorithm, value, isa):
    """What two rows packed into one complex row would: here a partner's bits never change."""
    u, k = normal(3, 4, 500), normal(4, 70, seed=1)
    want = run(algorithm, u, k)
    with np.errstate(all="ignore"):
        for row in ((0, 0), (1, 2), (2, 3)):
            changed = u.copy()
            changed[row] *= value
            got = run(algorithm, changed, k)
            same = np.ones((3, 4), bool)
            same[row] = False
            assert np.array_equal(got[same], want[same])
            assert not np.array_equal(got[row], want[row])
        loud = k.copy()
        loud[2] *= value
        assert np.array_equal(run(algorithm, u, loud)[:, [0, 1, 3]], want[:, [0, 1, 3]])


@pytest.mark.parametrize("mode", MODES)
def test_every_output_is_written_and_nothing_beside(mode, isa):
    for length, taps in ((1, 1), (7, 3), (255, 100), (1000, 1000), (5000, 40)):
        u, k = normal(2, 3, length), normal(3, taps, seed=1)
        for algorithm in FAST:
            want = run(algorithm, u, k, mode=mode)
            if want is None:
                continue
            room = np.full((2, 3, want.shape[-1] + 33), np.nan, "float32")
            out = room[..., 16:-17]
            assert omniconv.fft_conv(u, k, mode=mode, algorithm=algorithm, out=out) is out
            assert np.array_equal(out, want)
            assert np.isnan(room[..., :16]).all() and np.isnan(room[..., -17:]).all()


def test_elements_beside_a_row_are_not_read(isa):
    """NaN on both sides of every row, and in the gate's."""
    for length, taps in ((5, 5), (300, 40), (4097, 200)):
        room = np.full((2, 2, length + 40), np.nan, "float32")
        room[..., 20:-20] = normal(2, 2, length)
        gates = np.full((2, 2, length + 40), np.nan, "float32")
        gates[..., 20:-20] = normal(2, 2, length, seed=1)
        k = normal(2, taps, seed=2)
        for algorithm in FAST:
            got = run(algorithm, room[..., 20:-20], k, pre_gate=gates[..., 20:-20])
            assert got is None or np.isfinite(got).all()
