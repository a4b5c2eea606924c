"""Sufficient statistics of directions, which add up, and the estimate that is made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from omniconv.vmf import terms
from omniconv.vmf.checks import as_array, as_choice, as_weights, check_dimension
from omniconv.vmf.concentration import solve
from omniconv.vmf.rows import Rows

__all__ = ["VmfFit", "VmfStatistics", "fit_statistics"]

#: Above this share of the weight, the deficit W - |s| of a block is taken by subtraction: it costs two bits at most.
_SPREAD = 0.25


class VmfStatistics:
    """What maximum likelihood needs to know of weighted unit vectors: W = sum of w, s = sum of w x, and W - |s|.

    The deficit W - |s| stands beside its parts because subtraction would lose it: with concentration 1e12 it is the
    thirteenth digit of W. It is carried through sums without cancellation,

        deficit(a + b) = deficit(a) + deficit(b) + |a| |b| |a/|a| - b/|b||^2 / (|a| + |b| + |a + b|).

    Statistics of parts of the data add to those of the whole, in any order and grouping up to rounding: ``a + b``,
    ``sum(parts)``. They are small, they pickle, and they are never changed.

    Parameters
    ----------
    weight : float
        Sum of the weights; without weights, the number of vectors.
    total : array [p]
        Weighted sum of the vectors.
    deficit : float, optional
        ``weight - norm(total)``, where it is known better than by this subtraction.

    Raises
    ------
    ValueError
        If a number is not finite or negative, p < 2, or the total is longer than the weight allows.
    """

    __slots__ = ("deficit", "total", "weight")

    def __init__(self, weight: float, total: Any, deficit: float | None = None) -> None:
        total = as_array(total, "total")[0].astype(np.float64)
        if total.ndim != 1:
            raise ValueError(f"total has shape {total.shape}; expected is one axis, [p]")
        check_dimension(total.shape[0], "total")
        weight = float(weight)
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight is {weight}; it must be finite and not negative")
        length = float(np.linalg.norm(total))
        if not length <= weight * (1 + 1e-9):  # NaN and infinity too
            raise ValueError(f"total has norm {length}; that of unit vectors cannot exceed the weight, {weight}")
        if deficit is None:
            deficit = max(0.0, weight - length)
        deficit = float(deficit)
        if not abs(weight - length - deficit) <= 1e-9 * weight or deficit < 0:
            raise ValueError(f"deficit is {deficit}; it must be weight - norm(total), about {weight - length}")
        total.flags.writeable = False
        self.weight, self.total, self.deficit = weight, total, deficit

    @classmethod
    def from_data(cls, x: Any, weights: Any = None) -> VmfStatistics:
        """Statistics of data, read in blocks of rows: memory beyond the data stays at some 30 MiB.

        Parameters
        ----------
        x : array [n, p], or scipy.sparse matrix or array
            Rows of norm 1, to within 1e-5; they are normalised once more. float32 data are summed in float64.
        weights : array [n], optional
            How often each row counts; finite, not negative.

        Raises
        ------
        TypeError, ValueError
            Naming x or weights, and the row where there is one.
        """
        rows = Rows(x)
        weights = as_weights(weights, rows.n)
        if weights is None:
            weights = np.ones(rows.n)
        whole = cls(0.0, np.zeros(rows.p))
        for part, block in rows.blocks():
            whole = whole + cls._of_block(rows, part, block, weights[part])
        return whole

    @classmethod
    def _of_block(cls, rows: Rows, part: slice, block: Any, weights: np.ndarray) -> VmfStatistics:
        weight, total = float(weights.sum()), np.asarray(block.T @ weights).ravel()
        length = float(np.linalg.norm(total))
        deficit = weight - length
        if deficit < _SPREAD * weight and length > 0:
            mean, deficit = total / length, 0.0
            for piece, dense in rows.dense_parts(part, block):
                if not rows.sparse:
                    dense -= mean  # in place: the block is not used again
                else:
                    dense = dense - mean
                inside = slice(piece.start - part.start, piece.stop - part.start)
                deficit += float(weights[inside] @ np.einsum("np,np->n", dense, dense)) / 2
        return cls._made(weight, total, deficit)

    @classmethod
    def _made(cls, weight: float, total: np.ndarray, deficit: float) -> VmfStatistics:
        """Without the checks, which rounding may violate in the last digit."""
        new = cls.__new__(cls)
        total.flags.writeable = False
        new.weight, new.total, new.deficit = weight, total, max(0.0, deficit)
        return new

    def __add__(self, other: Any) -> VmfStatistics:
        if isinstance(other, int) and other == 0:  # where sum() begins
            return self
        if not isinstance(other, VmfStatistics):
            return NotImplemented
        if self.p != other.p:
            raise ValueError(f"statistics of dimension {self.p} and of dimension {other.p} do not add up")
        total = self.total + other.total
        deficit = self.deficit + other.deficit
        a, b = float(np.linalg.norm(self.total)), float(np.linalg.norm(other.total))
        if a > 0 and b > 0:
            apart = self.total / a - other.total / b
            deficit += a * b * float(apart @ apart) / (a + b + float(np.linalg.norm(total)))
        return self._made(self.weight + other.weight, total, deficit)

    __radd__ = __add__

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._made, (self.weight, np.array(self.total), self.deficit)

    def __repr__(self) -> str:
        return f"VmfStatistics(p={self.p}, weight={self.weight:g}, r={self.r:g})"

    @property
    def p(self) -> int:
        """Dimension of the space."""
        return self.total.shape[0]

    @property
    def r(self) -> float:
        """Mean resultant length |s| / W; NaN without data."""
        return min(1.0, float(np.linalg.norm(self.total)) / self.weight) if self.weight else math.nan

    @property
    def rc(self) -> float:
        """1 - r, accurate however small it is; NaN without data."""
        return min(1.0, self.deficit / self.weight) if self.weight else math.nan

    @property
    def mu(self) -> np.ndarray:
        """Mean direction [p]; the first axis where the vectors cancel out and there is none."""
        length = np.linalg.norm(self.total)
        return self.total / length if length > 0 else np.eye(1, self.p)[0]


@dataclass(frozen=True)
class VmfFit:
    """Maximum-likelihood estimate of a von Mises-Fisher distribution; unpacks as ``mu, kappa = fit``, like SciPy's."""

    mu: np.ndarray  #: mean direction [p]
    kappa: float  #: concentration; inf where all vectors are the same
    se: float  #: standard error of kappa, 1 / sqrt(n A'(kappa))
    r: float  #: mean resultant length of the data
    rc: float  #: 1 - r
    n: float  #: sum of the weights
    bias: str  #: "none" or "debiased": how kappa was made of r
    relative_bias: float  #: share by which maximum likelihood overestimates kappa, about; inf where nothing is left
    bias_warning: str | None  #: says so where `kappa` carries a bias larger than its standard error

    def __iter__(self) -> Iterator[Any]:
        return iter((self.mu, self.kappa))

    @property
    def distribution(self) -> Any:
        """The fitted `VonMisesFisher`. ValueError if kappa is inf."""
        from omniconv.vmf.distribution import VonMisesFisher

        return VonMisesFisher(self.mu, self.kappa)


def _kappa(p: int, r: float, rc: float) -> float:
    return float(solve(np.array([float(p)]), np.array([r]), np.array([rc]))[0])


def _debiased(p: int, n: float, r: float, rc: float) -> float:
    """Solve for an unbiased estimate of A^2: E r^2 = A^2 + (1 - A^2) / n, whatever the distribution about mu."""
    spread = n / (n - 1) * rc * (1 + r)  # estimates 1 - A^2
    if spread >= 1:
        return 0.0
    length = math.sqrt(max(0.0, (n * r * r - 1) / (n - 1)))
    return _kappa(p, length, spread / (1 + length))


def fit_statistics(statistics: VmfStatistics, bias: str = "none") -> VmfFit:
    """The estimate from sufficient statistics; see `VonMisesFisher.fit`."""
    as_choice(bias, ("none", "debiased"), "bias")
    n, p, r, rc = statistics.weight, statistics.p, statistics.r, statistics.rc
    if not n > 0:
        raise ValueError("x has no rows of positive weight; nothing can be fitted")
    if bias == "debiased" and not n > 1:
        raise ValueError(f"the sum of the weights is {n}; bias='debiased' needs more than 1")
    plain = _kappa(p, r, rc)
    better = _debiased(p, n, r, rc) if n > 1 else math.nan
    kappa = better if bias == "debiased" else plain
    slope = float(terms.resultant_dk(p, np.array([kappa]))[0]) if math.isfinite(kappa) else 0.0
    se = 1 / math.sqrt(n * slope) if slope > 0 else math.inf
    relative, warning = math.inf, None
    if rc == 0 and n > 1:
        relative = 0.0  # all vectors are the same: infinite either way
    elif better > 0:
        relative = plain / better - 1
    elif plain == 0:
        relative = 0.0
    if bias == "none" and n <= 1:
        warning = f"kappa = {plain:.6g} means nothing: the sum of the weights is {n:g}"
    elif bias == "none" and relative > 0 and plain - better > se:
        warning = (
            f"kappa = {plain:.6g} is biased upwards; about {better:.6g} is without bias (standard error {se:.3g}): "
            f"the mean direction was estimated from {n:g} vectors in {p} dimensions; see bias='debiased'"
        )
    return VmfFit(statistics.mu, kappa, se, r, rc, n, bias, relative, warning)
