"""Samples against moments and distribution functions: fixed seeds, bounds of 4.5 standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv.vmf import VonMisesFisher
from omniconv.vmf.sampling import _axial
from tests.vmf.oracle import unit

SIGMAS = 4.5  # 7e-6 by chance; the seeds are fixed


def within(values: np.ndarray, mean: float) -> None:
    """The mean of independent values is this one."""
    error = values.std() / np.sqrt(values.size)
    assert abs(values.mean() - mean) <= SIGMAS * error, (values.mean(), mean, error)


@pytest.mark.parametrize("p", [2, 3, 4, 10, 300])
@pytest.mark.parametrize("relative", [0.0, 1e-3, 0.3, 1.0, 10.0, 1e4, 1e13])
def test_moments(p, relative):
    kappa, n = relative * p, 200_000 if p < 100 else 20_000
    d = VonMisesFisher(unit(np.random.default_rng(p), p), kappa)
    t, sine = _axial(np.random.default_rng(11 * p), p, np.full(n, kappa))
    within(t, d.mean_resultantc)  # E(1 - w)
    square = (p - 1) * d.mean_resultant / kappa if kappa else (p - 1) / p
    within(sine**2, square)  # E(1 - w^2)
    np.testing.assert_allclose(sine**2, t * (2 - t), rtol=1e-9, atol=1e-15)
    x = d.sample(n // 10, seed=p)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-14)
    tangent = x - (x @ d.mu)[:, None] * d.mu
    if relative < 1e6:  # beyond, the last digits of x are larger
        for axis in range(min(p, 5)):
            within(tangent[:, axis], 0)
            within(tangent[:, axis] ** 2, square * (1 - d.mu[axis] ** 2) / (p - 1))
        within(1 - x @ d.mu, d.mean_resultantc)


@pytest.mark.parametrize("kappa", [1e-3, 0.7, 6.0, 400.0])
def test_distribution_functions(kappa):
    stats = pytest.importorskip("scipy.stats")
    mu = np.array([0.6, -0.8])
    x = VonMisesFisher(mu, kappa).sample(50_000, seed=5)
    angle = np.arctan2(x[:, 1] * mu[0] - x[:, 0] * mu[1], x @ mu)
    assert stats.kstest(angle, stats.vonmises(kappa).cdf).pvalue > 1e-4
    t, _ = _axial(np.random.default_rng(6), 3, np.full(50_000, kappa))
    assert stats.kstest(t, lambda s: np.expm1(-kappa * s) / np.expm1(-2 * kappa)).pvalue > 1e-4
    # p = 3 by rejection must agree with inversion: its envelope for p = 3 + 1e-9.
    t, _ = _axial(np.random.default_rng(7), 3 + 1e-9, np.full(50_000, kappa))
    assert stats.kstest(t, lambda s: np.expm1(-kappa * s) / np.expm1(-2 * kappa)).pvalue > 1e-4


@pytest.mark.parametrize("p", [2, 3, 6])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_mu_on_an_axis(p, sign, axis):
    mu = np.zeros(p)
    mu[axis] = sign
    x = VonMisesFisher(mu, 50.0).sample(2000, seed=1)
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x.mean(axis=0) @ mu, VonMisesFisher(mu, 50.0).mean_resultant, atol=0.02)


def test_concentrated_samples_keep_their_digits():
    """The spread around mu is right when it is a million times smaller than mu's own digits allow 1 - w to be."""
    for p in (2, 3, 50):
        t, _ = _axial(np.random.default_rng(2), p, np.full(100_000, 1e25))
        within(t, (p - 1) / 2e25)


def test_batches_and_blocks():
    rng = np.random.default_rng(8)
    d = VonMisesFisher(unit(rng, 3, 4096), np.array([0.0, 4e3, 4e6]))
    x = d.sample(300, seed=9)  # several blocks
    assert x.shape == (300, 3, 4096)
    along = np.einsum("nbp,bp->nb", x, d.mu)
    np.testing.assert_allclose(along.mean(axis=0), d.mean_resultant, atol=0.005)
    assert d.sample(seed=1).shape == (3, 4096) and d.sample((2, 0), seed=1).shape == (2, 0, 3, 4096)


def test_seeds_and_types():
    d = VonMisesFisher(np.eye(5)[3], 2.0)
    assert (d.sample(9, seed=3) == d.sample(9, seed=np.random.default_rng(3))).all()
    assert (d.sample(9, seed=3) != d.sample(9, seed=4)).any()
    assert (d.sample(9) != d.sample(9)).any()
    single = d.sample(9, seed=3, dtype=np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, d.sample(9, seed=3).astype(np.float32))
