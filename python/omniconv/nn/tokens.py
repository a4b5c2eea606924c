"""Fewer tokens for a while: two steps without parameters, to be put around any blocks of a vision transformer.

Liang et al., "Expediting Large-Scale Vision Transformer for Dense Prediction without Fine-tuning", arXiv:2210.01035.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from omniconv.array import said
from omniconv.nn.arrays import constant, moved, pair
from omniconv.nn.functional import softmax, topk
from omniconv.nn.pooling import adaptive_avg_pool

__all__ = ["cluster_tokens", "reconstruct_tokens"]


def _distances(a: Any, b: Any) -> Any:
    """Squared distances [N, A, B] of rows [N, A, C] and [N, B, C]."""
    xp = array_namespace(a, b)
    squares = xp.sum(a * a, axis=-1)[:, :, None] + xp.sum(b * b, axis=-1)[:, None, :]
    return squares - 2 * xp.matmul(a, xp.permute_dims(b, (0, 2, 1)))


def cluster_tokens(
    x: Any, clusters: Any, *, iterations: int = 5, temperature: float = 0.02, window: int = 5
) -> tuple[Any, Any]:
    """Centres [N, h, w, C] of the tokens x [N, H, W, C], and the index of the nearest centre of each, [N, H W].

    Parameters
    ----------
    clusters : two ints
        h and w. Centres start as means over the cells of a grid.
    iterations : int
        Of soft assignment: each token is shared among centres by a softmax of -temperature times the squared distance.
    window : int
        A token counts for the centres of a window of this many cells around its own cell, in each direction.
    """
    (rows, columns), (n, h, w, c) = pair(clusters), x.shape
    if not (1 <= rows <= h and 1 <= columns <= w):
        raise ValueError(f"clusters is {said(clusters)}; allowed are at most {h} x {w}, the tokens of x")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; expected is at least 1")
    xp, tokens = array_namespace(x), x.reshape(n, h * w, c)
    centres = moved(adaptive_avg_pool(moved(x, -1, 1), (rows, columns)), 1, -1).reshape(n, -1, c)
    cell_y, cell_x = np.arange(h) * rows // h, np.arange(w) * columns // w
    near_y = np.abs(np.arange(rows)[:, None] - cell_y[None]) <= window // 2
    near_x = np.abs(np.arange(columns)[:, None] - cell_x[None]) <= window // 2
    near = (near_y[:, None, :, None] & near_x[None, :, None, :]).reshape(rows * columns, h * w)
    beyond = constant(np.where(near, 0.0, 1e16), x)
    for _ in range(iterations):
        shares = softmax(-temperature * (_distances(centres, tokens) + beyond), axis=1)
        total = xp.clip(xp.sum(shares, axis=2, keepdims=True), 1e-16, None)
        centres = xp.matmul(shares, tokens) / total
    labels = xp.argmin(_distances(centres, tokens), axis=1)
    return centres.reshape(n, rows, columns, c), labels


def reconstruct_tokens(before: Any, after: Any, refined: Any, *, k: int = 20, temperature: float = 0.01) -> Any:
    """All tokens [N, L, C'] again, from what the blocks made of their centres.

    Parameters
    ----------
    before, after : array
        The tokens [N, L, C] and the centres [N, M, C], as they were before the blocks.
    refined : array
        [N, M, C'], the centres behind the blocks.
    k : int
        A token is a mixture of its k nearest centres, and those as near as the k-th.
    temperature : float
        Weights are exp(-temperature squared distance), divided by their length in the L2 norm, as in the reference.
    """
    xp, m = array_namespace(before), after.shape[1]
    if not 1 <= k <= m:
        raise ValueError(f"k is {k}; allowed are 1 to {m}, the number of centres")
    distances = _distances(before, after)
    weights = xp.exp(-temperature * xp.where(distances > 0, distances, distances * 0))
    least = topk(weights, k)[0][..., -1:]
    weights = xp.where(weights >= least, weights, weights * 0)
    length = xp.sqrt(xp.sum(weights * weights, axis=-1, keepdims=True))
    return xp.matmul(weights / xp.clip(length, 1e-12, None), refined)
