"""Features of a sparse tensor at points between its sites."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from omniconv import _core
from omniconv.array import export, np, said
from omniconv.sparse.graph import Graph, spmm
from omniconv.sparse.tensor import SparseTensor

__all__ = ["interpolate", "interpolation"]


def _rows_of(sites: Any, coords: np.ndarray) -> np.ndarray:
    """int64, the row of each of the coordinates among the sites, -1 where there is none."""
    wanted = _core.sparse_sites(coords)
    order, starts = wanted.order(), wanted.starts()
    distinct = _core.sparse_sites(np.ascontiguousarray(coords[order[starts[:-1]]]))
    ones, zeros = (1,) * sites.dims, (0,) * sites.dims
    pairs = _core.sparse_map(sites, distinct, ones, ones, zeros, ones).triples()
    found = np.full(distinct.rows, -1, dtype=np.int64)
    found[pairs[:, 1]] = pairs[:, 0]
    rows = np.empty(len(coords), dtype=np.int64)
    rows[order] = np.repeat(found, np.diff(starts))
    return rows


def interpolation(
    st: SparseTensor,
    points: Any,
    voxel_size: float | Sequence[float] = 1.0,
    *,
    origin: Sequence[float] | None = None,
    batch: Any = None,
    mode: str = "linear",
    normalize: bool = False,
) -> Graph:
    """The matrix [points, sites] of `interpolate`: one for many features, and transposed the way back."""
    where = np.asarray(export(points, "points"), dtype=np.float64)
    if where.ndim != 2 or where.shape[1] != st.dims:
        raise ValueError(f"points have shape {where.shape}; expected is (M, {st.dims})")
    if mode not in ("linear", "nearest"):
        raise ValueError(f"mode is {said(mode)}; allowed are 'linear', 'nearest'")
    size = np.broadcast_to(np.asarray(voxel_size, dtype=np.float64), where.shape[1:])
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"voxel_size is {said(voxel_size)}; it must be positive")
    batches = np.zeros(len(where), np.int64) if batch is None else np.asarray(batch)
    if batches.shape != (len(where),) or batches.dtype.kind not in "iu":
        raise ValueError(
            f"batch has shape {batches.shape} and dtype {batches.dtype}; expected are {len(where)} integers"
        )
    if not np.isfinite(where).all():
        raise ValueError("points hold values that are not finite")
    places = (where - (0.0 if origin is None else np.asarray(origin, dtype=np.float64))) / size
    if mode == "linear":
        places = places - 0.5
    if places.size and np.abs(places).max() >= 2**31 - 1:
        raise ValueError(f"voxel_size is {said(voxel_size)}: the points span more voxels than int32 counts")
    low = np.floor(places)
    corners = list(itertools.product((0, 1), repeat=st.dims)) if mode == "linear" else [(0,) * st.dims]
    coords = np.empty((len(where), len(corners), 1 + st.dims), dtype=np.int32)
    weights = np.ones(coords.shape[:2])
    coords[:, :, 0] = batches[:, None]
    for i, corner in enumerate(corners):
        coords[:, i, 1:] = low + corner
        if mode == "linear":
            weights[:, i] = np.where(np.array(corner) == 1, places - low, 1 - (places - low)).prod(1)
    rows = _rows_of(st.sites, coords.reshape(-1, 1 + st.dims)).reshape(weights.shape)
    weights *= rows >= 0
    if normalize:
        total = weights.sum(1, keepdims=True)
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    used = weights > 0
    indptr = np.concatenate([[0], np.cumsum(used.sum(1))])
    return Graph(indptr, rows[used], weights[used], len(st))


def interpolate(
    st: SparseTensor,
    points: Any,
    voxel_size: float | Sequence[float] = 1.0,
    *,
    origin: Sequence[float] | None = None,
    batch: Any = None,
    mode: str = "linear",
    normalize: bool = False,
) -> Any:
    """Features [M, C], float32, at points between the sites.

    Parameters
    ----------
    st : SparseTensor
    points : array [M, D]
        Finite floats; the centre of a site i is at ``origin + (i + 0.5) * voxel_size``, as for `from_points`.
    voxel_size : float or D floats
    origin : D floats, optional
        Zero if left out.
    batch : integers [M], optional
        Zero if left out.
    mode : {"linear", "nearest"}
        "linear": between the 2^D sites around the point, one that is not there being zero. "nearest": of the site that
        the point is in, zero where there is none.
    normalize : bool
        Divide by the weights of the sites that are there.
    """
    how = {"origin": origin, "batch": batch, "mode": mode, "normalize": normalize}
    return spmm(interpolation(st, points, voxel_size, **how), st.features)
