"""Graph convolution: matrices in CSR times rows of features, and the layers of published models built on it."""

from __future__ import annotations

from typing import Any

from omniconv import _core
from omniconv.array import Described, describe, export, np, said
from omniconv.sparse.tensor import like_numpy

__all__ = ["Graph", "dagnn_propagate", "gcn_norm", "inverse_graph_conv", "spmm"]


class Graph:
    """A matrix [rows, columns] in CSR; of a graph, row i has an entry for each edge j -> i.

    Element (i, j) is ``row_scale[i] * value * column_scale[j]``, where what is None is 1: a normalised graph without
    weights is read by its indices alone.

    Parameters
    ----------
    indptr : integers [rows + 1]
    indices : integers [entries]
    values : floats [entries], optional
    columns : int, optional
        As many as rows if left out.
    row_scale : floats [rows], optional
    column_scale : floats [columns], optional
    """

    def __init__(
        self,
        indptr: Any,
        indices: Any,
        values: Any = None,
        columns: int | None = None,
        row_scale: Any = None,
        column_scale: Any = None,
    ) -> None:
        for name, array in (("indptr", indptr), ("indices", indices)):
            if np.ndim(array) != 1 or np.asarray(array).dtype.kind not in "iu":
                raise TypeError(f"{name} is {said(array)}; expected are integers in one axis")
        self.indptr = np.ascontiguousarray(indptr, dtype=np.int64)
        if not len(self.indptr):
            raise ValueError("indptr is empty; expected are rows + 1 numbers")
        wide = np.asarray(indices)
        if wide.size and (wide.min() < 0 or wide.max() >= 2**31):
            raise ValueError(f"indices hold {wide.min()} to {wide.max()}; allowed are 0 to 2^31 - 1")
        self.indices = np.ascontiguousarray(wide, dtype=np.int32)
        self.columns = len(self.indptr) - 1 if columns is None else int(columns)
        self.values, self.row_scale, self.column_scale = (
            None if a is None else np.ascontiguousarray(a, dtype=np.float32) for a in (values, row_scale, column_scale)
        )
        self._transposed: Graph | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @classmethod
    def from_edges(cls, edge_index: Any, nodes: int, *, weights: Any = None) -> Graph:
        """From [2, E] integers, sources and targets. Edges of a target are in the order of their sources."""
        edges = np.asarray(edge_index)
        if edges.ndim != 2 or len(edges) != 2 or edges.dtype.kind not in "iu":
            raise ValueError(
                f"edge_index has shape {edges.shape} and dtype {edges.dtype}; expected are integers (2, E)"
            )
        if edges.size and (edges.min() < 0 or edges.max() >= nodes):
            raise ValueError(f"edge_index holds {edges.min()} to {edges.max()}; allowed are 0 to {nodes - 1}")
        order = np.lexsort(edges)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(edges[1], minlength=nodes))])
        return cls(indptr, edges[0][order], None if weights is None else np.asarray(weights)[order])

    def transpose(self) -> Graph:
        """The matrix [columns, rows]; entries of a row in the order of the rows they come from. Made once and kept."""
        if self._transposed is None:
            rows = np.repeat(np.arange(self.rows, dtype=np.int32), np.diff(self.indptr))
            order = np.argsort(self.indices, kind="stable")
            indptr = np.concatenate([[0], np.cumsum(np.bincount(self.indices, minlength=self.columns))])
            values = None if self.values is None else self.values[order]
            self._transposed = Graph(indptr, rows[order], values, self.rows, self.column_scale, self.row_scale)
            self._transposed._transposed = self
        return self._transposed

    def dense(self) -> np.ndarray:
        """float64 [rows, columns]; entries that occur twice add up."""
        out = np.zeros((self.rows, self.columns))
        rows = np.repeat(np.arange(self.rows), np.diff(self.indptr))
        np.add.at(out, (rows, self.indices), 1.0 if self.values is None else self.values)
        out *= 1.0 if self.row_scale is None else self.row_scale[:, None]
        return out * (1.0 if self.column_scale is None else self.column_scale)


def gcn_norm(graph: Graph, *, add_self_loops: bool = True) -> Graph:
    """D^-1/2 (A + I) D^-1/2, D the row sums of A + I: the normalisation of Kipf and Welling (2017).

    Of a graph without weights the result has none either: both factors are kept apart from the indices.
    """
    n = graph.rows
    if graph.columns != n or graph.row_scale is not None or graph.column_scale is not None:
        raise ValueError(f"graph is {n} x {graph.columns} or scaled already; expected is a plain square matrix")
    indptr, indices, values = graph.indptr, graph.indices, graph.values
    if add_self_loops:
        rows = np.concatenate([np.repeat(np.arange(n), np.diff(indptr)), np.arange(n)])
        indices = np.concatenate([indices, np.arange(n, dtype=np.int32)])
        order = np.lexsort((indices, rows))
        indices = indices[order]
        values = None if values is None else np.concatenate([values, np.ones(n, np.float32)])[order]
        indptr = indptr + np.arange(n + 1)
    rows = np.repeat(np.arange(n), np.diff(indptr))
    degree = np.bincount(rows, values, n).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(degree > 0, degree**-0.5, 0.0)
    return Graph(indptr, indices, values, row_scale=factor, column_scale=factor)


def spmm(
    graph: Graph,
    x: Any,
    *,
    bias: Any = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    out: Any = None,
) -> Any:
    """``activation(graph @ x + bias)``, float32 [rows, F] for x [columns, F].

    Rows are shared among threads by their entries and summed in the order of these, so the bits do not depend on the
    number of threads.
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"graph is a {type(graph).__name__}; expected is a Graph")
    like = describe(x, "x")
    if len(like.shape) != 2:
        raise ValueError(f"x has shape {like.shape}; expected is ({graph.columns}, F)")
    if like.dtype != "float32":
        raise TypeError(f"x has dtype {like.dtype}; supported is float32")
    y = np.empty((graph.rows, like.shape[1]), np.float32) if out is None else export(out, "out")
    factors = [graph.values, graph.row_scale, graph.column_scale]
    b = None if bias is None else export(bias, "bias")
    _core.spmm(
        graph.indptr, graph.indices, factors, graph.columns, export(x, "x"), b, activation or "none", negative_slope, y
    )
    return like_numpy(y, like) if out is None else out


def dagnn_propagate(
    graph: Graph, z: Any, weight: Any, bias: float | Any = 0.0, *, steps: int = 10, return_gates: bool = False
) -> Any:
    """Propagation of DAGNN (M. Liu, H. Gao and S. Ji, "Towards deeper graph neural networks", KDD 2020).

    ``H_0 = z, H_k = graph @ H_{k-1}``, gates ``s_k = sigmoid(H_k . weight + bias)``, one number per node; the result is
    ``sum_k s_k H_k``, k = 0 to `steps`. Two maps are in memory at a time, not ``steps + 1``.

    Parameters
    ----------
    graph : Graph
        Normalised, see `gcn_norm`.
    z : array [n, C]
        float32.
    weight : array [C] or [1, C]
    bias : float or array of one element
    return_gates : bool
        Also return the gates [n, steps + 1].
    """
    like = describe(z, "z")
    if steps < 0:
        raise ValueError(f"steps is {said(steps)}; allowed is 0 and more")
    w = np.asarray(export(weight, "weight")).reshape(-1)
    if len(like.shape) != 2 or w.shape != like.shape[1:]:
        raise ValueError(f"weight has {w.size} elements and z has shape {like.shape}; expected is one per column")
    b = np.float32(np.asarray(bias).reshape(()) if np.size(bias) == 1 else bias)
    h = np.ascontiguousarray(export(z, "z"))
    other, total, gates = np.empty_like(h), np.zeros_like(h), []
    for step in range(steps + 1):
        gate = 1 / (1 + np.exp(-(h @ w + b)))
        total += gate[:, None] * h
        if return_gates:
            gates.append(gate)
        if step < steps:
            spmm(graph, h, out=other)
            h, other = other, np.empty_like(h) if step == 0 else h
    result = like_numpy(total, like)
    return (result, like_numpy(np.stack(gates, 1), like)) if return_gates else result


def _normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def inverse_graph_conv(x: Any, bank: Any, r: float, *, topk: int | None = None, normalize: bool = True) -> Any:
    """Inverse graph convolution (X. Jian and Y. Wang, "InvGC", Findings of EMNLP 2023): away from similar rows.

    With S = x bank^T: ``x - r (S - mean(S)) bank / n``, or with `topk` ``x - r S' bank / topk``, S' the `topk` largest
    of each row, of equal ones those of lower index. Rows of the result have length 1 unless `normalize` is false.
    Neither way holds a matrix of all similarities: the first is ``x (bank^T bank) - mean(S) sum(bank)``, the second
    goes through x in blocks of rows.

    Parameters
    ----------
    x : array [m, d]
    bank : array [n, d]
        Usually both of normalised rows.
    r : float
    topk : int, optional
        1 to n.
    """
    like = describe(x, "x")
    rows, others = np.asarray(export(x, "x")), np.asarray(export(bank, "bank"))
    if rows.ndim != 2 or others.ndim != 2 or rows.shape[1] != others.shape[1] or not len(others):
        raise ValueError(f"x has shape {rows.shape} and bank {others.shape}; expected are (m, d) and (n, d), n > 0")
    if topk is not None and not 1 <= topk <= len(others):
        raise ValueError(f"topk is {said(topk)}; allowed are 1 to {len(others)}")
    if topk is None:
        wide_x, wide = rows.astype(np.float64), others.astype(np.float64)
        total = wide.sum(0)
        mean = wide_x.sum(0) @ total / max(1, len(rows) * len(wide))
        found = wide_x - r * (wide_x @ (wide.T @ wide) - mean * total) / len(wide)
    else:
        found = np.empty_like(rows)
        block = max(1, (1 << 20) // len(others))
        for at in range(0, len(rows), block):
            part = rows[at : at + block]
            s = part @ others.T
            best = np.argsort(-s, axis=1, kind="stable")[:, :topk]
            values = np.take_along_axis(s, best, 1)
            found[at : at + block] = part - r / topk * np.einsum("mk,mkd->md", values, others[best])
    return like_numpy((_normalised(found) if normalize else found).astype(rows.dtype), Described(*like))
