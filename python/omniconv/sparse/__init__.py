"""Convolution over the occupied sites of a grid, submanifold, strided, transposed and inverse; and over graphs.

A `SparseTensor` is a list of sites and a row of features for each. Every operation equals the dense one with the same
padding on the densified tensor, restricted to the sites of the output. The method, kernel maps of sites and taps, is
that of B. Graham and L. van der Maaten, "Submanifold sparse convolutional networks" (2017).
"""

from omniconv.sparse.conv import SparsePlan, conv, conv_grad_input, conv_grad_weight, plan
from omniconv.sparse.graph import Graph, dagnn_propagate, gcn_norm, inverse_graph_conv, spmm
from omniconv.sparse.interpolate import interpolate, interpolation
from omniconv.sparse.masked import (
    MaskedConvPlan,
    masked_conv2d,
    masked_conv2d_grad_input,
    masked_conv2d_grad_weight,
    plan_masked_conv2d,
)
from omniconv.sparse.pool import add, cat, global_pool, pool, pool_grad, prune
from omniconv.sparse.spikes import SpikeTensor, SpikeWeight, ilif, lif, operations, spike_conv
from omniconv.sparse.staged import cosine_graph, staged_decision
from omniconv.sparse.tensor import SparseTensor, from_dense, from_points

__all__ = [
    "Graph", "MaskedConvPlan", "SparsePlan", "SparseTensor", "SpikeTensor", "SpikeWeight", "add", "cat", "conv",
    "conv_grad_input", "conv_grad_weight", "cosine_graph", "dagnn_propagate", "from_dense", "from_points", "gcn_norm",
    "global_pool", "ilif", "interpolate", "interpolation", "inverse_graph_conv", "lif", "masked_conv2d",
    "masked_conv2d_grad_input", "masked_conv2d_grad_weight", "operations", "plan", "plan_masked_conv2d", "pool",
    "pool_grad", "prune", "spike_conv", "spmm", "staged_decision",
]  # fmt: skip
