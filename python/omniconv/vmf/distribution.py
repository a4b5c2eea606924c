"""The von Mises-Fisher distribution on the unit sphere of R^p."""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv.vmf import terms
from omniconv.vmf.checks import (
    as_array,
    as_kappa,
    as_size,
    as_unit,
    check_norms,
    give_back,
)
from omniconv.vmf.rows import one_minus_cos, row_blocks
from omniconv.vmf.sampling import as_generator, sample
from omniconv.vmf.statistics import VmfFit, VmfStatistics, fit_statistics

__all__ = ["VonMisesFisher"]


class VonMisesFisher:
    """Directions about a mean: density c_p(kappa) exp(kappa <mu, x>) with respect to the area of the sphere.

    c_p(kappa) = kappa^(p/2-1) / ((2 pi)^(p/2) I_{p/2-1}(kappa)) (Mardia and Jupp, Directional Statistics, 9.3.2). All
    results are float64 and finite for every finite kappa, and do not lose digits in large dimensions or where the
    distribution is almost uniform or almost a point.

    Parameters
    ----------
    mu : array [..., p]
        Mean directions, of norm 1 to within 1e-5; they are normalised once more. p >= 2.
    kappa : number or array [...]
        Concentrations, finite and not negative; 0 is the uniform distribution. Broadcasts with the leading axes of mu;
        the result is the batch.

    Raises
    ------
    TypeError
        If an argument is not an array of real numbers.
    ValueError
        If mu is not of norm 1, kappa is negative or not finite, p < 2, or the shapes do not broadcast.
    """

    def __init__(self, mu: Any, kappa: Any) -> None:
        self.mu, _ = as_unit(mu, "mu")
        self.kappa = as_kappa(kappa)
        try:
            self.batch_shape = np.broadcast_shapes(self.mu.shape[:-1], self.kappa.shape)
        except ValueError as error:
            raise ValueError(
                f"mu has shape {self.mu.shape} and kappa has {self.kappa.shape}; "
                "the shape of kappa must broadcast with that of mu without its last axis"
            ) from error
        for array in (self.mu, self.kappa):
            array.flags.writeable = False

    def __repr__(self) -> str:
        batch = f", batch_shape={self.batch_shape}" if self.batch_shape else f", kappa={float(self.kappa):g}"
        return f"VonMisesFisher(p={self.p}{batch})"

    @property
    def p(self) -> int:
        """Dimension of the space; the sphere has one less."""
        return self.mu.shape[-1]

    def _batch(self, values: np.ndarray) -> Any:
        """Values that depend on kappa alone, for the whole batch."""
        return np.broadcast_to(values, self.batch_shape).copy()[()]

    @property
    def mean_resultant(self) -> Any:
        """A_p(kappa) [...], the length of the mean vector."""
        return self._batch(terms.resultant(self.p, self.kappa))

    @property
    def mean_resultantc(self) -> Any:
        """1 - A_p(kappa) [...], accurate where the distribution is almost a point."""
        return self._batch(terms.resultantc(self.p, self.kappa))

    @property
    def log_normalizer(self) -> Any:
        """Logarithm of c_p(kappa) [...]."""
        return self._batch(-terms.log_area(self.p) - terms.log_ratio(self.p, self.kappa))

    def mean(self) -> np.ndarray:
        """Mean vectors A_p(kappa) mu [..., p]."""
        return np.asarray(self.mean_resultant)[..., None] * self.mu

    def logpdf(self, x: Any) -> Any:
        """Logarithm of the density.

        Parameters
        ----------
        x : array [..., p]
            Directions, of norm 1 to within 1e-5 (normalised once more). The leading axes broadcast with the batch:
            n points under k distributions are ``d.logpdf(x[:, None])``.

        Returns
        -------
        array [...], float64
            Of the kind of `x` (NumPy, torch, JAX).

        Raises
        ------
        ValueError
            If x has another p, is not of norm 1, or does not broadcast with the batch.
        """
        points, kind = as_array(x, "x")
        if points.ndim == 0 or points.shape[-1] != self.p:
            raise ValueError(f"x has shape {points.shape}; expected are {self.p} elements in its last axis")
        lead = points.shape[:-1]
        try:
            shape = np.broadcast_shapes(lead, self.batch_shape)
        except ValueError as error:
            raise ValueError(
                f"x has shape {points.shape}; without its last axis it must broadcast with the batch {self.batch_shape}"
            ) from error
        if self.batch_shape:
            close = one_minus_cos(as_unit(points, "x")[0], self.mu)
        else:
            close = self._angles(points.reshape(-1, self.p)).reshape(lead)
        # log c + kappa cos = (G - log area) - kappa (1 - cos): kappa itself, the largest of all, has cancelled.
        peak = terms.gap(self.p, self.kappa) - terms.log_area(self.p)
        return give_back(kind, np.broadcast_to(peak - self.kappa * close, shape).copy())

    def _angles(self, points: np.ndarray) -> np.ndarray:
        """1 - <mu, x> of rows, by blocks: float32 data is never copied as a whole."""
        close = np.empty(points.shape[0])
        for part in row_blocks(*points.shape):
            block = points[part].astype(np.float64)
            norms = np.sqrt(np.einsum("np,np->n", block, block))
            check_norms(norms, "x", part.start)
            block /= norms[:, None]
            close[part] = one_minus_cos(block, self.mu)
        return close

    def pdf(self, x: Any) -> Any:
        """Density; see `logpdf`. It overflows to inf and underflows to 0 where its logarithm is fine."""
        logarithm = self.logpdf(x)
        if hasattr(logarithm, "exp"):  # torch
            return logarithm.exp()
        _, kind = as_array(logarithm, "x")
        with np.errstate(over="ignore"):
            return give_back(kind, np.exp(np.asarray(logarithm)))

    def entropy(self) -> Any:
        """Differential entropy [...] in nats; that of the uniform distribution is the logarithm of the area."""
        return self._batch(terms.entropy(self.p, self.kappa))

    def kl_uniform(self) -> Any:
        """Kullback-Leibler divergence [...] from the uniform distribution, in nats; relatively accurate near 0 too."""
        return self._batch(terms.kl_uniform(self.p, self.kappa))

    def kl(self, other: VonMisesFisher) -> Any:
        """Kullback-Leibler divergence [...] of `other` from this one, E log(this / other), in nats.

        It is taken as the sum of two parts that are not negative, and that are accurate when both are close to 0: one
        for the concentrations (a Bregman divergence of the normaliser), A(kappa) kappa' (1 - <mu, mu'>) for the
        directions. Batches broadcast.
        """
        if not isinstance(other, VonMisesFisher):
            raise TypeError(f"other is a {type(other).__name__}; expected is a VonMisesFisher")
        if other.p != self.p:
            raise ValueError(f"other has dimension {other.p}; expected is {self.p}")
        try:
            shape = np.broadcast_shapes(self.batch_shape, other.batch_shape)
        except ValueError as error:
            raise ValueError(
                f"other has batch shape {other.batch_shape}, which does not broadcast with {self.batch_shape}"
            ) from error
        apart = one_minus_cos(self.mu, other.mu)
        along = terms.bregman(self.p, self.kappa, other.kappa)
        across = terms.resultant(self.p, self.kappa) * other.kappa * apart
        return np.broadcast_to(along + across, shape).copy()[()]

    def sample(self, size: int | tuple[int, ...] | None = None, seed: Any = None, *, dtype: Any = np.float64) -> Any:
        """Random directions, in time and memory proportional to their number times p.

        Rejection (Wood 1994) along mu, inversion for p = 3, then one Householder reflection.

        Parameters
        ----------
        size : int or tuple of int, optional
            Leading axes of the result.
        seed : int, numpy.random.Generator or what else numpy.random.default_rng takes, optional
            The same seed gives the same sample with the same version of NumPy.
        dtype : float32 or float64
            Of the result; it is computed in float64, block by block.

        Returns
        -------
        NumPy array [*size, *batch, p]
        """
        sizes = as_size(size)
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"dtype is {np.dtype(dtype)}; allowed are float32 and float64")
        kappa = np.broadcast_to(self.kappa, self.batch_shape)
        mu = np.broadcast_to(self.mu, (*self.batch_shape, self.p))
        return sample(mu, kappa, sizes, as_generator(seed), dtype)

    @classmethod
    def fit(cls, x: Any, weights: Any = None, *, bias: str = "none") -> VmfFit:
        """Maximum-likelihood estimate from data or from their statistics.

        Parameters
        ----------
        x : array [n, p], scipy.sparse matrix or array, or VmfStatistics
            Rows of norm 1, to within 1e-5. float32 data are summed in float64, in blocks.
        weights : array [n], optional
            How often each row counts: finite, not negative. Not with VmfStatistics, which have theirs in them.
        bias : "none" or "debiased"
            "none" is the maximum of the likelihood. As the mean direction is estimated too, it overestimates kappa
            where n is less than about (p / kappa)^2, for E r^2 = A^2 + (1 - A^2) / n. "debiased" solves
            A^2 = (n r^2 - 1) / (n - 1) instead; 0 where that is negative.

        Returns
        -------
        VmfFit
            mu, kappa, its standard error and the bias expected of it; `bias_warning` is text where the bias exceeds
            the standard error. Nothing is printed and no warning is raised.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was found and what is allowed.
        """
        if isinstance(x, VmfStatistics):
            if weights is not None:
                raise TypeError("weights were given with VmfStatistics; they belong into VmfStatistics.from_data")
            return fit_statistics(x, bias)
        return fit_statistics(VmfStatistics.from_data(x, weights), bias)
