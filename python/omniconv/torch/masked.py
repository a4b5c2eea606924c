"""Convolution of images of which some cells are hidden, as PyTorch ops that are closed under differentiation.

With M for a mask, of x or of the result, they are the ops of `omniconv.torch.ops` between masks: M conv(M x, w),
M conv_grad_input(M g, w) and conv_grad_weight(M g, M x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from omniconv.conv_spec import Ints, pads, per_axis
from omniconv.sparse import masked_conv2d as _forward
from omniconv.sparse import masked_conv2d_grad_input as _grad_input
from omniconv.sparse import masked_conv2d_grad_weight as _grad_weight
from omniconv.torch.library import dtype_of, empty, register

__all__ = ["masked_conv2d"]

_GEOMETRY = "int[] stride, int[] padding, int[] dilation, int groups"


def _how(stride: list[int], padding: list[int], dilation: list[int], groups: int) -> dict[str, Any]:
    pairs = [(padding[0], padding[2]), (padding[1], padding[3])]
    return {"stride": stride, "padding": pairs, "dilation": dilation, "groups": groups}


def _conv_kernel(x: Tensor, weight: Tensor, mask: Tensor, *geometry: Any) -> Tensor:
    dtype_of(x, "input")
    y = _conv_fake(x, weight, mask, *geometry)
    return _forward(x.detach(), weight.detach(), mask, out=y, **_how(*geometry))


def _grad_input_kernel(
    grad: Tensor, weight: Tensor, mask: Tensor, input_shape: Sequence[int], *geometry: Any
) -> Tensor:
    dx = empty(grad, input_shape)
    return _grad_input(grad.detach(), weight.detach(), mask, tuple(input_shape), out=dx, **_how(*geometry))


def _grad_weight_kernel(grad: Tensor, x: Tensor, mask: Tensor, weight_shape: Sequence[int], *geometry: Any) -> Tensor:
    return _grad_weight(grad.detach(), x.detach(), mask, tuple(weight_shape), **_how(*geometry))


def _conv_fake(
    x: Tensor, weight: Tensor, mask: Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Tensor:
    sizes = [
        (x.shape[2 + i] + padding[i] + padding[2 + i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    ]
    return empty(x, [x.shape[0], weight.shape[0], *sizes])


def _grad_input_fake(grad: Tensor, weight: Tensor, mask: Tensor, input_shape: Sequence[int], *geometry: Any) -> Tensor:
    return empty(grad, input_shape)


def _grad_weight_fake(grad: Tensor, x: Tensor, mask: Tensor, weight_shape: Sequence[int], *geometry: Any) -> Tensor:
    return x.new_empty(weight_shape)


def _conv_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    a, b, mask, *ctx.geometry = inputs
    ctx.save_for_backward(a, b, mask)


def _grad_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    a, b, mask, _, *ctx.geometry = inputs
    ctx.save_for_backward(a, b, mask)


def _conv_backward(ctx: Any, grad: Tensor) -> tuple:
    (x, weight, mask), how, wanted = ctx.saved_tensors, ctx.geometry, ctx.needs_input_grad
    dx = _input_op(grad, weight, mask, x.shape, *how) if wanted[0] else None
    dw = _weight_op(grad, x, mask, weight.shape, *how) if wanted[1] else None
    return dx, dw, None, *(None for _ in how)


def _grad_input_backward(ctx: Any, grad: Tensor) -> tuple:
    (g, weight, mask), how, wanted = ctx.saved_tensors, ctx.geometry, ctx.needs_input_grad
    dg = _conv_op(grad, weight, mask, *how) if wanted[0] else None
    dw = _weight_op(g, grad, mask, weight.shape, *how) if wanted[1] else None
    return dg, dw, None, None, *(None for _ in how)


def _grad_weight_backward(ctx: Any, grad: Tensor) -> tuple:
    (g, x, mask), how, wanted = ctx.saved_tensors, ctx.geometry, ctx.needs_input_grad
    dg = _conv_op(x, grad, mask, *how) if wanted[0] else None
    dx = _input_op(g, grad, mask, x.shape, *how) if wanted[1] else None
    return dg, dx, None, None, *(None for _ in how)


_conv_op = register(
    "masked_conv", f"(Tensor x, Tensor weight, Tensor mask, {_GEOMETRY}) -> Tensor",
    cpu=_conv_kernel, fake=_conv_fake, setup_context=_conv_setup, backward=_conv_backward,
)  # fmt: skip
_input_op = register(
    "masked_conv_grad_input",
    f"(Tensor grad, Tensor weight, Tensor mask, SymInt[] input_shape, {_GEOMETRY}) -> Tensor",
    cpu=_grad_input_kernel, fake=_grad_input_fake, setup_context=_grad_setup, backward=_grad_input_backward,
)  # fmt: skip
_weight_op = register(
    "masked_conv_grad_weight",
    f"(Tensor grad, Tensor x, Tensor mask, SymInt[] weight_shape, {_GEOMETRY}) -> Tensor",
    cpu=_grad_weight_kernel, fake=_grad_weight_fake, setup_context=_grad_setup, backward=_grad_weight_backward,
)  # fmt: skip


def masked_conv2d(
    input: Tensor, weight: Tensor, block_mask: Tensor, bias: Tensor | None = None, stride: Ints = 1,
    padding: str | Ints = 0, dilation: Ints = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """`omniconv.sparse.masked_conv2d`, differentiable any number of times by input, weight and bias.

    block_mask is a tensor [N, rows, columns] or [N, 1, rows, columns], not 0 for cells that are seen.
    """
    for name, value in (("input", input), ("weight", weight), ("block_mask", block_mask)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is a {type(value).__name__}; expected is a torch.Tensor")
    if input.dim() != 4 or weight.dim() != 4:
        raise ValueError(f"input and weight have {input.dim()} and {weight.dim()} dimensions; expected are 4 and 4")
    steps, spread = (list(per_axis(v, n, 2, 1)) for v, n in ((stride, "stride"), (dilation, "dilation")))
    low, high = pads(padding, 2, tuple(input.shape[2:]), tuple(weight.shape[2:]), steps, spread)
    mask = (block_mask if block_mask.dim() == 3 else block_mask.squeeze(1)) != 0
    y = _conv_op(input, weight, mask, steps, [*low, *high], spread, groups)
    if bias is None:
        return y
    cells = [y.shape[2 + i] // mask.shape[1 + i] for i in range(2)]
    seen = mask.repeat_interleave(cells[0], 1).repeat_interleave(cells[1], 2)
    return y + bias[:, None, None] * seen[:, None]
