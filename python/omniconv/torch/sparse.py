"""Sparse operations inside autograd: `conv` of sparse tensors whose features are torch tensors, `spmm` of graphs.

Plans and graphs are objects of Python, so these are autograd functions and no registered ops: ``torch.compile`` breaks
its graph here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from omniconv.sparse import Graph, SparsePlan, SparseTensor
from omniconv.sparse import conv as _conv
from omniconv.sparse import conv_grad_input as _grad_input
from omniconv.sparse import conv_grad_weight as _grad_weight
from omniconv.sparse import spmm as _spmm
from omniconv.sparse.conv import plan_for, tensor_of, weight_view

__all__ = ["conv", "spmm"]


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
