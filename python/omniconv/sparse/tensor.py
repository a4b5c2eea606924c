"""Sparse tensors: sites of a grid and their features."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from omniconv import _core
from omniconv.array import Described, describe, export, finish, np, said

__all__ = ["SparseTensor", "from_dense", "from_points"]

MAX_DIMS = 4


def like_numpy(array: Any, like: Described) -> Any:
    """A NumPy result as an array of the kind of `like`."""
    if like.kind == "torch":
        return sys.modules["torch"].from_numpy(np.ascontiguousarray(array))
    return finish(like, array)


def _integers(coords: Any, argument: str) -> np.ndarray:
    """int32 [N, 1 + D] of whatever holds integers; ValueError where a value does not fit."""
    array = np.asarray(coords.detach().cpu() if hasattr(coords, "detach") else coords)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{argument} has dtype {array.dtype}; expected are integers")
    if array.ndim != 2 or not 2 <= array.shape[1] <= 1 + MAX_DIMS:
        raise ValueError(f"{argument} has shape {array.shape}; expected is (N, 1 + D) with D from 1 to {MAX_DIMS}")
    if array.dtype != np.int32:
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise ValueError(f"{argument} holds {array.min()} to {array.max()}, which no int32 holds")
        array = array.astype(np.int32)
    return np.ascontiguousarray(array)


def _shape(spatial_shape: Any, dims: int) -> tuple[int, ...] | None:
    if spatial_shape is None:
        return None
    shape = tuple(int(n) for n in spatial_shape)
    if len(shape) != dims or any(n < 1 for n in shape):
        raise ValueError(f"spatial_shape is {said(spatial_shape)}; expected are {dims} sizes of 1 and more")
    return shape


def _reduced(features: np.ndarray, order: np.ndarray, starts: np.ndarray, reduce: str) -> np.ndarray:
    """One row per distinct site, in the order of the sites."""
    first, after = starts[:-1], starts[1:]
    if reduce in ("first", "last"):
        return features[order[first if reduce == "first" else after - 1]]
    if len(first) == 0:
        return features[:0]
    rows = features[order]
    if reduce == "max":
        return np.maximum.reduceat(rows, first, axis=0)
    sums = np.add.reduceat(rows, first, axis=0, dtype=np.float64)
    if reduce == "mean":
        sums /= (after - first)[:, None]
    return sums.astype(features.dtype)


class SparseTensor:
    """Features at the occupied sites of a grid.

    Parameters
    ----------
    coords : integers [N, 1 + D]
        Sites, the batch first, D = 1 to 4; they fit int32. Negative coordinates are fine. Any order.
    features : array [N, C]
        float32 or float64, of any framework.
    spatial_shape : sequence of int, optional
        Sites lie in [0, n) of each axis, and those of results are clipped as a dense convolution's would be. Left out,
        the grid has no ends.
    batch_size : int, optional
        Left out, one more than the largest batch.
    on_duplicate : {"error", "first", "last", "sum", "mean", "max"}
        What becomes of sites that occur more than once. All but "error" leave the sites in lexicographic order if there
        are any.
    on_out_of_range : {"error", "drop"}
        What becomes of sites outside `spatial_shape` or `batch_size`.
    """

    def __init__(
        self,
        coords: Any,
        features: Any,
        spatial_shape: Sequence[int] | None = None,
        batch_size: int | None = None,
        on_duplicate: str = "error",
        on_out_of_range: str = "error",
    ) -> None:
        for name, value, allowed in (
            ("on_duplicate", on_duplicate, ("error", "first", "last", "sum", "mean", "max")),
            ("on_out_of_range", on_out_of_range, ("error", "drop")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {said(value)}; allowed are {', '.join(allowed)}")
        coords = _integers(coords, "coords")
        self.spatial_shape = _shape(spatial_shape, coords.shape[1] - 1)
        inside = self._inside(coords, batch_size)
        if not inside.all():
            if on_out_of_range == "error":
                at = int(np.flatnonzero(~inside)[0])
                raise ValueError(
                    f"coords row {at} is {coords[at].tolist()}, outside the batch size {batch_size} or the spatial "
                    f'shape {self.spatial_shape}; on_out_of_range="drop" leaves such rows out'
                )
            like = describe(features, "features")
            features = like_numpy(np.asarray(export(features, "features"))[inside], like)
            coords = np.ascontiguousarray(coords[inside])
        sites = _core.sparse_sites(coords)
        if sites.distinct != sites.rows:
            if on_duplicate == "error":
                order, starts = sites.order(), sites.starts()
                at = order[starts[:-1][np.diff(starts) > 1][0]]
                raise ValueError(
                    f"coords hold {coords[at].tolist()} more than once; on_duplicate= says what becomes of duplicates"
                )
            like = describe(features, "features")
            order, starts = sites.order(), sites.starts()
            features = like_numpy(_reduced(np.asarray(export(features, "features")), order, starts, on_duplicate), like)
            sites = _core.sparse_sites(coords[order[starts[:-1]]])
        largest = int(coords[:, 0].max(initial=-1))
        self.batch_size = max(1, largest + 1) if batch_size is None else int(batch_size)
        self.sites, self._plans = sites, {}
        self._set(features)

    def _inside(self, coords: np.ndarray, batch_size: int | None) -> np.ndarray:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {said(batch_size)}; allowed is 1 and more")
        inside = np.ones(len(coords), dtype=bool)
        if batch_size is not None:
            inside &= (coords[:, 0] >= 0) & (coords[:, 0] < batch_size)
        if self.spatial_shape is not None:
            inside &= ((coords[:, 1:] >= 0) & (coords[:, 1:] < np.array(self.spatial_shape))).all(1)
        return inside

    def _set(self, features: Any) -> None:
        like = describe(features, "features")
        if len(like.shape) != 2 or like.shape[0] != self.sites.rows:
            raise ValueError(f"features have shape {like.shape}; expected is ({self.sites.rows}, C), a row per site")
        self.features = features

    @classmethod
    def _of(
        cls, sites: Any, features: Any, shape: tuple[int, ...] | None, batch: int, plans: dict, check: bool = True
    ) -> SparseTensor:
        """A tensor of sites that are known to be distinct and inside."""
        self = cls.__new__(cls)
        self.sites, self.spatial_shape, self.batch_size, self._plans = sites, shape, batch, plans
        if check:
            self._set(features)
        else:
            self.features = features
        return self

    @property
    def coords(self) -> np.ndarray:
        """int32 [N, 1 + D], a copy."""
        return self.sites.coords()

    @property
    def dims(self) -> int:
        """D."""
        return self.sites.dims

    def __len__(self) -> int:
        return self.sites.rows

    def __repr__(self) -> str:
        return f"SparseTensor({len(self)} sites, {self.features.shape[1]} channels, spatial_shape={self.spatial_shape})"

    def replace(self, features: Any) -> SparseTensor:
        """The same sites, and the plans made for them, with other features [N, C]."""
        return SparseTensor._of(self.sites, features, self.spatial_shape, self.batch_size, self._plans)

    def dense(self) -> Any:
        """[batch, C, *spatial], zero where no site is. Without a spatial shape it ends at the last site."""
        like = describe(self.features, "features")
        coords = self.coords
        if len(coords) and coords[:, 1:].min() < 0:
            raise ValueError("coords are negative in places; a dense array has none such")
        shape = self.spatial_shape or tuple(int(n) + 1 for n in coords[:, 1:].max(0, initial=0))
        out = np.zeros((self.batch_size, *shape, like.shape[1]), dtype=like.dtype)
        out[tuple(coords.T)] = np.asarray(export(self.features, "features"))
        return like_numpy(np.moveaxis(out, -1, 1), like)


def from_dense(x: Any, *, mask: Any = None) -> SparseTensor:
    """The sites of a dense array [batch, C, *spatial] where any channel is not zero, or where `mask` is true.

    mask : booleans [batch, *spatial], optional
    """
    like = describe(x, "x")
    if not 3 <= len(like.shape) <= 2 + MAX_DIMS:
        raise ValueError(f"x has shape {like.shape}; expected is (batch, C, *spatial) with 1 to {MAX_DIMS} axes")
    rows = np.moveaxis(np.asarray(export(x, "x")), 1, -1)
    keep = (rows != 0).any(-1) if mask is None else np.asarray(mask).astype(bool)
    if keep.shape != rows.shape[:-1]:
        raise ValueError(f"mask has shape {keep.shape}; expected is {rows.shape[:-1]}")
    coords = np.argwhere(keep).astype(np.int32)
    return SparseTensor(coords, like_numpy(rows[keep], like), like.shape[2:], max(1, like.shape[0]))


def from_points(
    points: Any,
    features: Any,
    voxel_size: float | Sequence[float],
    *,
    batch: Any = None,
    origin: Sequence[float] | None = None,
    spatial_shape: Sequence[int] | None = None,
    batch_size: int | None = None,
    reduce: str = "mean",
    return_inverse: bool = False,
) -> Any:
    """Points to voxels: the site of a point is ``floor((point - origin) / voxel_size)``.

    Parameters
    ----------
    points : array [N, D]
        Finite floats.
    features : array [N, C]
    voxel_size : float or D floats
        In units of the points.
    batch : integers [N], optional
    origin : D floats, optional
        Zero if left out.
    reduce : {"mean", "sum", "max", "first", "last"}
        What the points of a voxel become.
    return_inverse : bool
        Also return int64 [N], the row of each point's voxel; -1 for points outside `spatial_shape`, which are left out.
    """
    if reduce not in ("mean", "sum", "max", "first", "last"):
        raise ValueError(f"reduce is {said(reduce)}; allowed are mean, sum, max, first, last")
    where = np.asarray(export(points, "points"), dtype=np.float64)
    if where.ndim != 2 or not 1 <= where.shape[1] <= MAX_DIMS:
        raise ValueError(f"points have shape {where.shape}; expected is (N, D) with D from 1 to {MAX_DIMS}")
    size = np.broadcast_to(np.asarray(voxel_size, dtype=np.float64), where.shape[1:])
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"voxel_size is {said(voxel_size)}; it must be positive")
    if not np.isfinite(where).all():
        raise ValueError("points hold values that are not finite")
    places = np.floor((where - (0.0 if origin is None else np.asarray(origin, dtype=np.float64))) / size)
    if places.size and np.abs(places).max() >= 2**31:
        raise ValueError(f"voxel_size is {said(voxel_size)}: the points span more voxels than int32 counts")
    batches = np.zeros(len(where), np.int32) if batch is None else np.asarray(batch)
    if batches.shape != (len(where),):
        raise ValueError(f"batch has shape {batches.shape}; expected is ({len(where)},)")
    coords = _integers(np.concatenate([batches[:, None].astype(np.int64), places.astype(np.int64)], 1), "batch")
    like = describe(features, "features")
    if len(like.shape) != 2 or like.shape[0] != len(where):
        raise ValueError(f"features have shape {like.shape}; expected is ({len(where)}, C), a row per point")
    rows = np.arange(len(where))
    shape = _shape(spatial_shape, where.shape[1])
    if shape is not None:
        rows = rows[((coords[:, 1:] >= 0) & (coords[:, 1:] < np.array(shape))).all(1)]
    sites = _core.sparse_sites(np.ascontiguousarray(coords[rows]))
    order, starts = sites.order(), sites.starts()
    values = np.asarray(export(features, "features"))[rows]
    voxels = SparseTensor(
        coords[rows][order[starts[:-1]]], like_numpy(_reduced(values, order, starts, reduce), like), shape, batch_size
    )
    if not return_inverse:
        return voxels
    inverse = np.full(len(where), -1, dtype=np.int64)
    inverse[rows[order]] = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return voxels, inverse
