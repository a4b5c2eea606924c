"""Large kernels by transforms: when they are taken, and what a transform must not spread."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.conv.problems import laid_out


@pytest.fixture(params=omniconv.available_isas())
def isa(request):
    used = omniconv.isa()
    omniconv.set_isa(request.param)
    yield request.param
    omniconv.set_isa(used)


def images(batch: int, channels: int, size: int, taps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((batch, channels, size, size), dtype=np.float32),
        rng.standard_normal((channels, 1, taps, taps), dtype=np.float32),
    )


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize(("size", "taps"), [(24, 17), (57, 31), (150, 21)])  # the last in blocks
def test_large_kernels(size, taps, mode, isa):
    x, w = images(2, 3, size, taps)
    how = {"padding": taps // 2, "groups": 3, "padding_mode": mode}
    want = omniconv.conv2d(x.astype(np.float64), w.astype(np.float64), **how)
    for layout in ("nchw", "nhwc"):
        y = omniconv.conv2d(laid_out(x, layout), w, algorithm="fft", **how)
        assert np.linalg.norm(y - want) <= 6e-7 * np.linalg.norm(want), layout


def test_auto_takes_it_for_large_kernels_alone():
    shape = (1, 64, 56, 56)
    for op in ("forward", "grad_input"):
        chosen = {
            k: omniconv.algorithms(shape, (64, 1, k, k), op=op, padding=k // 2, groups=64)[0].name for k in (3, 31)
        }
        assert chosen[3] != "fft"
        assert chosen[31] == "fft"


def test_it_declines_what_would_take_large_spectra():
    info = {a.name: a for a in omniconv.algorithms((1, 2, 3000, 3000), (2, 1, 31, 31), padding=15, groups=2)}["fft"]
    assert "elements of a long row" in info.reason
    info = {a.name: a for a in omniconv.algorithms((1, 2, 3000, 3000), (2, 1, 13, 13), padding=6, groups=2)}["fft"]
    assert info.usable
    plan = omniconv.plan_conv2d((1, 2, 3000, 3000), np.ones((2, 1, 13, 13), np.float32), padding=6, groups=2)
    assert plan.packed_bytes < 8 << 20


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"stride": 2}, "stride"), ({"groups": 1}, "input channel")],
)
def test_it_declines_with_a_reason(change, reason):
    how = {"padding": 2, "groups": 4, **change}
    infos = omniconv.algorithms((1, 4, 20, 20), (4, 4 // how["groups"], 5, 5), **how)
    assert reason in next(i.reason for i in infos if i.name == "fft")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_unusual_numbers_stay_in_their_windows(bad, isa):
    x, w = images(2, 2, 40, 13)
    x[0, 1, 5, 6] = bad
    y = omniconv.conv2d(x, w, padding=6, groups=2, algorithm="fft")
    want = omniconv.conv2d(x, w, padding=6, groups=2, algorithm="im2win")
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    fine = np.isfinite(want) & (np.abs(want) < 1e30)
    np.testing.assert_allclose(y[fine], want[fine], rtol=1e-4, atol=1e-4)
    assert fine[0, 1, 20:].all()
    assert fine[1].all()


def test_unusual_weights_stay_in_their_channels():
    x, w = images(1, 3, 40, 13)
    w[1, 0, 2, 3] = np.inf
    y = omniconv.conv2d(x, w, groups=3, algorithm="fft")
    assert np.isfinite(y[:, [0, 2]]).all()
    assert not np.isfinite(y[:, 1]).any()


def test_a_plan_keeps_its_isa():
    x, w = images(1, 2, 40, 15)
    used = omniconv.isa()
    plan = omniconv.plan_conv2d(x.shape, w, groups=2, algorithm="fft")
    want = plan(x)
    try:
        for isa in omniconv.available_isas():
            omniconv.set_isa(isa)
            np.testing.assert_array_equal(plan(x), want)
    finally:
        omniconv.set_isa(used)
