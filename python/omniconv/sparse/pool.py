"""Pooling of sparse tensors, and putting them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import _core
from omniconv.array import describe, export, np, said
from omniconv.sparse.conv import SparsePlan, plan_for, tensor_of
from omniconv.sparse.conv import plan as _plan
from omniconv.sparse.tensor import SparseTensor, like_numpy

__all__ = ["add", "cat", "global_pool", "pool", "pool_grad", "prune"]


def pool(
    st: SparseTensor,
    kernel_size: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    *,
    mode: str = "max",
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    plan: SparsePlan | None = None,
) -> SparseTensor:
    """Pool over the occupied sites of each window, at every site that a window reaches. float32.

    Parameters
    ----------
    st : SparseTensor
    kernel_size, stride, padding, dilation : int or D ints
        As in `plan`; the stride is that of the kernel if left out.
    mode : {"max", "avg", "sum"}
        "avg" divides by the number of occupied sites, not by the volume of the window.
    plan : SparsePlan, optional
        Instead of the window, for instance a submanifold one.
    """
    like = describe(st.features, "features")
    if plan is None:
        step = kernel_size if stride is None else stride
        plan = _plan(st, kernel_size, step, "strided", padding=padding, dilation=dilation)
    else:
        plan = plan_for(st, None, plan.map.taps, plan, {"mode": plan.mode})
    y = np.empty((plan._target[0].rows, like.shape[1]), dtype=like.dtype)
    _core.sparse_pool(plan.map, mode, export(st.features, "features"), y)
    return tensor_of(plan, like_numpy(y, like), st.batch_size)


def pool_grad(grad: Any, features: Any, plan: SparsePlan, *, mode: str = "max") -> Any:
    """Gradient of sum(y * grad) by the features of ``y = pool(..., plan=plan)``: [N, C] for grad [M, C].

    That of a maximum goes to the first tap that has it.
    """
    like = describe(features, "features")
    dx = np.empty(like.shape, dtype=like.dtype)
    _core.sparse_pool_grad(plan.map, plan.adjoint_map, mode, export(features, "features"), export(grad, "grad"), dx)
    return like_numpy(dx, like)


def global_pool(st: SparseTensor, mode: str = "avg") -> Any:
    """Over all sites of each sample: [batch, C]; 0 for a sample without sites. Sums are taken in float64.

    mode : {"avg", "sum", "max"}
    """
    if mode not in ("avg", "sum", "max"):
        raise ValueError(f"mode is {said(mode)}; allowed are 'avg', 'sum', 'max'")
    like = describe(st.features, "features")
    order = st.sites.order()
    batches, rows = st.coords[order, 0], np.asarray(export(st.features, "features"))[order]
    out = np.zeros((st.batch_size, like.shape[1]), dtype=like.dtype)
    if len(rows):
        present, first = np.unique(batches, return_index=True)
        if mode == "max":
            out[present] = np.maximum.reduceat(rows, first, axis=0)
        else:
            sums = np.add.reduceat(rows, first, axis=0, dtype=np.float64)
            counts = np.diff([*first, len(rows)])[:, None]
            out[present] = sums / counts if mode == "avg" else sums
    return like_numpy(out, like)


def same_sites(tensors: Sequence[SparseTensor]) -> None:
    """ValueError unless there are tensors, all of the same sites in one order."""
    if not tensors:
        raise ValueError("tensors is empty; expected is one at least")
    first = tensors[0]
    for i, t in enumerate(tensors[1:], 1):
        if t.sites is not first.sites and not np.array_equal(t.coords, first.coords):
            raise ValueError(f"tensors[{i}] has other sites than tensors[0], or in another order")


def cat(tensors: Sequence[SparseTensor]) -> SparseTensor:
    """Channels of tensors of the same sites, one after the other."""
    same_sites(tensors)
    like = describe(tensors[0].features, "features")
    joined = np.concatenate([np.asarray(export(t.features, "features")) for t in tensors], 1)
    return tensors[0].replace(like_numpy(joined, like))


def union(a: SparseTensor, b: SparseTensor) -> tuple[SparseTensor, np.ndarray] | None:
    """The sites of either, in lexicographic order, with features of no channel, and the row there of each row of a and
    then of b; None where both have the same sites.
    """
    if a.sites is b.sites or np.array_equal(a.coords, b.coords):
        return None
    if a.spatial_shape != b.spatial_shape or a.dims != b.dims:
        raise ValueError(f"b has the spatial shape {b.spatial_shape}, and a has {a.spatial_shape}")
    coords = np.concatenate([a.coords, b.coords])
    all_sites = _core.sparse_sites(coords)
    order, starts = all_sites.order(), all_sites.starts()
    rows = np.empty(len(coords), dtype=np.int64)
    rows[order] = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    empty = np.empty((len(starts) - 1, 0), np.float32)
    batch = max(a.batch_size, b.batch_size)
    return SparseTensor(coords[order[starts[:-1]]], empty, a.spatial_shape, batch), rows


def add(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """The sum, at the sites of either, a tensor being zero off its own; as `a` lists them where both have the same."""
    joined = union(a, b)
    if joined is None:
        return a.replace(a.features + b.features)
    made, rows = joined
    like = describe(a.features, "a")
    parts = [np.asarray(export(t.features, "features")) for t in (a, b)]
    sums = np.zeros((len(made), like.shape[1]), dtype=like.dtype)
    sums[rows[: len(a)]] = parts[0]
    sums[rows[len(a) :]] += parts[1]  # the rows of one tensor are distinct
    return made.replace(like_numpy(sums, like))


def prune(st: SparseTensor, mask: Any) -> SparseTensor:
    """The sites where `mask`, booleans [N], is true, in their order."""
    keep = np.asarray(mask)
    if keep.dtype != bool or keep.shape != (len(st),):
        raise ValueError(f"mask has shape {keep.shape} and dtype {keep.dtype}; expected are {len(st)} booleans")
    like = describe(st.features, "features")
    rows = np.asarray(export(st.features, "features"))[keep]
    return SparseTensor(st.coords[keep], like_numpy(rows, like), st.spatial_shape, st.batch_size)
