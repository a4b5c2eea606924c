"""Sufficient statistics add up: blocks, orders, pickles, sparse rows, Dask."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from omniconv.vmf import VmfStatistics, VonMisesFisher
from tests.vmf.oracle import unit


def same(a: VmfStatistics, b: VmfStatistics, rel: float = 1e-12) -> None:
    assert a.weight == pytest.approx(b.weight, rel=1e-14)
    np.testing.assert_allclose(a.total, b.total, rtol=1e-12, atol=1e-13 * a.weight)
    assert a.deficit == pytest.approx(b.deficit, rel=rel)


@pytest.mark.parametrize("kappa", [0.0, 3.0, 1e4, 1e12, 1e20])
@pytest.mark.parametrize("p", [2, 3, 40])
def test_parts_add_up_to_the_whole(p, kappa):
    rng = np.random.default_rng(p)
    x, w = VonMisesFisher(unit(rng, p), kappa).sample(500, rng), rng.uniform(0, 3, 500)
    whole = VmfStatistics.from_data(x, w)
    # Means of parts differ by 1 / sqrt(kappa n), and are known to 1e-16.
    rel = 1e-13 + 1e-15 * np.sqrt(kappa)
    cuts = np.sort(rng.integers(0, 500, 12))  # some parts are empty
    parts = [VmfStatistics.from_data(a, b) for a, b in zip(np.split(x, cuts), np.split(w, cuts), strict=True)]
    same(sum(parts), whole, rel)
    same(sum(parts[::-1]), whole, rel)
    same((parts[0] + parts[1]) + (parts[2] + sum(parts[3:])), whole, rel)
    rows = [VmfStatistics.from_data(x[i : i + 1], w[i : i + 1]) for i in range(500)]
    assert all(r.deficit < 1e-30 for r in rows)
    same(sum(rows), whole, rel)


def test_deficit_is_not_a_difference():
    """Two groups at a distance of 1e-9 and no spread inside: W - |s| = n d^2 / 8 to many digits."""
    for distance in (1e-3, 1e-6, 1e-9):
        a = np.array([1.0, 0.0, 0.0])
        b = np.array([np.cos(distance), np.sin(distance), 0.0])
        expected = 10 * 2 * np.sin(distance / 4) ** 2  # 1 - cos(d / 2), for ten vectors
        merged = VmfStatistics.from_data([a] * 5) + VmfStatistics.from_data([b] * 5)
        assert merged.deficit == pytest.approx(expected, rel=1e-6)
        assert VmfStatistics.from_data([a] * 5 + [b] * 5).deficit == pytest.approx(expected, rel=1e-6)


def test_zero_sums():
    x = np.array([[1.0, 0], [-1, 0]])
    s = VmfStatistics.from_data(x)
    assert s.deficit == 2 and s.r == 0 and s.rc == 1
    both = s + VmfStatistics.from_data(np.array([[0.0, 1]]))
    assert both.deficit == 2 and both.weight == 3
    assert (VmfStatistics.from_data(x[:1]) + VmfStatistics.from_data(x[1:])).deficit == 2
    empty = VmfStatistics.from_data(np.empty((0, 2)))
    assert empty.weight == 0 and np.isnan(empty.r) and np.isnan(empty.rc)
    same(empty + s, s)
    assert sum([s]) is s


def test_blocks_of_rows(monkeypatch):
    x = VonMisesFisher(np.eye(30)[0], 300.0).sample(200, seed=0)
    whole = VmfStatistics.from_data(x)
    for size in (1, 30, 100, 1000):
        monkeypatch.setattr("omniconv.vmf.rows._BLOCK", size)
        same(VmfStatistics.from_data(x), whole)


def test_float32_sums_in_float64():
    x = VonMisesFisher(unit(np.random.default_rng(0), 64), 1000.0).sample(5000, seed=1, dtype=np.float32)
    a, b = VmfStatistics.from_data(x), VmfStatistics.from_data(x.astype(np.float64))
    assert a.deficit == b.deficit and (a.total == b.total).all()
    # Normalised once more: the norms of float32 rows, off by 1e-8, are no spread.
    row = np.tile(unit(np.random.default_rng(1), 64).astype(np.float32), (10, 1))
    assert VmfStatistics.from_data(row).deficit < 1e-30


@pytest.mark.parametrize("kappa", [2.0, 1e3, 1e9])
@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "csc_array", "coo_array"])
def test_sparse_rows(kappa, form):
    sparse = pytest.importorskip("scipy.sparse")
    mu = np.zeros(300)
    mu[[3, 50, 120]] = unit(np.random.default_rng(0), 3)
    inner = VonMisesFisher(mu[[3, 50, 120]], kappa).sample(150, seed=1)
    x = np.zeros((150, 300))
    x[:, [3, 50, 120]] = inner
    x[7] = np.eye(300)[200] if kappa < 10 else x[7]
    w = np.random.default_rng(2).uniform(0, 2, 150)
    matrix = getattr(sparse, form)(x)
    same(VmfStatistics.from_data(matrix, w), VmfStatistics.from_data(x, w))
    assert VonMisesFisher.fit(matrix, w).kappa == pytest.approx(VonMisesFisher.fit(x, w).kappa, rel=1e-11)
    assert (matrix.toarray() == x).all()


def test_memory_is_bounded():
    x = VonMisesFisher(np.eye(1, 4096)[0], 9000.0).sample(4000, seed=0, dtype=np.float32)  # 65 MB
    tracemalloc.start()
    VmfStatistics.from_data(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_pickle_and_text():
    s = VmfStatistics.from_data(VonMisesFisher(np.eye(3)[0], 1e10).sample(10, seed=0))
    again = pickle.loads(pickle.dumps(s))
    assert again.deficit == s.deficit and (again.total == s.total).all() and again.weight == 10
    assert repr(s) == "VmfStatistics(p=3, weight=10, r=1)"
    with pytest.raises(ValueError):
        s.total[0] = 0


def test_dask_reduction():
    delayed = pytest.importorskip("dask").delayed
    x = VonMisesFisher(unit(np.random.default_rng(0), 20), 70.0).sample(1000, seed=1)
    blocks = np.array_split(x, 7)

    parts = [delayed(VmfStatistics.from_data)(block) for block in blocks]
    fit = VonMisesFisher.fit(delayed(sum)(parts).compute(scheduler="threads"))

    whole = VonMisesFisher.fit(x)
    assert fit.kappa == pytest.approx(whole.kappa, rel=1e-12)
    np.testing.assert_allclose(fit.mu, whole.mu, atol=1e-14)


def test_dask_array_reduction():
    pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    delayed = pytest.importorskip("dask").delayed
    x = VonMisesFisher(unit(np.random.default_rng(0), 20), 70.0).sample(1000, seed=1)
    array = da.from_array(x, chunks=(128, -1))
    parts = [delayed(VmfStatistics.from_data)(block) for block in array.to_delayed().ravel()]
    fit = VonMisesFisher.fit(delayed(sum)(parts).compute(scheduler="threads"))
    assert fit.kappa == pytest.approx(VonMisesFisher.fit(x).kappa, rel=1e-12)
