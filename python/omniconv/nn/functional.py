"""Operations that models need beside convolution: definitions over the array API, differentiable in PyTorch and JAX.

Arrays of images are [N, C, H, W] by shape, in any memory layout; of tokens [..., L, C]. NumPy arrays use the library's
kernels where there are any: convolution with its epilogue, which serves `linear` and `activation` too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_jax_array, is_torch_array

import omniconv
from omniconv.array import said
from omniconv.nn import kernels
from omniconv.nn.arrays import by_numpy, constant, convolved, moved, take

__all__ = [
    "activation",
    "batch_norm",
    "broadcast",
    "channels_first",
    "channels_last",
    "concat",
    "constant",
    "conv",
    "conv_per_sample",
    "conv_transpose",
    "embedding",
    "erf",
    "fft_conv",
    "flatten",
    "global_avg_pool",
    "global_max_pool",
    "glu",
    "grn",
    "group_norm",
    "innermost",
    "instance_norm",
    "l2_normalize",
    "layer_norm",
    "linear",
    "multiply",
    "namespace",
    "pad",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "rms_norm",
    "softmax",
    "stack",
    "topk",
]  # fmt: skip

_KERNEL_WORDS = {
    "relu", "relu6", "leaky_relu", "silu", "gelu", "gelu_tanh", "quick_gelu", "hardswish", "sigmoid", "tanh",
}  # fmt: skip


# ---- activations ---------------------------------------------------------------------------------------------------


def erf(x: Any) -> Any:
    """The error function."""
    if is_torch_array(x):
        return x.erf()
    if is_jax_array(x):
        import jax

        return jax.scipy.special.erf(x)
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


def _sigmoid(xp: Any, x: Any) -> Any:
    small = xp.exp(-xp.abs(x))  # at most one: no overflow on either side
    return xp.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _defined(xp: Any, x: Any, name: str, slope: float) -> Any:
    if name == "relu":
        return xp.where(x > 0, x, x * 0)
    if name == "relu6":
        return xp.clip(x, 0, 6)
    if name == "leaky_relu":
        return xp.where(x > 0, x, x * slope)
    if name == "silu":
        return x * _sigmoid(xp, x)
    if name == "gelu":
        return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))
    if name == "gelu_tanh":
        return x * 0.5 * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if name == "quick_gelu":
        return x * _sigmoid(xp, 1.702 * x)
    if name == "hardswish":
        return x * xp.clip(x + 3, 0, 6) / 6
    if name == "sigmoid":
        return _sigmoid(xp, x)
    if name == "softplus":
        return xp.log1p(xp.exp(-xp.abs(x))) + xp.where(x > 0, x, x * 0)
    return xp.tanh(x)


def activation(x: Any, name: str | None, *, negative_slope: float = 0.01) -> Any:
    """An activation by its name in `omniconv.conv`, or "softplus"; None is the identity."""
    if name is None:
        return x
    if name not in _KERNEL_WORDS | {"softplus"}:
        raise ValueError(
            f"activation is {said(name)}; allowed are None and {', '.join(sorted(_KERNEL_WORDS))}, softplus"
        )
    xp = array_namespace(x)
    if by_numpy(x) and name in _KERNEL_WORDS - {"relu", "leaky_relu"} and x.size:
        return kernels.activation(x, name, negative_slope)
    if by_numpy(x) and name == "relu":
        return np.maximum(x, 0)
    return _defined(xp, x, name, negative_slope)


def glu(x: Any, axis: int = -1) -> Any:
    """The first half along an axis times the sigmoid of the second."""
    half = x.shape[axis] // 2
    cut = [slice(None)] * x.ndim
    parts = []
    for span in (slice(0, half), slice(half, None)):
        cut[axis] = span
        parts.append(x[tuple(cut)])
    return parts[0] * activation(parts[1], "sigmoid")


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) over its sum along an axis; the largest element is subtracted first."""
    xp = array_namespace(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


# ---- products ------------------------------------------------------------------------------------------------------


def conv(
    x: Any, weight: Any, bias: Any = None, *, scale: Any = None, residual: Any = None, activation: str | None = None,
    negative_slope: float = 0.01, **options: Any,
) -> Any:  # fmt: skip
    """`omniconv.conv` for arrays of any framework: ``activation(scale * conv + bias + residual)``, differentiable."""
    if by_numpy(x) and by_numpy(weight):
        return omniconv.conv(
            x, weight, bias, scale=scale, residual=residual, activation=activation, negative_slope=negative_slope,
            **options,
        )  # fmt: skip
    lead = (-1, *(1,) * (weight.ndim - 2))
    y = convolved(x, weight, bias if scale is None else None, options)
    xp = array_namespace(y)
    if scale is not None:
        y = y * xp.reshape(scale, lead)
        y = y if bias is None else y + xp.reshape(bias, lead)
    y = y if residual is None else y + residual
    return globals()["activation"](y, activation, negative_slope=negative_slope)


def conv_per_sample(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    """`conv` with weights of its own for each sample: weight [N, Co, Ci / groups, *kernel], bias [N, Co]."""
    if weight.shape[0] != x.shape[0]:
        raise ValueError(f"weight has {weight.shape[0]} sets; x has {x.shape[0]} samples")
    biases = [None] * x.shape[0] if bias is None else bias
    return concat([conv(x[i : i + 1], weight[i], biases[i], **options) for i in range(x.shape[0])], axis=0)


def conv_transpose(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    """`omniconv.conv_transpose1d` to `3d`, by the axes of weight [Ci, Co / groups, *kernel], for any framework."""
    return convolved(x, weight, bias, options, transposed=True)


def fft_conv(u: Any, k: Any, **options: Any) -> Any:
    """`omniconv.fft_conv` of the framework of u."""
    if is_torch_array(u):
        import omniconv.torch as ours
    elif is_jax_array(u):
        import omniconv.jax as ours
    else:
        import omniconv as ours

        options = {n: np.ascontiguousarray(v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
    return ours.fft_conv(u, k, **options)


def linear(
    x: Any, weight: Any, bias: Any = None, *, activation: str | None = None, scale: Any = None, residual: Any = None
) -> Any:
    """``activation(scale * (x W^T) + bias + residual)`` for rows x [..., Ci] and weight [Co, Ci]."""
    xp = array_namespace(x)
    if not by_numpy(x):
        y = xp.matmul(x, xp.permute_dims(weight, (1, 0)))
        for factor in (scale,):
            y = y if factor is None else y * factor
        for term in (bias, residual):
            y = y if term is None else y + term
        return globals()["activation"](y, activation)
    rows = x.reshape(1, -1, x.shape[-1])
    if residual is not None:
        residual = np.ascontiguousarray(residual).reshape(1, -1, weight.shape[0])
    y = omniconv.conv1d(
        rows, weight[:, :, None], bias, scale=scale, residual=residual, activation=activation, layout="NLC"
    )
    return y.reshape(*x.shape[:-1], weight.shape[0])


# ---- norms ---------------------------------------------------------------------------------------------------------


def _per_channel(v: Any, ndim: int, axis: int = 1) -> Any:
    shape = [1] * ndim
    shape[axis] = -1
    return array_namespace(v).reshape(v, tuple(shape))


def batch_norm(
    x: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, *, axis: int = 1, eps: float = 1e-5
) -> Any:
    """Normalise channels, an axis of x, by given statistics [C]; axis is 1 for [N, C, ...] and -1 for [N, ..., C]."""
    xp = array_namespace(x)
    scale = 1 / xp.sqrt(var + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return x * _per_channel(scale, x.ndim, axis) + _per_channel(shift, x.ndim, axis)


def _normalised(xp: Any, x: Any, axes: Any, eps: float) -> Any:
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True) + eps)


def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, axis: int = -1, eps: float = 1e-5) -> Any:
    """Normalise along one axis by its mean and biased variance; weight and bias are [size of the axis]."""
    xp = array_namespace(x)
    if axis % x.ndim != x.ndim - 1:
        return moved(layer_norm(moved(x, axis, -1), weight, bias, eps=eps), -1, axis)
    if (y := kernels.layer_norm(x, weight, bias, eps)) is not None:
        return y
    y = _normalised(xp, x, -1, eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(x: Any, weight: Any = None, *, axis: int = -1, eps: float = 1e-6) -> Any:
    """Divide by the root of the mean square along an axis."""
    xp = array_namespace(x)
    last = axis % x.ndim == x.ndim - 1
    if last and (y := kernels.layer_norm(x, weight, None, eps, centred=False)) is not None:
        return y
    y = x / xp.sqrt(xp.mean(x * x, axis=axis, keepdims=True) + eps)
    return y if weight is None else y * _per_channel(weight, x.ndim, axis)


def group_norm(x: Any, groups: int, weight: Any = None, bias: Any = None, *, axis: int = 1, eps: float = 1e-5) -> Any:
    """Normalise each group of neighbouring channels of each sample, over its channels and positions.

    axis is that of the channels: 1 for x [N, C, ...], -1 for [N, ..., C]; weight and bias are [C].
    """
    xp, axis = array_namespace(x), axis % x.ndim
    if axis not in (1, x.ndim - 1):
        raise ValueError(f"axis is {axis}; allowed are 1 and {x.ndim - 1}, the last")
    channels = x.shape[axis]
    if channels % groups:
        raise ValueError(f"groups is {groups}; it must divide the {channels} channels of x")
    if axis == 1:
        y = _normalised(xp, xp.reshape(x, (x.shape[0], groups, -1)), -1, eps)
    else:
        y = _normalised(xp, xp.reshape(x, (x.shape[0], -1, groups, channels // groups)), (1, 3), eps)
    y = xp.reshape(y, x.shape)
    y = y if weight is None else y * _per_channel(weight, x.ndim, axis)
    return y if bias is None else y + _per_channel(bias, x.ndim, axis)


def instance_norm(x: Any, weight: Any = None, bias: Any = None, *, axis: int = 1, eps: float = 1e-5) -> Any:
    """Normalise each channel of each sample over its positions; axis as in `group_norm`."""
    return group_norm(x, x.shape[axis], weight, bias, axis=axis, eps=eps)


def grn(x: Any, gamma: Any, beta: Any = None, *, axis: int = -1, eps: float = 1e-6) -> Any:
    """Global response normalisation: ``(gamma N + 1) x + beta`` (ConvNeXt V2, arXiv:2301.00808).

    N is the L2 norm of a channel over its positions, divided by the mean of these norms over the channels plus eps.
    axis is that of the channels: -1 for x [N, H, W, C], 1 for [N, C, H, W]; gamma and beta are [C].
    """
    xp, axis = array_namespace(x), axis % x.ndim
    if axis == x.ndim - 1 and (factors := kernels.grn_factors(x, gamma, eps)) is not None:
        return kernels.channel_affine(x, factors, beta)
    positions = tuple(a for a in range(1, x.ndim) if a != axis)
    norms = xp.sqrt(xp.sum(x * x, axis=positions, keepdims=True))
    gamma = _per_channel(gamma, x.ndim, axis)
    y = x * (gamma * (norms / (xp.mean(norms, axis=axis, keepdims=True) + eps)) + 1)
    return y if beta is None else y + _per_channel(beta, x.ndim, axis)


def l2_normalize(x: Any, axis: int = -1, *, eps: float = 1e-12) -> Any:
    """Divide by the L2 norm along an axis, or by eps where that is larger."""
    xp = array_namespace(x)
    norm = xp.sqrt(xp.sum(x * x, axis=axis, keepdims=True))
    return x / xp.where(norm > eps, norm, norm * 0 + eps)


# ---- moving ---------------------------------------------------------------------------------------------------------


def global_avg_pool(x: Any, *, keepdims: bool = False) -> Any:
    """The mean over all positions of x [N, C, ...]."""
    if (means := kernels.channel_means(x)) is not None:
        return means.reshape(*means.shape, *(1,) * (x.ndim - 2)) if keepdims else means
    return array_namespace(x).mean(x, axis=tuple(range(2, x.ndim)), keepdims=keepdims)


def multiply(a: Any, b: Any) -> Any:
    """``a * b``: gates [N, C, ...] of the shape of a, or factors of its channels [N, C, 1, ...]."""
    kernel = kernels.multiply if a.shape == b.shape else kernels.scaled_channels
    y = kernel(a, b)
    return a * b if y is None else y


def _border(n: int, low: int, high: int, mode: str) -> np.ndarray:
    at = np.arange(-low, n + high)
    if mode == "circular":
        return at % n
    if mode == "replicate":
        return np.clip(at, 0, n - 1)
    if max(low, high) >= n:
        raise ValueError(f"padding is ({low}, {high}); mode 'reflect' allows at most {n - 1} on an axis of {n}")
    at = np.abs(at)
    return np.where(at >= n, 2 * (n - 1) - at, at)


def pad(x: Any, padding: Sequence[tuple[int, int]], *, mode: str = "zeros", value: float = 0.0) -> Any:
    """Lengthen the last axes of x by (low, high) each; negative numbers cut.

    mode is "zeros" (elements of `value`), "reflect" (without repeating the end), "replicate" or "circular".
    """
    if mode not in ("zeros", "reflect", "replicate", "circular"):
        raise ValueError(f"mode is {said(mode)}; allowed are 'zeros', 'reflect', 'replicate' and 'circular'")
    xp = array_namespace(x)
    for axis, (low, high) in zip(range(x.ndim - len(padding), x.ndim), padding, strict=True):
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(max(-low, 0), x.shape[axis] - max(-high, 0))
        x, low, high = x[tuple(cut)], max(low, 0), max(high, 0)
        if low == high == 0:
            continue
        if mode != "zeros":
            x = take(x, _border(x.shape[axis], low, high, mode), axis)
            continue
        ends = [xp.zeros_like(take(x, np.zeros(n, int), axis)) + value for n in (low, high)]
        x = xp.concat([ends[0], x, ends[1]], axis=axis)
    return x


def global_max_pool(x: Any, *, keepdims: bool = False) -> Any:
    """The largest over all positions of x [N, C, ...]."""
    return array_namespace(x).max(x, axis=tuple(range(2, x.ndim)), keepdims=keepdims)


def concat(arrays: Sequence[Any], axis: int = 1) -> Any:
    """Arrays one after another along an axis; channels that are innermost in memory stay so."""
    first = arrays[0]
    if by_numpy(first) and axis == 1 and first.ndim > 2 and all(a.strides[1] == a.itemsize for a in arrays):
        return moved(np.concatenate([moved(a, 1, -1) for a in arrays], axis=-1), -1, 1)
    return array_namespace(first).concat(list(arrays), axis=axis)


def namespace(x: Any) -> Any:
    """The array API of the framework of x."""
    return array_namespace(x)


def channels_last(x: Any) -> Any:
    """A view [N, H, W, C] of [N, C, H, W]."""
    return moved(x, 1, -1)


def channels_first(x: Any) -> Any:
    """A view [N, C, H, W] of [N, H, W, C]."""
    return moved(x, -1, 1)


def innermost(x: Any) -> Any:
    """The same [N, C, H, W] with its channels innermost in memory, where that matters: for NumPy's arrays."""
    if not by_numpy(x):
        return x
    if x.ndim > 2 and 1 < x.shape[1] <= 4 and x.strides[1] != x.itemsize:
        # NumPy's copy would run along the few channels: channel by channel takes a third of its time.
        y = np.empty((x.shape[0], *x.shape[2:], x.shape[1]), x.dtype)
        for c in range(x.shape[1]):
            y[..., c] = x[:, c]
        return moved(y, -1, 1)
    return moved(np.ascontiguousarray(moved(x, 1, -1)), -1, 1)


def permute(x: Any, axes: Sequence[int]) -> Any:
    """X with its axes in this order: a view."""
    return array_namespace(x).permute_dims(x, tuple(axes))


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays along a new axis."""
    return array_namespace(arrays[0]).stack(list(arrays), axis=axis)


def broadcast(x: Any, shape: Sequence[int]) -> Any:
    """X repeated to a shape: a view."""
    return array_namespace(x).broadcast_to(x, tuple(shape))


def flatten(x: Any) -> Any:
    """[N, ...] to [N, C H W ...], in the order of the axes."""
    return array_namespace(x).reshape(x, (x.shape[0], -1))


def pixel_shuffle(x: Any, factor: int) -> Any:
    """[N, C r r, H, W] to [N, C, H r, W r]: ``y[c, h r + i, w r + j] = x[c r r + i r + j, h, w]`` (ESPCN)."""
    xp, (n, c, h, w), r = array_namespace(x), x.shape, factor
    if c % (r * r):
        raise ValueError(f"x has {c} channels; factor {r} needs a multiple of {r * r}")
    y = xp.permute_dims(xp.reshape(x, (n, c // (r * r), r, r, h, w)), (0, 1, 4, 2, 5, 3))
    return xp.reshape(y, (n, c // (r * r), h * r, w * r))


def pixel_unshuffle(x: Any, factor: int) -> Any:
    """The inverse of `pixel_shuffle`."""
    xp, (n, c, h, w), r = array_namespace(x), x.shape, factor
    if h % r or w % r:
        raise ValueError(f"x is {h} x {w}; factor {r} must divide both")
    y = xp.permute_dims(xp.reshape(x, (n, c, h // r, r, w // r, r)), (0, 1, 3, 5, 2, 4))
    return xp.reshape(y, (n, c * r * r, h // r, w // r))


def embedding(ids: Any, table: Any) -> Any:
    """Rows of table [V, C] at integer ids [...]: [..., C]."""
    xp = array_namespace(table)
    rows = xp.take(table, xp.reshape(xp.asarray(ids), (-1,)), axis=0)
    return xp.reshape(rows, (*ids.shape, table.shape[1]))


def topk(x: Any, k: int, *, axis: int = -1) -> tuple[Any, Any]:
    """The k largest along an axis, largest first, and their indices; of equal elements the earlier first."""
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"k is {k}; allowed are 0 to {x.shape[axis]}, the size of the axis")
    xp = array_namespace(x)
    order = xp.argsort(x, axis=axis, descending=True, stable=True)
    cut = [slice(None)] * x.ndim
    cut[axis] = slice(0, k)
    order = order[tuple(cut)]
    return xp.take_along_axis(x, order, axis=axis), order
