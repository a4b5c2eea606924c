"""Mixtures: recovery of known components, monotone likelihood, starved components, sparse rows, digits."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv.vmf import VmfMixture, VonMisesFisher
from tests.vmf.oracle import unit


def three(scale: float = 1.0, p: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of three well separated components, their labels, means and concentrations."""
    rng = np.random.default_rng(0)
    means, kappas = unit(rng, 3, p), scale * np.array([50.0, 100.0, 150.0])
    counts = (1000, 2000, 3000)
    parts = [VonMisesFisher(m, k).sample(n, rng) for m, k, n in zip(means, kappas, counts, strict=True)]
    return np.concatenate(parts), np.repeat(np.arange(3), counts), means, kappas


def matched(model: VmfMixture, means: np.ndarray) -> np.ndarray:
    """The component of the model closest to each mean."""
    best = (means @ model.means_.T).argmax(axis=1)
    assert sorted(best) == list(range(len(means)))
    return best


@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e10])
def test_components_are_found(assignment, scale):
    x, y, means, _ = three(scale)
    model = VmfMixture(3, assignment=assignment, n_init=3, seed=1, max_kappa=1e14).fit(x)
    at = matched(model, means)
    assert model.converged_ and model.n_features_in_ == 5
    np.testing.assert_allclose(model.weights_[at], np.array([1, 2, 3]) / 6, atol=0.01)
    fits = [VonMisesFisher.fit(x[y == c]) for c in range(3)]
    for c, f in zip(at, fits, strict=True):
        assert abs(model.kappas_[c] - f.kappa) < 0.3 * f.se  # a row in a thousand lies between components
        assert 1 - model.means_[c] @ f.mu < 1e-4
    assert (at[y] == model.predict(x)).mean() > 0.999
    if scale > 1e3:  # nothing lies between: the fit of each component, to all digits, 1 - r included
        np.testing.assert_allclose(model.kappas_[at], [f.kappa for f in fits], rtol=1e-11)


def test_likelihood_never_falls():
    rng = np.random.default_rng(3)
    x = np.concatenate([VonMisesFisher(m, 6.0).sample(300, rng) for m in unit(rng, 4, 8)])
    for options in ({}, {"tied_kappa": True}, {"assignment": "hard"}):
        seen: list[float] = []
        model = VmfMixture(
            4,
            seed=0,
            tol=0,
            max_iter=40,
            min_weight=0,
            progress=lambda run, step, bound, s=seen: s.append(bound),
            **options,
        ).fit(x)
        assert len(seen) == model.n_iter_ > 3
        assert (np.diff(seen) > -1e-12).all(), options
        assert model.lower_bound_ == seen[-1]


def test_responsibilities_and_scores_by_their_definition():
    x, _, _, _ = three()
    model = VmfMixture(3, seed=0).fit(x)
    joint = np.log(model.weights_) + VonMisesFisher(model.means_, model.kappas_).logpdf(x[:, None])
    total = np.logaddexp.reduce(joint, axis=1)
    np.testing.assert_allclose(model.score_samples(x), total, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(model.predict_proba(x), np.exp(joint - total[:, None]), atol=1e-11)
    assert (model.predict(x) == joint.argmax(axis=1)).all()
    assert model.score(x) == pytest.approx(total.mean()) == pytest.approx(model.lower_bound_)
    assert model.bic(x) == pytest.approx(-2 * total.sum() + (3 * 4 + 3 + 2) * np.log(len(x)))
    assert model.aic(x) == pytest.approx(-2 * total.sum() + 2 * (3 * 4 + 3 + 2))
    tied = VmfMixture(3, seed=0, tied_kappa=True).fit(x)
    assert tied.bic(x) == pytest.approx(-2 * tied.score(x) * len(x) + (3 * 4 + 1 + 2) * np.log(len(x)))
    assert len(set(tied.kappas_)) == 1 and tied.score(x) < model.score(x)
    assert model.components.batch_shape == (3,)


def test_one_component_is_a_fit():
    x, _, _, _ = three()
    model, fit = VmfMixture(1, seed=0).fit(x), VonMisesFisher.fit(x)
    assert model.kappas_[0] == pytest.approx(fit.kappa, rel=1e-12) and model.weights_[0] == 1
    np.testing.assert_allclose(model.means_[0], fit.mu, atol=1e-14)


def test_one_step_from_a_distant_mean_is_a_fit():
    """1 - r of sums about a mean that is not theirs."""
    x = VonMisesFisher(np.eye(4)[0], 40.0).sample(500, seed=0)
    start = np.array([[0.8, 0.6, 0, 0]])
    assert VmfMixture(1, init=start, max_iter=1).fit(x).kappas_[0] == pytest.approx(
        VonMisesFisher.fit(x).kappa, rel=1e-11
    )


def test_bic_finds_the_number_of_components():
    x, _, _, _ = three()
    bic = [VmfMixture(k, seed=0, n_init=3).fit(x).bic(x) for k in (1, 2, 3, 4)]
    assert np.argmin(bic) == 2


def test_weights_count_rows():
    x, _, _, _ = three()
    x, counts = x[::20], np.random.default_rng(1).integers(0, 4, 300)
    init = x[[0, 100, 200]]
    a = VmfMixture(3, init=init).fit(x, counts)
    b = VmfMixture(3, init=init).fit(np.repeat(x, counts, axis=0))
    np.testing.assert_allclose(a.kappas_, b.kappas_, rtol=1e-9)
    np.testing.assert_allclose(a.weights_, b.weights_, rtol=1e-9)
    assert a.lower_bound_ == pytest.approx(b.lower_bound_, rel=1e-12)
    assert a.score(x, counts) == pytest.approx(a.lower_bound_, rel=1e-12)


def test_seeds_and_starts():
    x, _, _, _ = three()
    a, b = (VmfMixture(4, seed=5, n_init=2).fit(x) for _ in range(2))
    assert (a.means_ == b.means_).all() and (a.kappas_ == b.kappas_).all()
    bounds: dict[int, float] = {}
    best = VmfMixture(4, seed=5, n_init=4, progress=lambda run, _, bound: bounds.__setitem__(run, bound)).fit(x)
    assert best.lower_bound_ == max(bounds.values()) and len(bounds) == 4
    assert VmfMixture(3, seed=0, init="random").fit(x).converged_
    assert VmfMixture(3, max_iter=1, seed=0).fit(x).n_iter_ == 1


def test_sparse_rows_give_the_same():
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(2)
    x = np.abs(rng.standard_normal((400, 60))) * (rng.random((400, 60)) < 0.1)
    x[:200, :5] += 1
    x[200:, 50:] += 1
    x /= np.linalg.norm(x, axis=1)[:, None]
    dense, thin = (VmfMixture(2, seed=0).fit(a) for a in (x, sparse.csr_array(x)))
    np.testing.assert_allclose(thin.means_, dense.means_, atol=1e-12)
    np.testing.assert_allclose(thin.kappas_, dense.kappas_, rtol=1e-11)
    assert (thin.predict(sparse.csr_matrix(x)) == dense.predict(x)).all()
    pointed = np.zeros((300, 20))
    pointed[:, :3] = np.concatenate([VonMisesFisher(m, 1e9).sample(150, rng) for m in np.eye(3)[:2]])
    dense, thin = (VmfMixture(2, seed=0).fit(a) for a in (pointed, sparse.csr_array(pointed)))
    np.testing.assert_allclose(thin.kappas_, dense.kappas_, rtol=1e-11)


def test_starved_components_and_copies():
    """Components that would hold nothing, or copies of one row, leave a finite model."""
    x = np.concatenate([np.tile(np.eye(4)[0], (50, 1)), np.tile(np.eye(4)[1], (50, 1))])
    for options in ({}, {"tied_kappa": True}, {"assignment": "hard"}):
        model = VmfMixture(5, seed=0, **options).fit(x)
        assert np.isfinite(model.kappas_).all() and (model.kappas_ <= 1e10).all()
        assert np.isfinite(model.lower_bound_) and model.weights_.sum() == pytest.approx(1)
        assert len(set(model.predict(x[:50])) & set(model.predict(x[50:]))) == 0
    same = np.tile(np.eye(3)[0], (10, 1))
    model = VmfMixture(3, seed=0, max_kappa=1e4).fit(same)
    assert (model.kappas_ == 1e4).all() and np.isfinite(model.score(same))
    y, _, _, _ = three()
    lost = np.array([*y[[0, 1500]], -y[0]])  # one mean opposite of everything
    assert VmfMixture(3, init=lost, seed=0, min_weight=0.01).fit(y).weights_.min() > 0.05


def test_sample_is_of_the_mixture():
    x, _, means, _ = three()
    model = VmfMixture(3, seed=0).fit(x)
    again, labels = model.sample(6000, seed=1)
    assert again.shape == (6000, 5) and labels.shape == (6000,) and (np.diff(labels) >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, rtol=1e-14)
    assert (model.predict(again) == labels).mean() > 0.999
    assert abs(model.score(again) - model.score(x)) < 4.5 * model.score_samples(x).std() * np.sqrt(2 / 6000)
    assert matched(VmfMixture(3, seed=2, n_init=3).fit(again), means) is not None
    assert model.sample(0)[0].shape == (0, 5)


def test_progress_is_silent_unless_asked_for(capfd):
    x, _, _, _ = three()
    VmfMixture(2, seed=0).fit(x).predict(x)
    assert capfd.readouterr() == ("", "")
    pytest.importorskip("tqdm")
    VmfMixture(2, seed=0, progress=True).fit(x)
    out, err = capfd.readouterr()
    assert out == "" and "bound" in err


def test_float32_data():
    x, _, means, _ = three()
    a, b = (VmfMixture(3, seed=0).fit(z) for z in (x.astype(np.float32), x.astype(np.float32).astype(np.float64)))
    assert (a.means_ == b.means_).all() and a.means_.dtype == np.float64
    matched(a, means)


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    score = pytest.importorskip("sklearn.metrics").normalized_mutual_info_score
    x, y = datasets.load_digits(return_X_y=True)
    x = x / np.linalg.norm(x, axis=1)[:, None]
    model = VmfMixture(10, n_init=3, seed=0).fit(x)
    assert score(y, model.fit_predict(x)) > 0.65  # by chance: 0.01
