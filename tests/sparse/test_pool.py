"""Pooling and putting together."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from omniconv import sparse
from tests.sparse.oracle import error, sites


def tensor(seed=0, count=900):
    rng = np.random.default_rng(seed)
    return sparse.SparseTensor(
        sites(rng, (14, 13, 12), count, 2), rng.standard_normal((count, 7), np.float32), (14, 13, 12), 2
    )


@pytest.mark.parametrize("mode", ["max", "avg", "sum"])
@pytest.mark.parametrize(("kernel", "stride"), [(2, None), (3, 2), ((1, 2, 3), 1)])
def test_pool_and_gradient(mode, kernel, stride):
    st = tensor()
    y = sparse.pool(st, kernel, stride, mode=mode)
    plan = sparse.plan(st, kernel, kernel if stride is None else stride, "strided")
    g = np.random.default_rng(1).standard_normal(y.features.shape, np.float32)
    want, dx = np.zeros(y.features.shape), np.zeros(st.features.shape)
    triples = plan.triples()
    for o in range(len(y)):
        rows = triples[triples[:, 1] == o]
        ins = rows[np.argsort(rows[:, 2]), 0]
        x = st.features[ins].astype(np.float64)
        want[o] = {"max": x.max, "avg": x.mean, "sum": x.sum}[mode](0)
        if mode == "max":
            dx[ins[x.argmax(0)], np.arange(7)] += g[o]
        else:
            dx[ins] += g[o] / (len(ins) if mode == "avg" else 1)
    assert error(y.features, want) < 1e-6
    assert error(sparse.pool_grad(g, st.features, plan, mode=mode), dx) < 1e-6
    omniconv.set_num_threads(1)
    again = sparse.pool(st, mode=mode, plan=plan)
    omniconv.set_num_threads(3)
    assert np.array_equal(again.features, sparse.pool(st, mode=mode, plan=plan).features)


def test_a_maximum_shared_goes_to_the_first_tap():
    st = sparse.SparseTensor([[0, 0], [0, 1]], np.ones((2, 1), np.float32))
    plan = sparse.plan(st, 2, 2, "strided")
    assert sparse.pool_grad(np.ones((1, 1), np.float32), st.features, plan).tolist() == [[1], [0]]


def test_global():
    st = sparse.SparseTensor([[2, 5], [0, 1], [2, 1]], np.array([[1, -2], [3, 4], [5, -6]], np.float32), batch_size=4)
    assert sparse.global_pool(st).tolist() == [[3, 4], [0, 0], [3, -4], [0, 0]]
    assert sparse.global_pool(st, "max").tolist() == [[3, 4], [0, 0], [5, -2], [0, 0]]
    assert sparse.global_pool(st, "sum").tolist() == [[3, 4], [0, 0], [6, -8], [0, 0]]


def test_cat_add_prune():
    a, b = tensor(0), tensor(1)
    both = sparse.cat([a, a.replace(2 * a.features)])
    assert np.array_equal(both.features, np.concatenate([a.features, 2 * a.features], 1)) and both.sites is a.sites
    assert np.allclose(sparse.add(a, b).dense(), a.dense() + b.dense())
    assert sparse.add(a, a).sites is a.sites
    mask = a.features[:, 0] > 0
    kept = sparse.prune(a, mask)
    assert np.array_equal(kept.coords, a.coords[mask]) and np.array_equal(kept.features, a.features[mask])
    for message, call in {
        r"tensors\[1\] has other sites": lambda: sparse.cat([a, b]),
        "tensors is empty": lambda: sparse.cat([]),
        "mask has shape": lambda: sparse.prune(a, mask[:3]),
        "mode is 'min'": lambda: sparse.pool(a, mode="min"),
        "mode is 'mean'": lambda: sparse.global_pool(a, "mean"),
        "b has the spatial shape": lambda: sparse.add(a, sparse.SparseTensor(b.coords, b.features)),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
