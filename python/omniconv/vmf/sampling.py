"""Random directions: the component along mu by rejection or inversion, the rest isotropic, one reflection.

Wood, Simulation of the von Mises Fisher distribution, Commun. Stat. Simul. 23 (1994); Ulrich, Appl. Stat. 33 (1984).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv.vmf.checks import said
from omniconv.vmf.rows import row_blocks

__all__ = ["as_generator", "sample"]


def as_generator(seed: Any) -> np.random.Generator:
    """The generator itself, or a new one from None, an integer or what else NumPy takes as a seed."""
    if isinstance(seed, np.random.RandomState):
        raise TypeError("seed is a RandomState; expected is an integer or a numpy.random.Generator")
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed is {said(seed)}; expected is an integer or a numpy.random.Generator") from error


def _axial(rng: np.random.Generator, p: int, kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - w and sqrt(1 - w^2) of the component w along mu, for every kappa [n]; neither by cancellation."""
    if p == 3:  # the distribution function of w inverts
        u = rng.random(kappa.shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(kappa > 0, -np.log1p(u * np.expm1(-2 * kappa)) / kappa, 2 * u)
        t = np.clip(t, 0.0, 2.0)
        return t, np.sqrt(t * (2 - t))
    t, sine = np.empty(kappa.shape), np.empty(kappa.shape)
    todo = np.arange(kappa.size)
    while todo.size:
        k = kappa[todo]
        b = (p - 1) / (2 * k + np.hypot(2 * k, p - 1))
        c0 = 2 * b / (1 + b)  # 1 - x0, where x0 maximises density over envelope
        x0 = (1 - b) / (1 + b)
        # z = g1 / (g1 + g2) is Beta((p-1)/2, (p-1)/2), and w = (1 - (1 + b) z) / (1 - (1 - b) z).
        g1, g2 = rng.standard_gamma((p - 1) / 2, (2, todo.size))
        u = rng.random(todo.size)
        scale = g2 + b * g1
        with np.errstate(invalid="ignore", divide="ignore"):  # both gammas may underflow to 0 if p = 2: rejected
            new = 2 * b * g1 / scale
            beyond = new - c0  # x0 - w
            log_ratio = (p - 1) * np.log1p(x0 * beyond / (c0 * (2 - c0))) - k * beyond
            accept = log_ratio >= np.log1p(-u)
            root = 2 * np.sqrt(b) * np.sqrt(g1) * np.sqrt(g2) / scale
        done = todo[accept]
        t[done], sine[done] = new[accept], root[accept]
        todo = todo[~accept]
    return t, sine


def sample(
    mu: np.ndarray, kappa: np.ndarray, size: tuple[int, ...], rng: np.random.Generator, dtype: Any = np.float64
) -> np.ndarray:
    """Directions [*size, *batch, p] for mu [*batch, p] and kappa [*batch], in blocks of rows.

    The draws along mu come first, for all rows; so the memory beyond the result is a few numbers per row.
    """
    batch, p = kappa.shape, mu.shape[-1]
    mu, kappa = mu.reshape(-1, p), kappa.reshape(-1)
    copies = int(np.prod(size, dtype=np.int64))
    out = np.empty((*size, *batch, p), dtype=dtype)
    rows = out.reshape(-1, p)
    t, sine = _axial(rng, p, np.tile(kappa, copies))
    for part in row_blocks(rows.shape[0], p):
        n = part.stop - part.start
        axis = mu if mu.shape[0] == 1 else mu[np.arange(part.start, part.stop) % mu.shape[0]]
        # Reflecting e1 to -sign(mu_1) mu takes u = e1 + sign(mu_1) mu, whose norm is at least sqrt 2: mu = e1 is no
        # special case. The sign goes into the first coordinate.
        sign = np.where(axis[:, 0] < 0, -1.0, 1.0)
        u = sign[:, None] * axis
        u[:, 0] += 1
        block = np.empty((n, p))
        tangent = rng.standard_normal((n, p - 1))
        length = np.sqrt(np.einsum("np,np->n", tangent, tangent))
        np.multiply(tangent, (sine[part] / length)[:, None], out=block[:, 1:])
        block[:, 0] = -sign * (1 - t[part])
        along = np.einsum("np,np->n", block, np.broadcast_to(u, block.shape)) / (1 + np.abs(axis[:, 0]))
        block -= along[:, None] * u
        rows[part] = block
    return out
