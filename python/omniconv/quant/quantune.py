"""Search for the configuration of a quantised model, of which trained trees have an opinion.

Lee et al., "Quantune: Post-training quantization of convolutional neural networks using extreme gradient boosting",
FGCS 132 (2022). Their space has 96 configurations; `tune` walks it, or any other, by their tuner or by those it is
compared with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from omniconv.quant.int8 import SCHEMES

__all__ = ["METHODS", "SPACE", "Trial", "configurations", "tune"]

#: 3 * 4 * 2 * 2 * 2 = 96. "mixed" leaves the first and the last layer in float32.
SPACE: dict[str, tuple[Any, ...]] = {
    "calibration": (1, 64, 1000),
    "scheme": SCHEMES,
    "clipping": ("max", "kl"),
    "granularity": ("tensor", "channel"),
    "mixed": (False, True),
}
METHODS = ("random", "grid", "genetic", "xgboost")

Configuration = dict[str, Any]
_FIRST = 5  # trials before trees are trained
_POPULATION = 8


class Trial(NamedTuple):
    """A configuration and what `evaluate` said of it; more is better."""

    configuration: Configuration
    score: float


def configurations(space: Mapping[str, Sequence[Any]] = SPACE) -> list[Configuration]:
    """Every configuration, the last axis running fastest."""
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def _features(space: Mapping[str, Sequence[Any]], every: list[Configuration]) -> np.ndarray:
    """One column for each value of each axis."""
    return np.array([[c[axis] == value for axis, values in space.items() for value in values] for c in every], float)


def _by_trees(features: np.ndarray, seen: list[int], scores: list[float], seed: int) -> np.ndarray:
    try:
        import xgboost
    except ModuleNotFoundError as error:
        raise ImportError("method 'xgboost' needs xgboost: pip install 'omniconv[tune]'") from error
    model = xgboost.XGBRegressor(
        objective="reg:squarederror", learning_rate=0.1, max_depth=6, reg_alpha=0.01, subsample=0.79,
        colsample_bytree=0.9, n_estimators=60, n_jobs=1, random_state=seed,
    )  # fmt: skip
    values = np.array(scores)
    model.fit(features[seen], (values - values.mean()) / (values.std() or 1.0))
    return model.predict(features)


def _child(space: Mapping[str, Sequence[Any]], trials: list[Trial], rng: np.random.Generator) -> Configuration:
    """Two parents of the better half, every axis from either, one in five drawn anew."""
    best = sorted(trials, key=lambda t: -t.score)[: max(2, len(trials) // 2)]
    parents = [best[i].configuration for i in rng.choice(len(best), 2, replace=len(best) < 2)]
    return {
        axis: values[rng.integers(len(values))] if rng.random() < 0.2 else parents[rng.integers(2)][axis]
        for axis, values in space.items()
    }


def tune(
    evaluate: Callable[[Configuration], float],
    method: str = "xgboost",
    budget: int = 24,
    seed: int = 0,
    *,
    space: Mapping[str, Sequence[Any]] = SPACE,
    target: float | None = None,
) -> list[Trial]:
    """Evaluate configurations, none twice, until `budget` of them are or a score reaches `target`.

    Parameters
    ----------
    evaluate : callable
        A score for a configuration: accuracy, say. More is better.
    method : "random", "grid", "genetic" or "xgboost"
        "grid" takes `configurations` in their order; "genetic" crosses the better half; "xgboost" (needs
        ``pip install 'omniconv[tune]'``) asks gradient boosted trees, trained on the trials so far, after 5 random
        ones.
    budget : int
        At most so many evaluations; all configurations, if there are fewer.
    seed : int
        The same seed asks for the same configurations.

    Returns
    -------
    list of Trial
        In the order of evaluation; the best is ``max(trials, key=lambda t: t.score)``. Its score was chosen as the
        largest: state that of data which took no part.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; allowed are {', '.join(map(repr, METHODS))}")
    if budget < 1:
        raise ValueError(f"budget is {budget}; it must be at least 1")
    every, rng = configurations(space), np.random.default_rng(seed)
    features, trials, seen = _features(space, every), [], []

    def following() -> int:
        left = [i for i in range(len(every)) if i not in set(seen)]
        if method == "grid":
            return left[0]
        if method == "genetic" and len(trials) >= _POPULATION:
            for _ in range(20):  # children that were there already are drawn again
                child = every.index(_child(space, trials, rng))
                if child in left:
                    return child
        if method == "xgboost" and len(trials) >= _FIRST:
            opinion = _by_trees(features, seen, [t.score for t in trials], seed)
            return max(left, key=lambda i: (opinion[i], rng.random()))
        return left[rng.integers(len(left))]

    while len(trials) < min(budget, len(every)):
        at = following()
        seen.append(at)
        trials.append(Trial(every[at], float(evaluate(every[at]))))
        if target is not None and trials[-1].score >= target:
            break
    return trials
