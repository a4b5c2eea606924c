"""Arguments that are wrong: an exception that names them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from omniconv.vmf import VmfMixture, VmfStatistics, VonMisesFisher, kappa_from_r

E = np.eye(3)
D = VonMisesFisher(E[0], 2.0)
X = D.sample(20, seed=0)
NAN = np.array([np.nan, 0, 1.0])
NAN_ROW = np.vstack([X, NAN])


def mixture(**options):
    return VmfMixture(**({"k": 2, "seed": 0} | options))


CASES = [
    (lambda: VonMisesFisher(2 * E[0], 1.0), ValueError, "mu", "norm 2"),
    (lambda: VonMisesFisher(0 * E[0], 1.0), ValueError, "mu", "norm 0"),
    (lambda: VonMisesFisher(NAN, 1.0), ValueError, "mu", "not finite"),
    (lambda: VonMisesFisher([np.inf, 0, 0], 1.0), ValueError, "mu", "not finite"),
    (lambda: VonMisesFisher([1.0], 1.0), ValueError, "mu", "at least 2"),
    (lambda: VonMisesFisher(np.ones((4, 0)), 1.0), ValueError, "mu", "at least 2"),
    (lambda: VonMisesFisher(1.0, 1.0), ValueError, "mu", "no axes"),
    (lambda: VonMisesFisher(None, 1.0), TypeError, "mu", "real numbers"),
    (lambda: VonMisesFisher("north", 1.0), TypeError, "mu", "real numbers"),
    (lambda: VonMisesFisher(E[0] * 1j, 1.0), TypeError, "mu", "complex"),
    (lambda: VonMisesFisher([[1, 0], [1]], 1.0), ValueError, "mu", "rectangular"),
    (lambda: VonMisesFisher(E[0], -1.0), ValueError, "kappa", "not negative"),
    (lambda: VonMisesFisher(E[0], np.inf), ValueError, "kappa", "finite"),
    (lambda: VonMisesFisher(E[0], np.nan), ValueError, "kappa", "finite"),
    (lambda: VonMisesFisher(E, [1.0, 2, -3]), ValueError, "kappa", "at 2"),
    (lambda: VonMisesFisher(E, [1.0, 2]), ValueError, "kappa", "broadcast"),
    (lambda: VonMisesFisher(E[0], "much"), TypeError, "kappa", "real numbers"),
    (lambda: D.logpdf(X * 1.1), ValueError, "x", "norm 1.1 at 0"),
    (lambda: D.logpdf(NAN_ROW), ValueError, "x", "not finite at 20"),
    (lambda: D.logpdf(X[:, :2]), ValueError, "x", "3 elements"),
    (lambda: D.logpdf(1.0), ValueError, "x", "3 elements"),
    (lambda: VonMisesFisher(E, 1.0).logpdf(X), ValueError, "x", "broadcast"),
    (lambda: VonMisesFisher(E, 1.0).logpdf(2 * E), ValueError, "x", "norm 2"),
    (lambda: D.kl(3.0), TypeError, "other", "VonMisesFisher"),
    (lambda: D.kl(VonMisesFisher([1.0, 0], 1.0)), ValueError, "other", "dimension 2"),
    (lambda: VonMisesFisher(E, 1.0).kl(VonMisesFisher(E[:2], 1.0)), ValueError, "other", "broadcast"),
    (lambda: D.sample(-1), ValueError, "size", "negative"),
    (lambda: D.sample(2.5), TypeError, "size", "integer"),
    (lambda: D.sample(True), TypeError, "size", "integer"),
    (lambda: D.sample(3, seed="s"), TypeError, "seed", "integer"),
    (lambda: D.sample(3, seed=-1), ValueError, "seed", "integer"),
    (lambda: D.sample(3, seed=np.random.RandomState(0)), TypeError, "seed", "Generator"),
    (lambda: D.sample(3, dtype=np.int32), TypeError, "dtype", "float32"),
    (lambda: VonMisesFisher.fit(X[0]), ValueError, "x", "two axes"),
    (lambda: VonMisesFisher.fit(X[:, :1]), ValueError, "x", "at least 2"),
    (lambda: VonMisesFisher.fit(X[:0]), ValueError, "x", "no rows"),
    (lambda: VonMisesFisher.fit(3 * X), ValueError, "x", "norm 3"),
    (lambda: VonMisesFisher.fit(NAN_ROW), ValueError, "x", "at 20"),
    (lambda: VonMisesFisher.fit(X.astype(complex)), TypeError, "x", "complex"),
    (lambda: VonMisesFisher.fit(X, np.ones(19)), ValueError, "weights", "(20,)"),
    (lambda: VonMisesFisher.fit(X, -np.ones(20)), ValueError, "weights", "negative"),
    (lambda: VonMisesFisher.fit(X, np.full(20, np.nan)), ValueError, "weights", "finite"),
    (lambda: VonMisesFisher.fit(X, np.zeros(20)), ValueError, "x", "positive weight"),
    (lambda: VonMisesFisher.fit(X, bias="some"), ValueError, "bias", "debiased"),
    (lambda: VonMisesFisher.fit(VmfStatistics.from_data(X), np.ones(20)), TypeError, "weights", "from_data"),
    (lambda: kappa_from_r(3), TypeError, "r", "exactly one"),
    (lambda: kappa_from_r(3, 0.5, rc=0.5), TypeError, "r", "exactly one"),
    (lambda: kappa_from_r(3, 1.5), ValueError, "r", "[0, 1]"),
    (lambda: kappa_from_r(3, [0.5, -0.1]), ValueError, "r", "[0, 1]"),
    (lambda: kappa_from_r(3, np.nan), ValueError, "r", "[0, 1]"),
    (lambda: kappa_from_r(3, rc=2), ValueError, "rc", "[0, 1]"),
    (lambda: kappa_from_r(1.5, 0.5), ValueError, "p", "at least 2"),
    (lambda: kappa_from_r(np.inf, 0.5), ValueError, "p", "finite"),
    (lambda: kappa_from_r([2, 3], [0.1, 0.2, 0.3]), ValueError, "p", "broadcast"),
    (lambda: VmfStatistics(2, E[0] * 3), ValueError, "total", "exceed"),
    (lambda: VmfStatistics(-1, E[0]), ValueError, "weight", "negative"),
    (lambda: VmfStatistics(1, NAN), ValueError, "total", "nan"),
    (lambda: VmfStatistics(1, E), ValueError, "total", "one axis"),
    (lambda: VmfStatistics(4, E[0], 1.0), ValueError, "deficit", "about 3"),
    (lambda: VmfStatistics(1, [1.0]), ValueError, "total", "at least 2"),
    (lambda: VmfStatistics.from_data(X) + VmfStatistics.from_data(np.eye(4)), ValueError, "statistics", "dimension"),
    (lambda: VmfStatistics.from_data(X) + 1, TypeError, "VmfStatistics", ""),
    (lambda: mixture(k=0), ValueError, "k", "at least 1"),
    (lambda: mixture(k=2.0), TypeError, "k", "integer"),
    (lambda: mixture(assignment="fuzzy"), ValueError, "assignment", "soft"),
    (lambda: mixture(init="best"), ValueError, "init", "k-means++"),
    (lambda: mixture(init=2 * E[:2]), ValueError, "init", "norm 2"),
    (lambda: mixture(init=E).fit(X), ValueError, "init", "(2, 3)"),
    (lambda: mixture(n_init=0), ValueError, "n_init", "at least 1"),
    (lambda: mixture(max_iter=0), ValueError, "max_iter", "at least 1"),
    (lambda: mixture(tol=-1.0), ValueError, "tol", "negative"),
    (lambda: mixture(min_weight=0.6), ValueError, "min_weight", "1 / k"),
    (lambda: mixture(max_kappa=np.inf), ValueError, "max_kappa", "finite"),
    (lambda: mixture(seed="s").fit(X), TypeError, "seed", "integer"),
    (lambda: mixture(k=21).fit(X), ValueError, "x", "20 rows"),
    (lambda: mixture().fit(X, np.eye(1, 20)[0]), ValueError, "x", "1 rows"),
    (lambda: mixture().fit(NAN_ROW), ValueError, "x", "at 20"),
    (lambda: mixture().predict(X), RuntimeError, "fit", "first"),
    (lambda: mixture().sample(3), RuntimeError, "fit", "first"),
    (lambda: mixture().fit(X).predict(np.eye(4)), ValueError, "x", "4 columns"),
    (lambda: mixture().fit(X).sample(-1), ValueError, "size", "at least 0"),
]


@pytest.mark.parametrize(("call", "kind", "name", "words"), CASES)
def test_error_names_the_argument(call, kind, name, words):
    with pytest.raises(kind, match=rf"\b{re.escape(name)}\b") as caught:
        call()
    assert words in str(caught.value)


def test_sparse_arguments():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"x is sparse"):
        D.logpdf(sparse.csr_array(X))
    with pytest.raises(ValueError, match=r"x has a vector of norm 2"):
        VonMisesFisher.fit(sparse.csr_array(2 * X))
    with pytest.raises(ValueError, match=r"x has a vector of norm 0 at 20"):
        VonMisesFisher.fit(sparse.csr_array(np.vstack([X, [0, 0, 0]])))
    with pytest.raises(TypeError, match=r"x has dtype complex"):
        VonMisesFisher.fit(sparse.csr_array(X * 1j))


def test_torch_arguments():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="x requires grad"):
        D.logpdf(torch.tensor(X, requires_grad=True))
    with pytest.raises(TypeError, match="x has dtype bool"):
        D.logpdf(np.ones((2, 3), bool))
