"""Graphs of patients and the staged decision of SGUQ (staged graph convolution with uncertainty quantification)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv.array import np, said
from omniconv.sparse.graph import Graph

__all__ = ["cosine_graph", "staged_decision"]


def _finished(similar: np.ndarray) -> Graph:
    """max(A, A^T) + I, rows divided by their sums of magnitudes."""
    dense = np.maximum(similar, similar.T) + np.eye(len(similar))
    dense /= np.abs(dense).sum(1, keepdims=True)
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    return Graph(indptr, columns, dense[rows, columns])


def cosine_graph(x: Any, train: int, *, edges_per_node: int = 2) -> tuple[Graph, Graph]:
    """Graphs of rows that are alike: one of the first `train` rows, and one that links these with the others.

    An edge joins rows whose cosine distance is at most element ``edges_per_node * train`` of the sorted distances of
    the first rows, itself to itself and both orders counted. Its weight is the cosine; A + I is divided by row sums.

    Parameters
    ----------
    x : array [n, d]
    train : int
        1 to n.
    """
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or not 1 <= train <= len(rows):
        raise ValueError(f"train is {said(train)} and x has shape {rows.shape}; allowed are 1 to n for (n, d)")
    if not 0 <= edges_per_node < train:
        raise ValueError(f"edges_per_node is {said(edges_per_node)}; allowed are 0 to {train - 1}")
    norms = np.linalg.norm(rows, axis=1)
    distance = 1 - rows @ rows.T / np.maximum(np.outer(norms, norms), 1e-8)
    threshold = np.sort(distance[:train, :train], axis=None)[edges_per_node * train]
    similar = np.where(distance <= threshold, 1 - distance, 0.0)
    np.fill_diagonal(similar, 0.0)
    linked = similar.copy()
    linked[:train, :train] = linked[train:, train:] = 0.0
    return _finished(similar[:train, :train]), _finished(linked)


def _vote(labels: np.ndarray) -> np.ndarray:
    """The most frequent label of each column, of equally frequent ones the first met."""
    counts = (labels[:, None] == labels[None]).sum(1)
    return np.take_along_axis(labels, counts.argmax(0)[None], 0)[0]


def staged_decision(probabilities: Sequence[Any], thresholds: Sequence[float]) -> dict[str, Any]:
    """Decide each sample at the first stage whose models agree well enough.

    Parameters
    ----------
    probabilities : sequence of S arrays [trials, n, classes]
        Of models trained independently, a stage each.
    thresholds : S - 1 floats
        A stage decides where the standard deviation over trials (population), of the second class's probability or
        with more classes of the largest one, is at most its threshold; the last decides the rest.

    Returns
    -------
    dict
        "std" and "label": S arrays [n], label by majority of trials; "stage" [n], from 1; "final" [n].
    """
    stages = [np.asarray(p, dtype=np.float64) for p in probabilities]
    if not stages or any(p.ndim != 3 or p.shape[1:] != stages[0].shape[1:] for p in stages):
        raise ValueError("probabilities must be arrays [trials, n, classes] of the same n and classes, one at least")
    if len(thresholds) != len(stages) - 1:
        raise ValueError(
            f"thresholds has {len(thresholds)} values; expected are {len(stages) - 1}, one less than stages"
        )
    std = [(p[..., 1] if p.shape[2] == 2 else p.max(2)).std(0) for p in stages]
    label = [_vote(p.argmax(2)) for p in stages]
    stage = np.full(stages[0].shape[1], len(stages))
    for i in range(len(stages) - 2, -1, -1):
        stage[std[i] <= thresholds[i]] = i + 1
    return {"std": std, "label": label, "stage": stage, "final": np.stack(label)[stage - 1, np.arange(len(stage))]}
