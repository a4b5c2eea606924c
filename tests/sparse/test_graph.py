"""CSR times rows, and what is built on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import omniconv
from omniconv import sparse
from tests.sparse.oracle import error


def graph(rng, rows, columns, entries, values=True, scales=True):
    of = np.sort(rng.integers(0, rows, entries))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=rows))])
    one = lambda n, wanted: rng.standard_normal(n) if wanted else None  # noqa: E731
    return sparse.Graph(
        indptr,
        rng.integers(0, columns, entries),
        one(entries, values),
        columns,
        one(rows, scales),
        one(columns, scales),
    )


@given(
    st.integers(1, 80), st.integers(1, 80), st.integers(0, 900), st.integers(1, 150), st.booleans(), st.booleans(),
    st.sampled_from([None, "relu", "leaky_relu", "sigmoid"]), st.integers(0, 2**32),
)  # fmt: skip
def test_is_the_product_of_matrices(rows, columns, entries, width, values, scales, activation, seed):
    rng = np.random.default_rng(seed)
    a = graph(rng, rows, columns, entries, values, scales)
    x = rng.standard_normal((columns, width), dtype=np.float32)
    bias = rng.standard_normal(width, dtype=np.float32) if activation else None
    want = a.dense() @ x + (0 if bias is None else bias)
    act = {"relu": lambda v: np.maximum(v, 0), "sigmoid": lambda v: 1 / (1 + np.exp(-v))}
    act["leaky_relu"] = lambda v: np.where(v > 0, v, 0.25 * v)
    want = act.get(activation, lambda v: v)(want)
    out = np.full((rows, width), np.nan, np.float32)
    for isa in omniconv.available_isas():
        omniconv.set_isa(isa)
        assert sparse.spmm(a, x, bias=bias, activation=activation, negative_slope=0.25, out=out) is out
        assert np.abs(out - want).max() <= 2e-6 * max(1, np.abs(a.dense()).sum(1).max() * np.abs(x).max())


def test_bits_do_not_depend_on_threads():
    rng = np.random.default_rng(0)
    a = graph(rng, 5000, 5000, 60000)
    a.indptr[1:] += np.cumsum(np.full(5000, 0))
    x = rng.standard_normal((5000, 37), dtype=np.float32)
    omniconv.set_num_threads(1)
    y = sparse.spmm(a, x)
    omniconv.set_num_threads(3)
    assert np.array_equal(sparse.spmm(a, x), y)


def test_normalised_graph():
    a = sparse.Graph.from_edges([[0, 1, 2, 1], [1, 0, 1, 2]], 4)
    plain = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1.0]])
    assert np.array_equal(a.dense(), plain - np.eye(4))
    d = plain.sum(1) ** -0.5
    found = sparse.gcn_norm(a)
    assert np.allclose(found.dense(), d[:, None] * plain * d, atol=1e-7) and found.values is None
    weighted = sparse.Graph(a.indptr, a.indices, [1, 1, 1, 1])
    assert np.allclose(sparse.gcn_norm(weighted).dense(), found.dense())
    assert (
        sparse.gcn_norm(sparse.Graph([0, 0, 0], np.zeros(0, int)), add_self_loops=False).dense().tolist()
        == [[0, 0]] * 2
    )


def test_dagnn_by_hand():
    rng = np.random.default_rng(1)
    a = sparse.gcn_norm(sparse.Graph.from_edges(rng.integers(0, 30, (2, 90)), 30))
    z, w = rng.standard_normal((30, 5), dtype=np.float32), rng.standard_normal(5, dtype=np.float32)
    h, want = z.astype(np.float64), 0
    for _ in range(4):
        want = want + h / (1 + np.exp(-(h @ w + 0.5)))[:, None]
        h = a.dense() @ h
    assert error(sparse.dagnn_propagate(a, z, w, 0.5, steps=3), want) < 1e-6
    assert np.array_equal(z, z.copy())


@pytest.mark.parametrize("topk", [None, 1, 7, 40])
def test_inverse_graph_by_hand(topk):
    rng = np.random.default_rng(2)
    x, bank = rng.standard_normal((25, 8)), rng.standard_normal((40, 8))
    s = x @ bank.T
    if topk is None:
        want = x - 3.0 * (s - s.mean()) @ bank / 40
    else:
        keep = np.where(s >= np.sort(s, 1)[:, [-topk]], s, 0)
        want = x - 3.0 * keep @ bank / topk
    assert error(sparse.inverse_graph_conv(x, bank, 3.0, topk=topk, normalize=False), want) < 1e-12
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert error(sparse.inverse_graph_conv(x, bank, 3.0, topk=topk), want) < 1e-12


def test_of_equal_similarities_the_lower_index_counts():
    bank = np.array([[1.0, 0], [1, 1], [1, 2]])
    found = sparse.inverse_graph_conv(np.array([[1.0, 0]]), bank, 1.0, topk=1, normalize=False)
    assert found.tolist() == [[0, 0]]


def test_stages_by_hand():
    sure, split = [[[0.1, 0.9]], [[0.1, 0.9]]], [[[0.9, 0.1]], [[0.1, 0.9]]]
    first = np.concatenate([sure, split, split], 1)
    last = np.concatenate([split, split, sure], 1)
    found = sparse.staged_decision([first, last], [0.2])
    assert found["stage"].tolist() == [1, 2, 2] and found["final"].tolist() == [1, 0, 1]
    assert np.allclose(found["std"][0], [0, 0.4, 0.4])


def test_graph_of_rows_alike():
    x = np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 0.05], [0.1, 1]])
    train, test = sparse.cosine_graph(x, 3, edges_per_node=1)
    assert (train.dense() > 0).tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert np.allclose(test.dense().sum(1), 1) and test.dense()[0, 3] > 0 and test.dense()[0, 1] == 0


X = np.ones((3, 2), np.float32)
BAD = {
    "indptr is empty": lambda: sparse.Graph(np.zeros(0, int), [0]),
    "indptr does not begin": lambda: sparse.spmm(sparse.Graph([1, 2], [0, 0], columns=3), X),
    "indptr descends at row 1": lambda: sparse.spmm(sparse.Graph([0, 2, 1, 2], [0, 1]), X),
    "indptr ends with 3": lambda: sparse.spmm(sparse.Graph([0, 1, 2, 3], [0, 1]), X),
    "indices holds 7": lambda: sparse.spmm(sparse.Graph([0, 1, 2, 2], [0, 7]), X),
    "indices hold -1": lambda: sparse.Graph([0, 1], [-1]),
    "values has 1": lambda: sparse.spmm(sparse.Graph([0, 1, 2, 2], [0, 1], [1.0]), X),
    "x has shape": lambda: sparse.spmm(sparse.Graph([0, 1], [0]), X),
    "out has shape": lambda: sparse.spmm(sparse.Graph([0, 1], [0], columns=3), X, out=X),
    "edge_index holds": lambda: sparse.Graph.from_edges([[0], [3]], 3),
    "edge_index has": lambda: sparse.Graph.from_edges([[0, 1]], 3),
    "train is 4": lambda: sparse.cosine_graph(X, 4),
    "edges_per_node is 3": lambda: sparse.cosine_graph(X, 3, edges_per_node=3),
    "thresholds has 0": lambda: sparse.staged_decision([np.ones((2, 2, 2))] * 2, []),
    "probabilities must": lambda: sparse.staged_decision([X], []),
    "topk is 0": lambda: sparse.inverse_graph_conv(X, X, 1.0, topk=0),
    "steps is -1": lambda: sparse.dagnn_propagate(
        sparse.Graph([0, 0, 0, 0], [0][:0] or np.zeros(0, int)), X, X[0], steps=-1
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_float64_is_refused():
    with pytest.raises(TypeError, match="x has dtype float64"):
        sparse.spmm(sparse.Graph([0, 1], [0], columns=3), X.astype(np.float64))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 300), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_transpose(rows, columns, entries, values, scales, seed):
    a = graph(np.random.default_rng(seed), rows, columns, entries, values, scales)
    np.testing.assert_allclose(a.transpose().dense(), a.dense().T, rtol=1e-14, atol=1e-14)
    assert a.transpose().transpose() is a


def test_a_hub_errs_no_more_than_a_short_row(isa):
    entries = 300_000
    a = sparse.Graph([0, entries], np.arange(entries), columns=entries)
    x = np.full((entries, 9), 0.1, np.float32)
    exact = entries * np.float64(np.float32(0.1))
    np.testing.assert_allclose(sparse.spmm(a, x), np.full((1, 9), exact), rtol=4e-6)  # 64 halves of an ulp
    x[5000, 2] = np.inf
    y = sparse.spmm(a, x)
    assert np.isinf(y[0, 2])
    assert np.isfinite(np.delete(y, 2, axis=1)).all()
