"""The library's kernels behind definitions of `omniconv.nn`: for NumPy's float32 arrays with their channels innermost.

Each function returns None where it does not serve, and the definition then runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv import _core
from omniconv.memory import reused

__all__ = [
    "activation", "channel_affine", "channel_means", "grn_factors", "innermost", "layer_norm", "like", "max_pool2d",
    "multiply", "scaled_channels", "squeeze_excite",
]  # fmt: skip


def _serves(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype == np.float32 and x.dtype.isnative and x.size > 0


def _vector(v: Any, width: int) -> bool:
    return v is None or (_serves(v) and v.shape == (width,))


def innermost(x: Any) -> bool:
    """Whether x [N, C, *spatial] has adjacent channels."""
    return _serves(x) and x.ndim > 2 and (x.strides[1] == 4 or x.shape[1] == 1)


def like(x: np.ndarray) -> np.ndarray:
    """A new array of the shape of x [N, C, *spatial], its channels innermost."""
    return _first(reused(_last(x).shape, x.dtype))


def _last(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, *range(2, x.ndim), 1)


def _first(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def _positions(x: np.ndarray) -> np.ndarray:
    """X [N, ..., C] as [N, P, C]; a copy where its positions are not evenly spaced."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def layer_norm(x: Any, weight: Any, bias: Any, eps: float, *, centred: bool = True) -> Any:
    """The norm along the last axis of x; root mean square with `centred` False."""
    if not (_serves(x) and x.ndim and _vector(weight, x.shape[-1]) and _vector(bias, x.shape[-1])):
        return None
    rows = x if x.strides[-1] == 4 or x.shape[-1] == 1 else np.ascontiguousarray(x)
    y = reused(x.shape, np.float32)
    width = x.shape[-1]
    _core.nn_layer_norm(rows.reshape(-1, width), weight, bias, eps, centred, y.reshape(-1, width))
    return y


def activation(x: np.ndarray, name: str, negative_slope: float) -> np.ndarray:
    """An activation of any array, float32 or float64, in the order of its memory."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    flat = np.ascontiguousarray(np.asarray(x).transpose(order), dtype=x.dtype.newbyteorder("="))
    y = reused(flat.shape, flat.dtype)
    _core.nn_activate(flat.reshape(-1), name, negative_slope, y.reshape(-1))
    return y.reshape([x.shape[axis] for axis in order]).transpose(np.argsort(order).tolist())


def _sums(x: np.ndarray, squares: bool) -> np.ndarray:
    y = np.empty((x.shape[0], x.shape[-1]), np.float32)
    _core.nn_channel_sums(x, squares, y)
    return y


def channel_means(x: Any) -> Any:
    """[N, C] means over the positions of x [N, C, ...]."""
    if not innermost(x):
        return None
    rows = _positions(_last(x))
    return _sums(rows, False) / np.float32(rows.shape[1])


def grn_factors(x: Any, gamma: Any, eps: float) -> Any:
    """[N, C] factors of global response normalisation of x [N, H, W, C]."""
    if not (_serves(x) and x.ndim == 4 and _serves(gamma) and gamma.size == x.shape[3]):
        return None
    rows = x if x.strides[3] == 4 or x.shape[3] == 1 else np.ascontiguousarray(x)
    norms = np.sqrt(_sums(_positions(rows), True))
    return gamma.reshape(-1) * (norms / (norms.mean(axis=1, keepdims=True) + np.float32(eps))) + np.float32(1)


def channel_affine(x: Any, scale: Any, shift: Any = None) -> Any:
    """``x * scale + shift`` for x [..., C] of N images, scale [N, C] and shift [C]."""
    width = x.shape[-1]
    if not (_serves(x) and x.ndim > 2 and _serves(scale) and (shift is None or _serves(shift))):
        return None
    if scale.shape not in ((1, width), (x.shape[0], width)) or (shift is not None and shift.size != width):
        return None
    rows = x if x.strides[-1] == 4 or width == 1 else np.ascontiguousarray(x)
    y = reused(x.shape, np.float32)
    scale = np.ascontiguousarray(scale)
    shift = None if shift is None else np.ascontiguousarray(shift).reshape(1, width)
    _core.nn_channel_affine(_positions(rows), scale, shift, _positions(y))
    return y


def scaled_channels(x: Any, factors: Any) -> Any:
    """X [N, C, ...] times factors [N, C, 1, ...]."""
    if not (innermost(x) and _serves(factors) and factors.size == x.shape[0] * x.shape[1]):
        return None
    y = channel_affine(_last(x), factors.reshape(x.shape[:2]))
    return None if y is None else _first(y)


def squeeze_excite(x: Any, w1: Any, bias1: Any, squeeze: str, w2: Any, bias2: Any, excite: str) -> Any:
    """X [N, C, ...] times the gates that two products, w1 [H, C] and w2 [C, H], make of the means of its channels."""
    if not (innermost(x) and all(_serves(w) and w.flags.c_contiguous for w in (w1, w2))):
        return None
    rows = _last(x)
    y = reused(rows.shape, np.float32)
    _core.nn_squeeze_excite(_positions(rows), w1, bias1, squeeze, w2, bias2, excite, _positions(y))
    return _first(y)


def multiply(a: Any, b: Any) -> Any:
    """``a * b`` of two [N, C, ...] of one shape."""
    if not (innermost(a) and innermost(b) and a.shape == b.shape):
        return None
    width = a.shape[1]
    y = reused(_last(a).shape, np.float32)
    _core.nn_multiply_rows(_last(a).reshape(-1, width), _last(b).reshape(-1, width), y.reshape(-1, width))
    return _first(y)


def max_pool2d(x: Any, kernel: Any, stride: Any, padding: Any, counts: Any) -> Any:
    """The largest of every window of x [N, C, H, W]; `counts` is how many windows each axis has."""
    if not (innermost(x) and x.ndim == 4):
        return None
    y = reused((x.shape[0], *counts, x.shape[1]), np.float32)
    _core.nn_max_pool2d(_last(x), list(kernel), list(stride), list(padding), y)
    return _first(y)
