"""Sparse operations inside autograd: those of `omniconv.sparse` on tensors whose features are torch tensors.

Neurons have gradients of their spikes, by surrogates.

Plans and graphs are objects of Python, so these are autograd functions and no registered ops: ``torch.compile`` breaks
its graph here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omniconv.sparse import Graph, SparsePlan, SparseTensor, interpolation
from omniconv.sparse import conv as _conv
from omniconv.sparse import conv_grad_input as _grad_input
from omniconv.sparse import conv_grad_weight as _grad_weight
from omniconv.sparse import ilif as _ilif
from omniconv.sparse import plan as _plan
from omniconv.sparse import pool as _pool
from omniconv.sparse import pool_grad as _pool_grad
from omniconv.sparse import spmm as _spmm
from omniconv.sparse.conv import plan_for, tensor_of, weight_view
from omniconv.sparse.pool import same_sites, union

__all__ = ["add", "cat", "conv", "global_pool", "ilif", "interpolate", "lif", "pool", "spmm"]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, st: SparseTensor, how: dict) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.how = how
        b = None if bias is None else bias.detach()
        return _conv(st.replace(features.detach()), weight.detach(), b, **how).features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        features, weight = (t.detach() for t in ctx.saved_tensors)
        plan, how = ctx.how["plan"], {k: ctx.how[k] for k in ("groups", "weight_layout")}
        grad = grad.contiguous()
        wanted = ctx.needs_input_grad
        return (
            _grad_input(grad, weight, plan, **how) if wanted[0] else None,
            _grad_weight(grad, features, weight.shape, plan, **how) if wanted[1] else None,
            grad.sum(0) if wanted[2] else None,
            None,
            None,
        )


def conv(
    st: SparseTensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Any = 1,
    padding: Any = None,
    dilation: Any = 1,
    mode: str = "subm",
    groups: int = 1,
    plan: SparsePlan | None = None,
    weight_layout: str = "oidhw",
) -> SparseTensor:
    """`omniconv.sparse.conv` with gradients of features, weight and bias, of first order; deterministic both ways."""
    shape = weight_view(weight.detach().numpy(), weight_layout, st.dims)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "mode": mode}
    chosen = plan_for(st, shape[1] and tuple(shape[1]), shape[0].shape[2], plan, how)
    how = {"groups": groups, "plan": chosen, "weight_layout": weight_layout, "mode": chosen.mode}
    features = _Convolution.apply(st.features, weight, bias, st.replace(st.features.detach()), how)
    return tensor_of(chosen, features, st.batch_size)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, graph: Graph) -> Tensor:
        ctx.graph = graph
        return _spmm(graph, x.detach(), bias=None if bias is None else bias.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        x = spmm(ctx.graph.transpose(), grad.contiguous()) if ctx.needs_input_grad[0] else None
        return x, grad.sum(0) if ctx.needs_input_grad[1] else None, None


def spmm(graph: Graph, x: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """`omniconv.sparse.spmm` with gradients of x and bias, of any order; deterministic both ways.

    The graph is a constant. Its transpose is made at the first step back and kept with it.
    """
    return _Product.apply(x, bias, graph)


class _Fire(torch.autograd.Function):
    """Rounded counts, the straight-through gradient where the membrane is within its range."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, levels: int, rounding: str, edges: str) -> Tensor:
        ctx.levels, ctx.edges = levels, edges
        ctx.save_for_backward(u)
        counts = _ilif(u.detach().contiguous(), levels, rounding=rounding)
        return torch.from_numpy(counts).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (u,) = ctx.saved_tensors
        inside = (u > 0) & (u < ctx.levels) if ctx.edges == "open" else (u >= 0) & (u <= ctx.levels)
        return grad * inside, None, None, None


def ilif(x: Any, levels: int = 4, *, beta: float | None = None, rounding: str = "half_up", edges: str = "open") -> Any:
    """`omniconv.sparse.ilif` with a surrogate gradient: that of clip, within its edges.

    Parameters
    ----------
    x : SparseTensor or Tensor
        With `beta` the first axis is time.
    levels, beta, rounding
        As in `omniconv.sparse.ilif`.
    edges : {"open", "closed"}
        Whether the gradient passes at 0 and at `levels` themselves: it does not in E-3DSNN, it does in SpikeYOLO.

    Returns
    -------
    SparseTensor or Tensor
        Counts in the dtype of x.
    """
    if edges not in ("open", "closed"):
        raise ValueError(f"edges is {edges!r}; allowed are 'open', 'closed'")
    if isinstance(x, SparseTensor):
        return x.replace(ilif(x.features, levels, beta=beta, rounding=rounding, edges=edges))
    if beta is None:
        return _Fire.apply(x, levels, rounding, edges)
    counts, left = [], torch.zeros_like(x[0])
    for now in x:
        left = beta * left + now
        counts.append(_Fire.apply(left, levels, rounding, edges))
        left = left - counts[-1].detach()
    return torch.stack(counts)


class _Step(torch.autograd.Function):
    """1 from 0 on, and the derivative of a sigmoid or of an arc tangent."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: str, alpha: float) -> Tensor:
        ctx.surrogate, ctx.alpha = surrogate, alpha
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (x,), a = ctx.saved_tensors, ctx.alpha
        if ctx.surrogate == "sigmoid":
            y = torch.sigmoid(a * x)
            return grad * a * y * (1 - y), None, None
        return grad * (a / 2) / (1 + (torch.pi / 2 * a * x) ** 2), None, None


def lif(
    x: Tensor,
    tau: float = 2.0,
    *,
    threshold: float = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    surrogate: str = "sigmoid",
    alpha: float | None = None,
    detach_reset: bool = False,
) -> Tensor:
    """`omniconv.sparse.lif` of [T, ...], differentiable.

    Parameters
    ----------
    x : Tensor [T, ...]
    tau, threshold, v_reset, decay_input
        As in `omniconv.sparse.lif`.
    surrogate : {"sigmoid", "atan"}
        The derivative of the step: ``alpha s (1 - s)``, s = sigmoid(alpha h), or ``alpha / 2 / (1 + (pi / 2 alpha
        h)^2)``, h measured from the threshold.
    alpha : float, optional
        4 for "sigmoid", 2 for "atan".
    detach_reset : bool
        Let no gradient pass through the reset.
    """
    if surrogate not in ("sigmoid", "atan"):
        raise ValueError(f"surrogate is {surrogate!r}; allowed are 'sigmoid', 'atan'")
    slope = {"sigmoid": 4.0, "atan": 2.0}[surrogate] if alpha is None else alpha
    rest = 0.0 if v_reset is None else v_reset
    v, spikes = torch.full_like(x[0], rest), []
    for now in x:
        h = v + (now - (v - rest)) / tau if decay_input else v - (v - rest) / tau + now
        spikes.append(_Step.apply(h - threshold, surrogate, slope))
        fired = spikes[-1].detach() if detach_reset else spikes[-1]
        v = h - threshold * fired if v_reset is None else rest * fired + h * (1 - fired)
    return torch.stack(spikes)


class _Pooling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, st: SparseTensor, plan: SparsePlan, mode: str) -> Tensor:
        ctx.save_for_backward(features)
        ctx.plan, ctx.mode = plan, mode
        return _pool(st.replace(features.detach()), plan=plan, mode=mode).features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (features,) = ctx.saved_tensors
        return _pool_grad(grad.contiguous(), features.detach(), ctx.plan, mode=ctx.mode), None, None, None


def pool(
    st: SparseTensor, kernel_size: Any = 2, stride: Any = None, *, mode: str = "max", padding: Any = 0,
    dilation: Any = 1, plan: SparsePlan | None = None,
) -> SparseTensor:  # fmt: skip
    """`omniconv.sparse.pool` with gradients of the features, of first order."""
    if plan is None:
        step = kernel_size if stride is None else stride
        plan = _plan(st, kernel_size, step, "strided", padding=padding, dilation=dilation)
    return tensor_of(plan, _Pooling.apply(st.features, st, plan, mode), st.batch_size)


def interpolate(st: SparseTensor, points: Any, voxel_size: Any = 1.0, **how: Any) -> Tensor:
    """`omniconv.sparse.interpolate` with gradients of the features, of any order; the points are constants."""
    return spmm(interpolation(st, points, voxel_size, **how), st.features)


def cat(tensors: Sequence[SparseTensor]) -> SparseTensor:
    """`omniconv.sparse.cat` with gradients of any order."""
    same_sites(tensors)
    return tensors[0].replace(torch.cat([t.features for t in tensors], 1))


def add(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """`omniconv.sparse.add` with gradients of any order."""
    joined = union(a, b)
    if joined is None:
        return a.replace(a.features + b.features)
    made, rows = joined
    at = torch.from_numpy(rows)
    empty = a.features.new_zeros((len(made), a.features.shape[1]))
    features = empty.index_add(0, at[: len(a)], a.features).index_add(0, at[len(a) :], b.features)
    return made.replace(features)


def global_pool(st: SparseTensor, mode: str = "avg") -> Tensor:
    """`omniconv.sparse.global_pool` with gradients of any order; a shared maximum shares its gradient."""
    if mode not in ("avg", "sum", "max"):
        raise ValueError(f"mode is {mode!r}; allowed are 'avg', 'sum', 'max'")
    order = st.sites.order()
    batches = torch.from_numpy(st.coords[order, 0].astype(np.int64))
    rows = st.features[torch.from_numpy(order.astype(np.int64))]
    shape = (st.batch_size, rows.shape[1])
    if mode == "max":
        at = batches[:, None].expand_as(rows)
        return rows.new_zeros(shape).scatter_reduce(0, at, rows, "amax", include_self=False)
    sums = torch.zeros(shape, dtype=torch.float64).index_add(0, batches, rows.double())
    if mode == "avg":
        sums = sums / torch.bincount(batches, minlength=st.batch_size).clamp(min=1)[:, None]
    return sums.to(rows.dtype)
