"""Convolutions as PyTorch ops, and functions with the arguments of ``torch.nn.functional``.

Three ops are closed under differentiation, for convolution is linear in each of its operands:

    conv(x, w)            d/dx  conv_grad_input(grad, w)      d/dw  conv_grad_weight(grad, x)
    conv_grad_input(g, w) d/dg  conv(grad, w)                 d/dw  conv_grad_weight(g, grad)
    conv_grad_weight(g,x) d/dg  conv(x, grad)                 d/dx  conv_grad_input(g, grad)

A transposed convolution is conv_grad_input with a bias; x and grad change places in its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from omniconv import _core
from omniconv.conv_spec import Ints, Spec, pads, per_axis, plan_of
from omniconv.device import current_stream, scratch
from omniconv.torch.library import dtype_of, empty, host, register

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

# What all three ops know of the window, and how exactly to compute; gradients are computed as the result was.
# padding: the low ends of all axes, then the high ends.
_GEOMETRY = (
    "int[] stride, int[] padding, str padding_mode, int[] dilation, int[] output_padding, int groups, "
    "str precision='highest'"
)


# ---- kernels -------------------------------------------------------------------------------------------------------


def _plan(
    op: str, dtype: str, x_shape: Sequence[int], w_shape: Sequence[int], channels_last: bool, device: torch.device,
    stride: list[int], padding: list[int], padding_mode: str, dilation: list[int], output_padding: list[int],
    groups: int, precision: str = "highest",
) -> _core.ConvPlan:  # fmt: skip
    n = len(stride)
    return plan_of(Spec(
        op, dtype, tuple(x_shape), tuple(w_shape), tuple(stride), tuple(dilation), tuple(padding[:n]),
        tuple(padding[n:]), tuple(output_padding), groups, padding_mode, "none", 0.0, precision, channels_last, "auto",
        "cpu" if device.type == "cpu" else f"cuda:{device.index}",
    ))  # fmt: skip


def _run(plan: _core.ConvPlan, a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    arrays = host(a), host(b), host(out), None if bias is None else host(bias)
    if not out.is_cuda:
        plan.run(*arrays)
        return
    device = f"cuda:{out.device.index}"
    room = scratch("torch", device, plan.workspace_bytes)
    plan.run(*arrays, stream=current_stream("torch", device), workspace=room)


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, groups: int) -> str:
    """The dtype; an error where shapes or dtypes do not belong together."""
    dtype = dtype_of(x, "input")
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and other.dtype != x.dtype:
            raise TypeError(f"{name} has dtype {other.dtype} and input has {x.dtype}; they must be the same")
    if weight.dim() != x.dim():
        raise ValueError(f"weight has {weight.dim()} dimensions, shape {tuple(weight.shape)}; expected are {x.dim()}")
    expected = weight.shape[0] if transposed else weight.shape[1] * groups
    if x.shape[1] != expected:
        raise ValueError(
            f"input of shape {tuple(x.shape)} has {x.shape[1]} channels; weight of shape {tuple(weight.shape)} with "
            f"groups={groups} takes {expected}"
        )
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != channels):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected is ({channels},)")
    return dtype


def _output_shape(
    x: Tensor, weight: Tensor, transposed: bool, stride: list[int], padding: list[int], dilation: list[int],
    output_padding: list[int], groups: int,
) -> list[int]:  # fmt: skip
    """[N, Co, *out], or for a transposed convolution what it would be the gradient of."""
    n, sizes = len(stride), []
    for i in range(n):
        window, pad = dilation[i] * (weight.shape[2 + i] - 1) + 1, padding[i] + padding[n + i]
        if transposed:
            sizes.append((x.shape[2 + i] - 1) * stride[i] - pad + window + output_padding[i])
        else:
            sizes.append((x.shape[2 + i] + pad - window - output_padding[i]) // stride[i] + 1)
    return [x.shape[0], weight.shape[1] * groups if transposed else weight.shape[0], *sizes]


def _conv_kernel(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, *geometry: Any) -> Tensor:
    stride, padding, _, dilation, output_padding, groups, *_ = geometry
    dtype = _check(x, weight, bias, transposed, groups)
    channels_last = x.stride(1) == 1
    if transposed:
        shape = _output_shape(x, weight, True, stride, padding, dilation, output_padding, groups)
        if min(shape[2:]) < 1:
            raise ValueError(f"padding {padding} leaves no output: its shape would be {tuple(shape)}")
        plan = _plan("grad_input", dtype, shape, weight.shape, channels_last, x.device, *geometry)
    else:
        plan = _plan("forward", dtype, x.shape, weight.shape, channels_last, x.device, *geometry)
        shape = plan.output_shape
    out = empty(x, shape)
    _run(plan, x, weight, out, bias)
    return out


def _grad_input_kernel(grad: Tensor, weight: Tensor, input_shape: Sequence[int], *geometry: Any) -> Tensor:
    plan = _plan(
        "grad_input", dtype_of(grad, "grad"), input_shape, weight.shape, grad.stride(1) == 1, grad.device, *geometry
    )
    out = empty(grad, input_shape)
    _run(plan, grad, weight, out)
    return out


def _grad_weight_kernel(grad: Tensor, x: Tensor, weight_shape: Sequence[int], *geometry: Any) -> Tensor:
    plan = _plan("grad_weight", dtype_of(grad, "grad"), x.shape, weight_shape, x.stride(1) == 1, x.device, *geometry)
    out = torch.empty(weight_shape, dtype=x.dtype, device=x.device)
    _run(plan, grad, x, out)
    return out


def _grad_bias_kernel(grad: Tensor) -> Tensor:
    dtype_of(grad, "grad")
    out = torch.empty(grad.shape[1], dtype=grad.dtype, device=grad.device)
    stream = current_stream("torch", f"cuda:{grad.device.index}") if grad.is_cuda else 0
    _core.conv_grad_bias(host(grad), host(out), False, stream)
    return out


# ---- fakes ---------------------------------------------------------------------------------------------------------


def _conv_fake(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, *geometry: Any) -> Tensor:
    stride, padding, _, dilation, output_padding, groups, *_ = geometry
    _check(x, weight, bias, transposed, groups)
    return empty(x, _output_shape(x, weight, transposed, stride, padding, dilation, output_padding, groups))


def _grad_input_fake(grad: Tensor, weight: Tensor, input_shape: Sequence[int], *geometry: Any) -> Tensor:
    return empty(grad, input_shape)


def _grad_weight_fake(grad: Tensor, x: Tensor, weight_shape: Sequence[int], *geometry: Any) -> Tensor:
    return x.new_empty(weight_shape)


def _grad_bias_fake(grad: Tensor) -> Tensor:
    return grad.new_empty(grad.shape[1])


# ---- derivatives ---------------------------------------------------------------------------------------------------


def _save_operands(ctx: Any, a: Tensor, b: Tensor) -> None:
    """Keep of the two linear operands what the gradients asked for need: each one's is made of the other."""
    need_a, need_b = ctx.needs_input_grad[:2]
    ctx.save_for_backward(a if need_b else None, b if need_a else None)
    ctx.shapes = a.shape, b.shape


def _conv_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, weight, _, ctx.transposed, *ctx.geometry = inputs
    _save_operands(ctx, x, weight)


def _conv_backward(ctx: Any, grad: Tensor) -> tuple:
    (x, weight), (x_shape, w_shape), geometry = ctx.saved_tensors, ctx.shapes, ctx.geometry
    need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
    dx = dw = None
    if need_x:
        if ctx.transposed:
            dx = _conv(grad, weight, None, False, *geometry)
        else:
            dx = _grad_input(grad, weight, x_shape, *geometry)
    if need_weight:
        dw = _grad_weight(x, grad, w_shape, *geometry) if ctx.transposed else _grad_weight(grad, x, w_shape, *geometry)
    return dx, dw, _grad_bias(grad) if need_bias else None, None, *(None for _ in geometry)


def _grad_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    a, b, _, *ctx.geometry = inputs
    _save_operands(ctx, a, b)


def _grad_input_backward(ctx: Any, grad: Tensor) -> tuple:
    (g, weight), (_, w_shape), geometry = ctx.saved_tensors, ctx.shapes, ctx.geometry
    need_g, need_weight = ctx.needs_input_grad[:2]
    dg = _conv(grad, weight, None, False, *geometry) if need_g else None
    dw = _grad_weight(g, grad, w_shape, *geometry) if need_weight else None
    return dg, dw, None, *(None for _ in geometry)


def _grad_weight_backward(ctx: Any, grad: Tensor) -> tuple:
    (g, x), (_, x_shape), geometry = ctx.saved_tensors, ctx.shapes, ctx.geometry
    need_g, need_x = ctx.needs_input_grad[:2]
    dg = _conv(x, grad, None, False, *geometry) if need_g else None
    dx = _grad_input(g, grad, x_shape, *geometry) if need_x else None
    return dg, dx, None, *(None for _ in geometry)


def _grad_bias_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.shape = inputs[0].shape


def _grad_bias_backward(ctx: Any, grad: Tensor) -> Tensor:
    return grad.reshape(1, -1, *(1 for _ in ctx.shape[2:])).expand(ctx.shape)


_conv = register(
    "conv", f"(Tensor x, Tensor weight, Tensor? bias, bool transposed, {_GEOMETRY}) -> Tensor",
    cpu=_conv_kernel, fake=_conv_fake, setup_context=_conv_setup, backward=_conv_backward, cuda=True,
)  # fmt: skip
_grad_input = register(
    "conv_grad_input", f"(Tensor grad, Tensor weight, SymInt[] input_shape, {_GEOMETRY}) -> Tensor",
    cpu=_grad_input_kernel, fake=_grad_input_fake, setup_context=_grad_setup, backward=_grad_input_backward,
    cuda=True,
)  # fmt: skip
_grad_weight = register(
    "conv_grad_weight", f"(Tensor grad, Tensor x, SymInt[] weight_shape, {_GEOMETRY}) -> Tensor",
    cpu=_grad_weight_kernel, fake=_grad_weight_fake, setup_context=_grad_setup, backward=_grad_weight_backward,
    cuda=True,
)  # fmt: skip
_grad_bias = register(
    "conv_grad_bias", "(Tensor grad) -> Tensor",
    cpu=_grad_bias_kernel, fake=_grad_bias_fake, setup_context=_grad_bias_setup, backward=_grad_bias_backward,
    cuda=True,
)  # fmt: skip


# ---- functions -----------------------------------------------------------------------------------------------------


def _sizes(value: Ints, name: str, spatial: int, lowest: int) -> list[int]:
    if type(value) is int and value >= lowest:  # the common case, without the checks of a sequence
        return [value] * spatial
    return list(per_axis(value, name, spatial, lowest))


def _batched(input: Tensor, weight: Tensor, spatial: int) -> bool:
    """Whether `input` has a batch axis; an error when it has neither spatial + 2 nor spatial + 1 axes."""
    for name, value in (("input", input), ("weight", weight)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is a {type(value).__name__}; expected is a torch.Tensor")
    if input.dim() not in (spatial + 1, spatial + 2):
        raise ValueError(
            f"input has {input.dim()} dimensions, shape {tuple(input.shape)}; expected are {spatial + 1} (channels, "
            f"spatial) or {spatial + 2} (batch, channels, spatial)"
        )
    return input.dim() == spatial + 2


def _padding(value: Any, spatial: int, weight: Tensor, stride: list[int], dilation: list[int]) -> list[int]:
    if not isinstance(value, str):
        return _sizes(value, "padding", spatial, 0) * 2
    if value == "same" and any(s != 1 for s in stride):
        raise ValueError(f"padding='same' needs stride 1, as in PyTorch; stride is {tuple(stride)}")
    kernel = weight.shape[2:]
    # With stride 1 no word depends on the size of the input: the kernel's will do.
    lo, hi = pads(value, spatial, kernel, kernel, stride, dilation)
    return [*lo, *hi]


def _make_conv(spatial: int) -> Callable[..., Tensor]:
    def conv(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: str | Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
        *,
        padding_mode: str = "zeros",
        precision: str = "highest",
    ) -> Tensor:
        """Convolution over {spatial} spatial axes, with the arguments of ``torch.nn.functional.conv{spatial}d``.

        Parameters
        ----------
        input : Tensor, float32 or float64, on the CPU
            [N, Ci, *spatial] or [Ci, *spatial], in any memory format.
        weight : Tensor
            [Co, Ci / groups, *kernel]
        bias : Tensor, optional
            [Co]
        stride, dilation : int or sequence of int
        padding : int, sequence of int, "same" (stride 1 alone), "valid" or "causal" (the low end alone)
        groups : int
        padding_mode : "zeros", "reflect", "replicate" or "circular"
        precision : "highest", "high", "medium" or "dfp16"
            As in `omniconv.conv`, of the result and of its gradients.

        Returns
        -------
        Tensor
            [N, Co, *out] or [Co, *out], channels_last if input is. Differentiable any number of times.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was found and what is allowed.
        """
        batched = _batched(input, weight, spatial)
        stride, dilation = _sizes(stride, "stride", spatial, 1), _sizes(dilation, "dilation", spatial, 1)
        padding = _padding(padding, spatial, weight, stride, dilation)
        groups = _sizes(groups, "groups", 1, 1)[0]
        x = input if batched else input.unsqueeze(0)
        y = _conv(x, weight, bias, False, stride, padding, padding_mode, dilation, [0] * spatial, groups, precision)
        return y if batched else y.squeeze(0)

    return _named(conv, f"conv{spatial}d", spatial)


def _make_conv_transpose(spatial: int) -> Callable[..., Tensor]:
    def conv_transpose(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        dilation: Ints = 1,
        *,
        precision: str = "highest",
    ) -> Tensor:
        """Transposed convolution, with the arguments of ``torch.nn.functional.conv_transpose{spatial}d``.

        Parameters
        ----------
        input : Tensor, float32 or float64, on the CPU
            [N, Ci, *spatial] or [Ci, *spatial], in any memory format.
        weight : Tensor
            [Ci, Co / groups, *kernel]
        bias : Tensor, optional
            [Co]
        stride, dilation : int or sequence of int
        padding : int or sequence of int
            Removed from both ends of the output.
        output_padding : int or sequence of int
            Added at the high end of the output; smaller than stride or dilation.
        groups : int
        precision : "highest", "high", "medium" or "dfp16"
            As in `omniconv.conv`, of the result and of its gradients.

        Returns
        -------
        Tensor
            [N, Co, *out] or [Co, *out], channels_last if input is. Differentiable any number of times. The size is
            (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1 per axis.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was found and what is allowed.
        """
        batched = _batched(input, weight, spatial)
        stride, dilation = _sizes(stride, "stride", spatial, 1), _sizes(dilation, "dilation", spatial, 1)
        padding = _sizes(padding, "padding", spatial, 0) * 2
        extra = _sizes(output_padding, "output_padding", spatial, 0)
        groups = _sizes(groups, "groups", 1, 1)[0]
        x = input if batched else input.unsqueeze(0)
        y = _conv(x, weight, bias, True, stride, padding, "zeros", dilation, extra, groups, precision)
        return y if batched else y.squeeze(0)

    return _named(conv_transpose, f"conv_transpose{spatial}d", spatial)


def _named(function: Callable[..., Tensor], name: str, spatial: int) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (function.__doc__ or "").replace("{spatial}", str(spatial))
    return function


conv1d = _make_conv(1)
conv2d = _make_conv(2)
conv3d = _make_conv(3)
conv_transpose1d = _make_conv_transpose(1)
conv_transpose2d = _make_conv_transpose(2)
conv_transpose3d = _make_conv_transpose(3)
