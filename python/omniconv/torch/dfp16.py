"""Convolution in dynamic fixed point for training: every choice of the format, forward and backward.

``precision="dfp16"`` of the other functions is this with 15 bits and the nearest mantissas, and is quicker. Here bits,
rounding and the treatment of overflows may be chosen, to study what they do to training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from omniconv import dfp16
from omniconv.conv_spec import Ints

__all__ = ["conv2d"]


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: dict, quantise: dict, sums: dict) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = geometry, quantise, sums
        a = dfp16.quantize(x.detach(), granularity="image", stream=0, **quantise)
        b = dfp16.quantize(weight.detach(), stream=1, **quantise)
        return dfp16.conv2d(a, b, **geometry, **sums)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (x, weight), (geometry, quantise, sums) = ctx.saved_tensors, ctx.options
        dx = dw = None
        if ctx.needs_input_grad[0]:
            g = dfp16.quantize(grad, granularity="image", stream=2, **quantise)
            w = dfp16.quantize(weight.detach(), stream=1, **quantise)
            dx = dfp16.conv2d_grad_input(g, w, tuple(x.shape), **geometry, **sums)
        if ctx.needs_input_grad[1]:
            g = dfp16.quantize(grad, stream=3, **quantise)
            a = dfp16.quantize(x.detach(), stream=4, **quantise)
            dw = dfp16.conv2d_grad_weight(g, a, tuple(weight.shape), **geometry, **sums)
        return dx, dw, None, None, None


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    bits: int = 15,
    rounding: str = "nearest_even",
    seed: int = 0,
    accumulate: str = "exact",
    overflow: str = "certified",
) -> Tensor:
    """Convolution of quantised operands, differentiable once; its gradients are convolutions of quantised operands too.

    The recipe of Das et al. (ICLR 2018): input and weight are float32, are rounded before each of the three
    convolutions, and the results are float32. Input and its gradient have an exponent for each image, weight has one;
    for the gradient of weight both operands have one.

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As in ``torch.nn.functional.conv2d``, float32 on the CPU.
    bits, rounding, seed
        As in `omniconv.dfp16.quantize`. With "stochastic", pass another seed in every step.
    accumulate, overflow
        As in `omniconv.dfp16.conv2d`.
    """
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    quantise = {"bits": bits, "rounding": rounding, "seed": seed}
    y = _Conv2d.apply(input, weight, geometry, quantise, {"accumulate": accumulate, "overflow": overflow})
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)
