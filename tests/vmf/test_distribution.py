"""Density, entropy, divergences: against mpmath, SciPy, and identities where both stop."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from omniconv.vmf import VonMisesFisher
from tests.vmf import oracle
from tests.vmf.oracle import mp, unit

POINTS = [
    (p, float(kappa))
    for seed, p in enumerate((2, 3, 4, 7, 20, 67, 301, 22))
    for kappa in 10.0 ** np.random.default_rng(seed).uniform(-4, 3, 8)
]


def error(found: float, exact: object) -> float:
    """Of max(1, |value|)."""
    return float(abs(mp.mpf(float(found)) - exact) / max(1, abs(exact)))


@pytest.mark.parametrize(("p", "kappa"), POINTS)
def test_functions_of_kappa(p, kappa):
    d, k = VonMisesFisher(np.eye(p)[0], kappa), mp.mpf(kappa)
    c, a = oracle.log_c(p, k), oracle.resultant(p, k)
    assert error(d.log_normalizer, c) < 1e-14
    assert error(d.entropy(), -c - k * a) < 1e-14
    exact = c + k * a + oracle.log_area(p)
    assert float(abs(mp.mpf(float(d.kl_uniform())) / exact - 1)) < 2e-14  # relatively: it may be tiny
    assert float(abs(mp.mpf(float(d.mean_resultant)) / a - 1)) < 1e-15
    assert float(abs(mp.mpf(float(d.mean_resultantc)) / (1 - a) - 1)) < 1e-15


@pytest.mark.parametrize("p", [2, 3, 16, 200])
@pytest.mark.parametrize("distance", [1e-1, 1e-4, 1e-8, 1e-12])
def test_divergence_of_distributions_that_almost_agree(p, distance):
    """Relative accuracy, though every term of the textbook formula is many times the result."""
    rng = np.random.default_rng(p)
    for kappa in (0.3, 5.0, 300.0):
        mu1 = unit(rng, p)
        mu2 = mu1 + distance * unit(rng, p)
        mu2 /= np.linalg.norm(mu2)
        d1, d2 = VonMisesFisher(mu1, kappa), VonMisesFisher(mu2, kappa * (1 + distance))
        # What the class was given are directions; norms differ from 1 in the last digit.
        a, b = oracle.exact(d1.mu), oracle.exact(d2.mu)
        norms = mp.sqrt(mp.fsum(t * t for t in a)), mp.sqrt(mp.fsum(t * t for t in b))
        apart = mp.fsum((s / norms[0] - t / norms[1]) ** 2 for s, t in zip(a, b, strict=True)) / 2
        exact = oracle.kl(p, d1.kappa, d2.kappa, apart)
        assert exact > 0
        # The last digits of mu2 - mu1 and of its length are those of the coordinates.
        assert float(abs(mp.mpf(float(d1.kl(d2))) / exact - 1)) < max(1e-13, 1e-15 / distance)


def test_divergence_of_concentrations_alone_keeps_every_digit():
    mu = np.eye(5)[2]
    for kappa in (1e-3, 2.0, 700.0):
        for step in (1e-2, 1e-7, 1e-13):
            other = kappa * (1 + step)
            exact = oracle.kl(5, kappa, other, 0)
            assert (
                float(abs(mp.mpf(float(VonMisesFisher(mu, kappa).kl(VonMisesFisher(mu, other)))) / exact - 1)) < 1e-14
            )


def test_divergence_far_apart_and_from_almost_uniform():
    for p, k1, k2, cos in [
        (3, 1e-8, 500.0, -1.0),
        (40, 400.0, 1e-5, 0.3),
        (9, 900.0, 1.0, -0.7),
        (2, 0.5, 800.0, 0.99),
    ]:
        mu2 = np.zeros(p)
        mu2[:2] = cos, np.sqrt(1 - cos**2)
        found = VonMisesFisher(np.eye(p)[0], k1).kl(VonMisesFisher(mu2, k2))
        assert error(found, oracle.kl(p, k1, k2, 1 - mp.mpf(cos))) < 2e-14


def test_kappa_zero_is_uniform():
    for p in (2, 3, 10, 100_000):
        d = VonMisesFisher(np.eye(1, p)[0], 0.0)
        assert d.kl_uniform() == 0 and d.mean_resultant == 0 and d.mean_resultantc == 1
        assert d.entropy() == -d.log_normalizer
        assert d.kl(d) == 0
    assert float(VonMisesFisher([0.0, 1.0], 0.0).pdf([1.0, 0.0])) == pytest.approx(1 / (2 * np.pi), rel=1e-15)


@pytest.mark.parametrize("p", [2, 3, 1024, 10**6])
@pytest.mark.parametrize("kappa", [0.0, 5e-324, 1e-160, 1.0, 1e5, 1e12, 1e300])
def test_always_finite(p, kappa):
    d = VonMisesFisher(np.eye(1, p)[0], kappa)
    other = VonMisesFisher(-np.eye(1, p)[0], 1.0)
    for value in (d.log_normalizer, d.entropy(), d.kl_uniform(), d.kl(other), d.kl(d), d.logpdf(d.mu), d.logpdf(-d.mu)):
        assert np.isfinite(value)


def test_logpdf_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for p in (2, 3, 10, 50):
        for kappa in (0.01, 1.0, 80.0):
            mu, x = unit(rng, p), unit(rng, 20, p)
            theirs, ours = stats.vonmises_fisher(mu, kappa), VonMisesFisher(mu, kappa)
            np.testing.assert_allclose(ours.logpdf(x), theirs.logpdf(x), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(ours.pdf(x), theirs.pdf(x), rtol=1e-11)
            np.testing.assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-12, atol=1e-12)


def test_logpdf_of_a_concentrated_distribution():
    """kappa (1 - cos) to all digits, where kappa cos would leave four."""
    rng, kappa = np.random.default_rng(1), 1e12
    d = VonMisesFisher(unit(rng, 6), kappa)
    x = d.sample(20, rng)
    for row, value in zip(x, d.logpdf(x), strict=True):
        a, b = oracle.exact(row), oracle.exact(d.mu)
        norms = mp.sqrt(mp.fsum(t * t for t in a)), mp.sqrt(mp.fsum(t * t for t in b))
        close = mp.fsum((s / norms[0] - t / norms[1]) ** 2 for s, t in zip(a, b, strict=True)) / 2
        # log c + kappa for large kappa: Hankel's series of I_2 needs two terms here.
        peak = 2 * mp.log(kappa) - 3 * mp.log(2 * mp.pi) + mp.log(2 * mp.pi * kappa) / 2 + mp.mpf(15) / (8 * kappa)
        assert float(abs(value - (peak - kappa * close))) < 1e-8  # of some 60: the last digits of x are worth 1e-9


def test_density_integrates_to_one():
    """Over the cosine, by Gauss-Legendre, with the area of the parallel."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    for p, kappa in [(3, 0.1), (3, 20.0), (8, 3.0), (40, 60.0)]:
        x = np.zeros((200, p))
        x[:, 0], x[:, 1] = nodes, np.sqrt((1 - nodes) * (1 + nodes))
        area = float(mp.exp(oracle.log_area(p - 1)))
        density = VonMisesFisher(np.eye(p)[0], kappa).pdf(x)
        assert weights @ (density * area * (1 - nodes**2) ** ((p - 3) / 2)) == pytest.approx(1, abs=1e-12)


def test_batches_broadcast():
    rng = np.random.default_rng(2)
    mu, kappa, x = unit(rng, 4, 1, 5), rng.uniform(0, 9, 3), unit(rng, 7, 1, 1, 5)
    d = VonMisesFisher(mu, kappa)
    assert d.batch_shape == (4, 3) and d.p == 5
    assert d.logpdf(x).shape == (7, 4, 3)
    assert d.mean().shape == (4, 3, 5) and d.sample((2, 6), 0).shape == (2, 6, 4, 3, 5)
    for values in (d.entropy(), d.kl_uniform(), d.mean_resultant, d.mean_resultantc, d.log_normalizer, d.kl(d)):
        assert values.shape == (4, 3)
    one = VonMisesFisher(mu[2, 0], kappa[1])
    np.testing.assert_allclose(d.logpdf(x)[:, 2, 1], one.logpdf(x[:, 0, 0]), rtol=1e-14)
    assert d.kl(one)[2, 1] == 0 and d.kl(one).shape == (4, 3)
    assert d.entropy()[2, 1] == one.entropy()
    assert np.ndim(one.entropy()) == 0 and np.ndim(one.logpdf(mu[0, 0])) == 0


def test_kinds_of_arrays():
    rng = np.random.default_rng(3)
    x = unit(rng, 9, 4)
    d = VonMisesFisher(x[0], 3.0)
    expected = d.logpdf(x)
    assert isinstance(d.logpdf(x.astype(np.float32)), np.ndarray)
    np.testing.assert_allclose(d.logpdf(x.astype(np.float32)), expected, atol=1e-6)
    np.testing.assert_allclose(d.logpdf(x[::-1].tolist()), expected[::-1], rtol=1e-14)
    np.testing.assert_allclose(d.logpdf(np.asfortranarray(x)), expected, rtol=1e-13)
    torch = pytest.importorskip("torch")
    got = d.logpdf(torch.from_numpy(x))
    assert isinstance(got, torch.Tensor) and got.dtype == torch.float64
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-14)
    np.testing.assert_allclose(d.pdf(torch.from_numpy(x)).numpy(), np.exp(expected), rtol=1e-14)
    assert VonMisesFisher(torch.from_numpy(x[0]), torch.tensor(3.0)).logpdf(x[1]) == expected[1]


def test_jax_arrays():
    jax = pytest.importorskip("jax")
    x = unit(np.random.default_rng(4), 5, 3).astype(np.float32)
    d = VonMisesFisher(jax.numpy.asarray(x[0]), 2.0)
    for got, expected in ((d.logpdf(jax.numpy.asarray(x)), d.logpdf(x)), (d.pdf(jax.numpy.asarray(x)), d.pdf(x))):
        assert isinstance(got, jax.Array)
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-6)


def test_arguments_are_not_changed():
    mu, kappa = np.eye(3)[1], np.array(2.0)
    d = VonMisesFisher(mu, kappa)
    mu[:], kappa[...] = 0, -1
    assert d.kappa == 2 and d.mu[1] == 1
    with pytest.raises(ValueError):
        d.mu[0] = 1.0


def test_import_takes_no_optional_package():
    optional = ("scipy", "dask", "sklearn", "tqdm", "torch", "jax")
    code = f"import sys, omniconv.vmf; print([name for name in {optional} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
