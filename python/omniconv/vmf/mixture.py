"""Mixtures of von Mises-Fisher distributions, fitted by expectation maximisation.

Banerjee, Dhillon, Ghosh and Sra, Clustering on the unit hypersphere, JMLR 6 (2005): soft and hard assignment, with the
exact maximum-likelihood concentrations in place of their approximation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from omniconv.array import said
from omniconv.vmf import terms
from omniconv.vmf.checks import as_choice, as_count, as_unit, as_weights
from omniconv.vmf.concentration import solve
from omniconv.vmf.distribution import VonMisesFisher
from omniconv.vmf.rows import Rows
from omniconv.vmf.sampling import as_generator

__all__ = ["VmfMixture"]

#: A component of concentration above this many p is almost a point: 1 - cos is then taken from differences.
_POINTED = 1e3


class _Model:
    def __init__(self, log_weights: np.ndarray, means: np.ndarray, kappas: np.ndarray) -> None:
        self.log_weights, self.means, self.kappas = log_weights, means, kappas  # [k], [k, p], [k]
        p = means.shape[1]
        self._peak = log_weights + terms.gap(p, kappas) - terms.log_area(p)

    def log_joint(self, rows: Rows, part: slice, block: Any) -> tuple[np.ndarray, np.ndarray]:
        """log(weight times density) and 1 - cos, [n, k] each, for a block of rows."""
        close = 1 - np.asarray(block @ self.means.T)
        for c in np.flatnonzero(self.kappas > _POINTED * rows.p):
            self._sharpen(close[:, c], self.means[c], rows, part, block)
        return self._peak - self.kappas * close, close

    @staticmethod
    def _sharpen(close: np.ndarray, mean: np.ndarray, rows: Rows, part: slice, block: Any) -> None:
        near = np.flatnonzero(close < 0.02)
        if near.size:
            for piece, dense in rows.dense_parts(part, block):
                inside = near[(near >= piece.start - part.start) & (near < piece.stop - part.start)]
                apart = dense[inside - (piece.start - part.start)] - mean
                close[inside] = np.einsum("np,np->n", apart, apart) / 2


class _Sums(NamedTuple):
    """What the expectation step hands to the maximisation: sums over rows, by component."""

    weight: np.ndarray  # [k] of responsibilities
    total: np.ndarray  # [k, p] of responsibility times row
    away: np.ndarray  # [k] of responsibility times 1 - cos to the mean of before
    bound: float  # mean log-likelihood (soft), or of the best component (hard)
    nearest: np.ndarray  # [n] 1 - cos to the closest mean


def _log_sum(joint: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials of each row [n, 1]."""
    top = joint.max(axis=1, keepdims=True)
    return top + np.log(np.exp(joint - top).sum(axis=1, keepdims=True))


class VmfMixture:
    """Mixture of k von Mises-Fisher distributions; names and shapes of scikit-learn's mixtures.

    Parameters
    ----------
    k : int
        Number of components.
    assignment : "soft" or "hard"
        Hard gives every row to its best component alone, as k-means does.
    tied_kappa : bool
        One concentration for all components.
    init : "k-means++", "random" or array [k, p]
        First means: rows drawn apart from one another, rows drawn evenly, or these unit vectors.
    n_init : int
        How many starts; the one with the greatest `lower_bound_` is kept. An array for `init` has one start.
    max_iter, tol : int, float
        A start ends when the mean log-likelihood gains less than tol, or after max_iter steps.
    min_weight : float
        Share of the rows below which a component counts as starved: it is moved to a row far from all means (k times
        per start at most) and has the concentration of all components together.
    max_kappa : float
        Bound of the concentrations: the likelihood has none where a component holds copies of one vector.
    seed : int, numpy.random.Generator, optional
    progress : bool or callable
        True shows a bar of tqdm where that is installed; a function is called with (start, step, lower bound).

    Attributes
    ----------
    weights_, means_, kappas_ : arrays [k], [k, p], [k]
    converged_, n_iter_ : bool, int
        Of the start that was kept.
    lower_bound_ : float
        Mean log-likelihood of a row under this model; with hard assignment, of a row and its component.
    n_features_in_ : int

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was found and what is allowed.
    """

    weights_: np.ndarray
    means_: np.ndarray
    kappas_: np.ndarray
    converged_: bool
    n_iter_: int
    lower_bound_: float
    n_features_in_: int

    def __init__(
        self,
        k: int,
        *,
        assignment: str = "soft",
        tied_kappa: bool = False,
        init: Any = "k-means++",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-5,
        min_weight: float = 1e-3,
        max_kappa: float = 1e10,
        seed: Any = None,
        progress: bool | Callable[[int, int, float], Any] = False,
    ) -> None:
        self.k = as_count(k, "k")
        self.assignment = as_choice(assignment, ("soft", "hard"), "assignment")
        self.tied_kappa = bool(tied_kappa)
        self.init = (
            as_choice(init, ("k-means++", "random"), "init") if isinstance(init, str) else as_unit(init, "init")[0]
        )
        self.n_init, self.max_iter = as_count(n_init, "n_init"), as_count(max_iter, "max_iter")
        if not tol >= 0:
            raise ValueError(f"tol is {said(tol)}; it must not be negative")
        if not 0 <= min_weight <= 1 / self.k:
            raise ValueError(f"min_weight is {said(min_weight)}; it must be in [0, 1 / k]")
        if not 0 < max_kappa < math.inf:
            raise ValueError(f"max_kappa is {said(max_kappa)}; it must be positive and finite")
        self.tol, self.min_weight, self.max_kappa = float(tol), float(min_weight), float(max_kappa)
        self.seed, self.progress = seed, progress

    def __repr__(self) -> str:
        return f"VmfMixture(k={self.k}, assignment={self.assignment!r}, tied_kappa={self.tied_kappa})"

    # ---- fitting ---------------------------------------------------------------------------------------------------

    def fit(self, x: Any, weights: Any = None) -> VmfMixture:
        """Fit to data; returns self.

        Memory beyond the data is one block of rows and one number per row.

        Parameters
        ----------
        x : array [n, p], or scipy.sparse matrix or array
            Rows of norm 1, at least k of them.
        weights : array [n], optional
            How often each row counts; finite, not negative.
        """
        rows = Rows(x)
        share = as_weights(weights, rows.n)
        share = np.ones(rows.n) if share is None else share
        if np.count_nonzero(share) < self.k:
            raise ValueError(f"x has {np.count_nonzero(share)} rows of positive weight; k = {self.k} need as many")
        if isinstance(self.init, np.ndarray) and self.init.shape != (self.k, rows.p):
            raise ValueError(f"init has shape {self.init.shape}; expected is [k, p], {(self.k, rows.p)}")
        rng = as_generator(self.seed)
        starts = 1 if isinstance(self.init, np.ndarray) else self.n_init
        with _Progress(self.progress, starts * self.max_iter) as told:
            runs = (self._start(rows, share, rng, lambda step, bound, s=s: told(s, step, bound)) for s in range(starts))
            model, bound, steps, converged = max(runs, key=lambda run: run[1])
        self.weights_, self.means_, self.kappas_ = np.exp(model.log_weights), model.means, model.kappas
        self.lower_bound_, self.n_iter_, self.converged_ = bound, steps, converged
        self.n_features_in_ = rows.p
        return self

    def _start(
        self, rows: Rows, share: np.ndarray, rng: np.random.Generator, told: Callable[[int, float], None]
    ) -> tuple[_Model, float, int, bool]:
        """One run of expectation maximisation: model, its bound, steps, whether it converged."""
        means = self._first_means(rows, share, rng)
        # Any common concentration makes the first assignment, which is hard, the one to the closest mean.
        model = _Model(np.full(self.k, -math.log(self.k)), means, np.ones(self.k))
        sums = self._expect(model, rows, share, hard=True)
        bound, moves, converged, step = -math.inf, self.k, False, 0
        while step < self.max_iter and not converged:
            step += 1
            model, moves, moved = self._maximise(model, sums, rows, share, rng, moves)
            sums = self._expect(model, rows, share, hard=self.assignment == "hard")
            converged = not moved and abs(sums.bound - bound) <= self.tol
            bound = sums.bound
            told(step, bound)
        return model, bound, step, converged

    def _first_means(self, rows: Rows, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if isinstance(self.init, np.ndarray):
            return self.init
        if self.init == "random":
            chosen = rng.choice(rows.n, self.k, replace=False, p=share / share.sum())
            return rows.dense(chosen)
        # k-means++ (Arthur and Vassilvitskii 2007) with 1 - cos, half the squared distance.
        means, far = np.empty((self.k, rows.p)), np.full(rows.n, 2.0)
        for c in range(self.k):
            means[c] = rows.dense(np.array([_drawn(share, far, rng)]))[0]
            for part, block in rows.blocks():
                far[part] = np.minimum(far[part], np.maximum(0.0, 1 - np.asarray(block @ means[c]).ravel()))
        return means

    def _expect(self, model: _Model, rows: Rows, share: np.ndarray, *, hard: bool) -> _Sums:
        weight, total, away = np.zeros(self.k), np.zeros((self.k, rows.p)), np.zeros(self.k)
        nearest, bound = np.empty(rows.n), 0.0
        for part, block in rows.blocks():
            joint, close = model.log_joint(rows, part, block)
            nearest[part] = close.min(axis=1)
            if hard:
                best = joint.argmax(axis=1)
                level = joint[np.arange(best.size), best]
                given = np.zeros_like(joint)
                given[np.arange(best.size), best] = share[part]
            else:
                level = _log_sum(joint)
                given = np.exp(joint - level) * share[part][:, None]
            bound += float(share[part] @ level.ravel())
            weight += given.sum(axis=0)
            total += np.asarray((block.T @ given).T)
            away += np.einsum("nk,nk->k", given, close)
        return _Sums(weight, total, away, bound / float(share.sum()), nearest)

    def _maximise(
        self, model: _Model, sums: _Sums, rows: Rows, share: np.ndarray, rng: np.random.Generator, moves: int
    ) -> tuple[_Model, int, bool]:
        """The next model, the moves left to starved components, and whether one was made."""
        p, whole = rows.p, float(share.sum())
        length = np.linalg.norm(sums.total, axis=1)
        safe = np.where(length > 0, length, 1.0)
        means = np.where(length[:, None] > 0, sums.total / safe[:, None], model.means)
        # W - |s| = sum of r (1 - <x, m>) - |s| |s/|s| - m|^2 / 2 with m the mean of before: where the components are
        # almost points, the first is known to all digits and the second vanishes as the means settle.
        shift = means - model.means
        deficit = np.maximum(0.0, sums.away - length * np.einsum("kp,kp->k", shift, shift) / 2)
        starved = (sums.weight < self.min_weight * whole) | (sums.weight <= 0)
        pooled = self._solved(p, length.sum(keepdims=True), deficit.sum(keepdims=True), sums.weight.sum(keepdims=True))
        kappas = np.repeat(pooled, self.k)
        if not self.tied_kappa:
            own = ~starved
            kappas[own] = self._solved(p, length[own], deficit[own], sums.weight[own])
        moved = False
        for c in np.flatnonzero(starved):
            if moves > 0:
                means[c] = rows.dense(np.array([_drawn(share, sums.nearest, rng)]))[0]
                moves, moved = moves - 1, True
        weight = np.maximum(sums.weight / whole, max(self.min_weight, 1e-300))
        return _Model(np.log(weight / weight.sum()), means, kappas), moves, moved

    def _solved(self, p: int, length: np.ndarray, deficit: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Maximum-likelihood concentrations of sums [m], no greater than allowed."""
        r, rc = np.minimum(length / weight, 1.0), np.minimum(deficit / weight, 1.0)
        return np.minimum(solve(np.full(r.shape, float(p)), r, rc), self.max_kappa)

    # ---- using -----------------------------------------------------------------------------------------------------

    @property
    def components(self) -> VonMisesFisher:
        """The components as a batch [k] of distributions."""
        self._check_fitted()
        return VonMisesFisher(self.means_, self.kappas_)

    def _check_fitted(self) -> None:
        if not hasattr(self, "means_"):
            raise RuntimeError("this mixture has no components yet; call fit first")

    def _joint(self, x: Any) -> Any:
        """Blocks of log(weight times density) with their places, and the rows."""
        self._check_fitted()
        rows = Rows(x)
        if rows.p != self.n_features_in_:
            raise ValueError(f"x has {rows.p} columns; the mixture was fitted with {self.n_features_in_}")
        with np.errstate(divide="ignore"):
            model = _Model(np.log(self.weights_), self.means_, self.kappas_)
        return rows.n, ((part, model.log_joint(rows, part, block)[0]) for part, block in rows.blocks())

    def score_samples(self, x: Any) -> np.ndarray:
        """Log-likelihood of each row [n]."""
        n, blocks = self._joint(x)
        out = np.empty(n)
        for part, joint in blocks:
            out[part] = _log_sum(joint).ravel()
        return out

    def score(self, x: Any, weights: Any = None) -> float:
        """Mean log-likelihood of a row."""
        values = self.score_samples(x)
        return float(np.average(values, weights=as_weights(weights, values.shape[0])))

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probability of each component for each row [n, k]."""
        n, blocks = self._joint(x)
        out = np.empty((n, self.k))
        for part, joint in blocks:
            out[part] = np.exp(joint - _log_sum(joint))
        return out

    def predict(self, x: Any) -> np.ndarray:
        """The most probable component of each row [n], int64."""
        n, blocks = self._joint(x)
        out = np.empty(n, dtype=np.int64)
        for part, joint in blocks:
            out[part] = joint.argmax(axis=1)
        return out

    def fit_predict(self, x: Any, weights: Any = None) -> np.ndarray:
        """Fit, then the most probable component of each row [n]."""
        return self.fit(x, weights).predict(x)

    def _n_parameters(self) -> int:
        return self.k * (self.n_features_in_ - 1) + (1 if self.tied_kappa else self.k) + self.k - 1

    def bic(self, x: Any) -> float:
        """Bayesian information criterion on x; less is better."""
        values = self.score_samples(x)
        return float(-2 * values.sum() + self._n_parameters() * math.log(values.shape[0]))

    def aic(self, x: Any) -> float:
        """Akaike's information criterion on x; less is better."""
        return float(-2 * self.score_samples(x).sum() + 2 * self._n_parameters())

    def sample(self, size: int = 1, seed: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Random rows [size, p] and their components [size], in the order of the components."""
        self._check_fitted()
        rng, count = as_generator(seed), as_count(size, "size", 0)
        counts = rng.multinomial(count, self.weights_ / self.weights_.sum())
        parts = [
            VonMisesFisher(mu, kappa).sample(int(n), rng)
            for mu, kappa, n in zip(self.means_, self.kappas_, counts, strict=True)
        ]
        return np.concatenate(parts), np.repeat(np.arange(self.k), counts)


def _drawn(share: np.ndarray, far: np.ndarray, rng: np.random.Generator) -> int:
    """A row, with probability in proportion to its weight and its distance; by weight alone if all distances are 0."""
    chance = share * far
    if not chance.sum() > 0:
        chance = share
    return int(rng.choice(chance.size, p=chance / chance.sum()))


class _Progress:
    """Tells a function, or a bar of tqdm, or nobody."""

    def __init__(self, wanted: Any, total: int) -> None:
        self._call = wanted if callable(wanted) else None
        self._bar = None
        if wanted is True:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, unit="step")

    def __enter__(self) -> Callable[[int, int, float], None]:
        return self._tell

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def _tell(self, start: int, step: int, bound: float) -> None:
        if self._call is not None:
            self._call(start, step, bound)
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix(bound=f"{bound:.6g}")
