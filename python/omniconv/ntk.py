"""Kernels of infinitely wide networks of ReLU: dense, and convolutional with non-overlapping patches.

The neural tangent kernel and the random feature kernel of Cagnetta, Favero, Wyart, "What can be learnt with wide
convolutional neural networks?", arXiv:2208.01003. Arrays of any framework of the array API; float64 is advised, for the
derivative of `arccos0` is infinite at 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from array_api_compat import array_namespace

__all__ = ["arccos0", "arccos1", "conv_ntk", "conv_rfk", "dense_ntk", "regress", "spectrum"]


def arccos0(t: Any) -> Any:
    """``(pi - acos t) / pi``, the arc-cosine kernel of degree 0; t is clipped to [-1, 1]."""
    xp = array_namespace(t)
    return (math.pi - xp.acos(xp.clip(t, -1, 1))) / math.pi


def arccos1(t: Any) -> Any:
    """``(sqrt(1 - t^2) + (pi - acos t) t) / pi``, the arc-cosine kernel of degree 1; t is clipped to [-1, 1]."""
    xp = array_namespace(t)
    t = xp.clip(t, -1, 1)
    return (xp.sqrt(1 - t * t) + (math.pi - xp.acos(t)) * t) / math.pi


def _units(x: Any) -> Any:
    xp = array_namespace(x)
    return x / xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))


def dense_ntk(x: Any, y: Any, depth: int, *, normalize: bool = True) -> Any:
    """The tangent kernel [N, M] of a dense network with `depth` hidden layers, for rows x [N, D] and y [M, D].

    normalize: whether rows are divided by their lengths first.
    """
    xp = array_namespace(x, y)
    x, y = (_units(v) if normalize else v for v in (x, y))
    c = ntk = xp.matmul(x, xp.permute_dims(y, (1, 0)))
    for _ in range(depth):
        r = arccos1(c)
        ntk, c = arccos0(c) * ntk + r, r
    return ntk


def _hierarchy(x: Any, y: Any, filter_sizes: Sequence[int], normalize: bool) -> tuple[Any, Any]:
    """(tangent kernel, random feature kernel): layer by layer, patches are joined to larger ones."""
    if not filter_sizes or min(filter_sizes) < 1:
        raise ValueError(f"filter_sizes is {filter_sizes}; expected are positive sizes, that of the first layer first")
    span, d = math.prod(filter_sizes), x.shape[-1]
    if x.ndim != 2 or y.ndim != 2 or y.shape[-1] != d or d % span:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; expected are [N, D] and [M, D], D a multiple of the "
            f"{span} entries that a patch of the last layer spans"
        )
    xp = array_namespace(x, y)
    shape = (d // span, *reversed(filter_sizes[1:]), filter_sizes[0])
    a, b = (xp.reshape(v, (v.shape[0], *shape)) for v in (x, y))
    if normalize:
        a, b = _units(a), _units(b)
    c = xp.sum(a[:, None] * b[None], axis=-1)
    ntk = r = c
    for _ in filter_sizes:
        k = arccos1(c)
        r = xp.mean(k, axis=-1)
        ntk = xp.mean(arccos0(c) * ntk, axis=-1) + r
        c = r
    return ntk, r


def conv_ntk(x: Any, y: Any, filter_sizes: Sequence[int], *, normalize: bool = True) -> Any:
    """The tangent kernel [N, M] of a hierarchical convolutional network, for rows x [N, D] and y [M, D].

    Parameters
    ----------
    filter_sizes : sequence of int
        s1 ... sm: the first layer sees patches of s1 entries, which do not overlap, the next joins s2 of its results,
        and so on; the last averages over the D / (s1 ... sm) that remain.
    normalize : bool
        Whether the patches of the first layer are divided by their lengths.
    """
    return _hierarchy(x, y, filter_sizes, normalize)[0]


def conv_rfk(x: Any, y: Any, filter_sizes: Sequence[int], *, normalize: bool = True) -> Any:
    """The random feature kernel of the network of `conv_ntk`, in which the last layer alone is trained."""
    return _hierarchy(x, y, filter_sizes, normalize)[1]


def spectrum(gram: Any) -> Any:
    """The eigenvalues of a symmetric kernel matrix [N, N] over N, largest first."""
    xp = array_namespace(gram)
    return xp.flip(xp.linalg.eigvalsh(gram), axis=-1) / gram.shape[0]


def regress(gram: Any, targets: Any, cross: Any, ridge: float) -> Any:
    """Predictions ``cross (gram + ridge I)^-1 targets`` [M] of kernel regression, for gram [N, N] and cross [M, N]."""
    xp = array_namespace(gram)
    inner = gram + ridge * xp.eye(gram.shape[0], dtype=gram.dtype)
    return xp.matmul(cross, xp.linalg.solve(inner, targets[:, None]))[:, 0]
