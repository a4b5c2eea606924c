"""Concentrations of resultants, and fits: against mpmath, SciPy where it works, and the samples' own parameters."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from omniconv.vmf import VmfStatistics, VonMisesFisher, kappa_from_r
from tests.vmf import oracle
from tests.vmf.oracle import mp, unit


def ulps_from_exact(p: int, kappa: float, r: object) -> float:
    """Distance of kappa from the root of A(kappa) = r: two Newton steps of 60 digits from a value good to 15."""
    root = mp.mpf(kappa)
    for _ in range(2):
        root -= (oracle.resultant(p, root) - r) / oracle.slope(p, root)
    return float(abs(root - mp.mpf(kappa))) / float(np.spacing(kappa))


@pytest.mark.parametrize("p", [2, 3, 5, 12, 67, 400, 3000])
def test_kappa_from_r_to_the_last_digits(p):
    rng = np.random.default_rng(p)
    r = np.concatenate([rng.uniform(0, 0.97, 12), 10.0 ** rng.uniform(-9, -1, 4), [0.5, np.nextafter(0.5, 1)]])
    if p >= 400:
        r = np.minimum(r, 0.6)  # where the oracle takes few steps
    for value, kappa in zip(r, kappa_from_r(p, r), strict=True):
        assert ulps_from_exact(p, float(kappa), mp.mpf(float(value))) <= 4


@pytest.mark.parametrize("p", [2, 3, 10, 100])
def test_kappa_from_the_complement(p):
    for rc in (0.04, 0.3, 0.5, 0.7, 1 - 2.0**-30):
        kappa = float(kappa_from_r(p, rc=rc))
        assert ulps_from_exact(p, kappa, 1 - mp.mpf(rc)) <= 4
    # 1 - A = (p-1) / (2 kappa) - (p-1)(p-3) / (8 kappa^2) - ...: the first term is all there is.
    for rc in (1e-18, 1e-100, 1e-300):
        assert float(kappa_from_r(p, rc=rc)) == pytest.approx((p - 1) / 2 / rc, rel=4e-16 * 4)


@pytest.mark.parametrize("p", [2, 3, 4, 50, 10**6])
def test_kappa_far_out(p):
    """Where four terms of the asymptotic series of 1 - A are all of it."""
    a = mp.mpf(p - 1) / 2
    b = a * (1 - a) / 2
    d = (3 * b + b * b) / 2  # Riccati's equation at order 4: 3 c = 2 d - b^2, and c = b
    for scale in (0.5, 2.0, 1e3, 1e9):
        rc = float(a / (scale * 1e5 * p))
        root = a / mp.mpf(rc)
        for _ in range(40):
            root = (a + b / root + b / root**2 + d / root**3) / mp.mpf(rc)
        kappa = float(kappa_from_r(p, rc=rc))
        assert float(abs(root - mp.mpf(kappa))) / float(np.spacing(kappa)) <= 4


def test_kappa_of_the_ends():
    assert kappa_from_r(7, 0.0) == 0 and kappa_from_r(7, 1.0) == math.inf
    assert kappa_from_r(7, rc=0.0) == math.inf and kappa_from_r(7, rc=1.0) == 0
    assert kappa_from_r(7, 5e-324) == pytest.approx(7 * 5e-324)
    assert kappa_from_r(2, 1e-200) == pytest.approx(2e-200, rel=1e-15)
    assert kappa_from_r(10**6, rc=5e-324) == math.inf  # beyond the largest number
    assert np.isfinite(kappa_from_r(2, np.nextafter(1.0, 0)))


def test_kappa_from_r_broadcasts_and_does_not_mix_elements():
    p, r = np.array([[2], [3], [500]]), np.linspace(0, 1, 41)
    whole = kappa_from_r(p, r)
    assert whole.shape == (3, 41)
    np.testing.assert_array_equal(whole, [[kappa_from_r(int(d), float(s)) for s in r] for d in p[:, 0]])
    assert (np.diff(whole[:, :-1], axis=1) > 0).all()
    assert kappa_from_r(3, np.empty((0, 2))).shape == (0, 2)
    torch = pytest.importorskip("torch")
    assert isinstance(kappa_from_r(3, torch.tensor([0.5])), torch.Tensor)


@pytest.mark.parametrize("p", [2, 3, 10, 50])
@pytest.mark.parametrize("kappa", [0.5, 20.0, 1e6])
def test_fit_agrees_with_scipy(p, kappa):
    stats = pytest.importorskip("scipy.stats")
    x = VonMisesFisher(unit(np.random.default_rng(0), p), kappa).sample(3000, seed=1)
    ours = VonMisesFisher.fit(x)
    mu, theirs = stats.vonmises_fisher.fit(x)
    assert ours.kappa == pytest.approx(theirs, rel=1e-7)  # what its subtraction 1 - r leaves at 1e6
    np.testing.assert_allclose(ours.mu, mu, atol=1e-13)


@pytest.mark.parametrize(("p", "n"), [(67, 2000), (128, 2000), (2048, 400), (8192, 200), (32768, 100)])
@pytest.mark.parametrize("relative", [1.0, 10.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_in_large_dimensions(p, n, relative, dtype):
    """From p = 67 on SciPy 1.17 returns 1e-8 here."""
    d = VonMisesFisher(unit(np.random.default_rng(p), p), relative * p)
    fit = VonMisesFisher.fit(d.sample(n, seed=p, dtype=dtype), bias="debiased")
    assert abs(fit.kappa - d.kappa) <= 4.5 * fit.se
    assert fit.se < 0.1 * fit.kappa
    assert fit.n == n and fit.bias == "debiased" and fit.bias_warning is None
    mu, kappa = fit
    assert mu is fit.mu and kappa == fit.kappa and fit.distribution.kappa == kappa
    # E(1 - cos) of the estimated direction is about (1 - A^2) / (2 n A^2).
    a = d.mean_resultant
    assert 1 - fit.mu @ d.mu < 1.5 * (1 - a * a) / (2 * n * a * a)


def test_standard_error():
    """The spread of estimates over repeated samples is the error that each of them tells."""
    d, n, repeats = VonMisesFisher(np.eye(5)[0], 8.0), 400, 400
    x = d.sample((repeats, n), seed=0)
    fits = [VonMisesFisher.fit(part, bias="debiased") for part in x]
    kappas = np.array([f.kappa for f in fits])
    told = np.mean([f.se for f in fits])
    assert abs(kappas.std() / told - 1) < 4.5 / math.sqrt(2 * repeats)
    assert abs(kappas.mean() - 8) < 4.5 * told / math.sqrt(repeats) + 8 / n  # the rest is a bias of order kappa / n


def test_bias_of_few_vectors_is_told_and_removed():
    d, n, repeats = VonMisesFisher(np.eye(1024)[0], 30.0), 1000, 12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = [
            (VonMisesFisher.fit(x), VonMisesFisher.fit(x, bias="debiased"))
            for x in (d.sample(n, seed) for seed in range(repeats))
        ]
    plain, better = zip(*fits, strict=True)
    assert all(f.bias_warning is not None and "biased" in f.bias_warning for f in plain)
    assert all(f.bias_warning is None for f in better)
    kappas = np.array([f.kappa for f in better])
    assert abs(kappas.mean() - 30) < 4.5 * kappas.std() / math.sqrt(repeats)
    assert np.mean([f.kappa for f in plain]) > 40  # maximum likelihood is off by half
    for f, g in zip(plain, better, strict=True):
        assert f.relative_bias == pytest.approx(f.kappa / g.kappa - 1) == g.relative_bias
    assert VonMisesFisher.fit(VonMisesFisher(np.eye(3)[0], 5.0).sample(1000, 0)).bias_warning is None


def test_bias_of_few_concentrated_vectors_is_removed():
    """Here 1 - r carries it: 2 n kappa (1 - r) is chi-squared with (n - 1)(p - 1) degrees, so 1 / kappa is unbiased."""
    kappa, n, repeats = 1e6, 5, 200
    x = VonMisesFisher(np.eye(3)[0], kappa).sample((repeats, n), seed=0)
    inverse = np.array([1 / VonMisesFisher.fit(part, bias="debiased").kappa for part in x]) * kappa
    assert abs(inverse.mean() - 1) < 4.5 * inverse.std() / math.sqrt(repeats)


def test_uniform_data_may_leave_nothing():
    fit = VonMisesFisher.fit(np.concatenate([np.eye(4), -np.eye(4)]), bias="debiased")
    assert fit.kappa == 0 and fit.r == 0 and fit.rc == 1 and fit.relative_bias == 0
    assert fit.se == pytest.approx(math.sqrt(4 / 8)) and fit.mu.tolist() == [1, 0, 0, 0]
    assert VonMisesFisher.fit(np.eye(4), bias="debiased").kappa == 0
    assert VonMisesFisher.fit(np.eye(4)).relative_bias > 1e9


def test_copies_of_one_vector():
    x = np.tile(unit(np.random.default_rng(0), 9), (50, 1))
    fit = VonMisesFisher.fit(x)
    assert fit.kappa > 1e29 and fit.rc < 1e-30  # inf, but for what rounding does to the mean
    exact = VonMisesFisher.fit(np.tile(np.eye(9)[2], (50, 1)))
    assert exact.kappa == math.inf and exact.se == math.inf and exact.relative_bias == 0
    single = VonMisesFisher.fit(x[:1])
    assert single.bias_warning is not None and "means nothing" in single.bias_warning
    with pytest.raises(ValueError, match="kappa is inf"):
        exact.distribution  # noqa: B018
    with pytest.raises(ValueError, match="needs more than 1"):
        VonMisesFisher.fit(x[:1], bias="debiased")


@pytest.mark.parametrize("kappa", [1e8, 1e12, 1e16, 1e20])
def test_fit_of_almost_a_point(kappa):
    """1 - r is known to all digits though r is 1. The data have 1 - r by mpmath."""
    x = VonMisesFisher(unit(np.random.default_rng(3), 4), min(kappa, 1e26)).sample(200, seed=2)
    x[:, 1] += np.random.default_rng(4).standard_normal(200) / math.sqrt(kappa)
    x /= np.linalg.norm(x, axis=1)[:, None]
    rows = [[mp.mpf(float(t)) for t in row] for row in x]
    rows = [[t / mp.sqrt(mp.fsum(s * s for s in row)) for t in row] for row in rows]
    total = [mp.fsum(column) for column in zip(*rows, strict=True)]
    rc = 1 - mp.sqrt(mp.fsum(t * t for t in total)) / 200
    fit = VonMisesFisher.fit(x)
    # Rounding of the vectors to float64 moves each by 1e-16: little beside a spread of 1 / sqrt(kappa).
    assert fit.rc == pytest.approx(float(rc), rel=1e-15 * math.sqrt(kappa) + 1e-13)
    assert fit.kappa == pytest.approx(1.5 / fit.rc, rel=1e-6)


def test_weights_count_rows():
    rng = np.random.default_rng(5)
    x = VonMisesFisher(unit(rng, 6), 9.0).sample(40, rng)
    counts = rng.integers(0, 5, 40)
    a, b = VonMisesFisher.fit(x, counts), VonMisesFisher.fit(np.repeat(x, counts, axis=0))
    assert a.n == b.n == counts.sum()
    assert a.kappa == pytest.approx(b.kappa, rel=1e-13) and a.se == pytest.approx(b.se, rel=1e-13)
    np.testing.assert_allclose(a.mu, b.mu, rtol=1e-12, atol=1e-14)


def test_fit_of_statistics_is_fit_of_data():
    x = VonMisesFisher(np.eye(7)[0], 5.0).sample(100, seed=0)
    statistics = VmfStatistics.from_data(x)
    a, b = VonMisesFisher.fit(x), VonMisesFisher.fit(statistics)
    assert (a.kappa, a.se, a.r, a.rc) == (b.kappa, b.se, b.r, b.rc)
    c = VonMisesFisher.fit(VmfStatistics(100, x.sum(axis=0)))
    assert c.kappa == pytest.approx(a.kappa, rel=1e-12)
