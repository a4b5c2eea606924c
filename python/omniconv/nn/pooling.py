"""Pooling and resampling of [N, C, *spatial]: definitions over the array API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from omniconv.array import said
from omniconv.nn import kernels
from omniconv.nn.arrays import by_numpy, constant, pair, take
from omniconv.nn.functional import pad
from omniconv.nn.summary import note

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "max_pool", "resize"]


def _outputs(n: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """How many windows; the last of ceil_mode starts inside the input or its low padding."""
    room = n + 2 * padding - kernel
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= n + padding:
        count -= 1
    if count < 1:
        raise ValueError(f"a window of {kernel} does not fit on an axis of {n} with padding {padding}")
    return count


def _inside(x: Any) -> Any:
    """X with its channels last, if they are so in memory: padding and slicing then keep them there."""
    return by_numpy(x) and x.ndim > 2 and x.shape[1] > 1 and x.strides[1] == x.itemsize


def _reduced(x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, fill: float, op: Any) -> Any:
    """Op over the windows, axis by axis: max and sum are separable."""
    spatial = x.ndim - 2
    kernel, padding = pair(kernel, spatial), pair(padding, spatial)
    stride = kernel if stride is None else pair(stride, spatial)
    for name, values, least in (("kernel", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
        if len(values) != spatial or any(v < least for v in values):
            raise ValueError(f"{name} is {said(values)}; expected are {spatial} numbers, at least {least}")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"padding is {padding}; at most half of the window {kernel} is allowed")
    if fill == -math.inf and spatial == 2:
        sizes = zip(x.shape[2:], kernel, stride, padding, strict=True)
        y = kernels.max_pool2d(x, kernel, stride, padding, [_outputs(*size, ceil_mode) for size in sizes])
        if y is not None:
            return y
    last = _inside(x)
    first = 1 if last else 2
    if last:
        x = x.transpose(0, *range(2, x.ndim), 1)
    for axis, k, s, p in zip(range(first, first + spatial), kernel, stride, padding, strict=True):
        n = x.shape[axis]
        count = _outputs(n, k, s, p, ceil_mode)
        reach = (count - 1) * s + k
        pads = [(0, 0)] * (x.ndim - axis)
        pads[0] = (p, reach - n - p)
        x = pad(x, pads, value=fill)
        parts = []
        for tap in range(k):
            at = [slice(None)] * x.ndim
            at[axis] = slice(tap, tap + (count - 1) * s + 1, s)
            parts.append(x[tuple(at)])
        x = parts[0]
        for part in parts[1:]:
            x = op(x, part)
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1)) if last else x


def max_pool(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False) -> Any:
    """The largest element of every window; padding never wins. stride defaults to kernel.

    With ceil_mode a last window may hang over the high end, if it starts inside. NaN wins, as in PyTorch.
    """
    xp = array_namespace(x)
    y = _reduced(x, kernel, stride, padding, ceil_mode, -math.inf, xp.maximum)
    note("max_pool", y, 0)
    return y


def avg_pool(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """The mean of every window, padded zeros counted or not; what hangs over beyond the padding is never counted."""
    xp, spatial = array_namespace(x), x.ndim - 2
    sums = _reduced(x, kernel, stride, padding, ceil_mode, 0.0, lambda a, b: a + b)
    kernel, padding = pair(kernel, spatial), pair(padding, spatial)
    stride = kernel if stride is None else pair(stride, spatial)
    for axis in range(spatial):
        n, k, s, p = x.shape[2 + axis], kernel[axis], stride[axis], padding[axis]
        start = np.arange(sums.shape[2 + axis]) * s - p
        low, high = (-p, n + p) if count_include_pad else (0, n)
        counts = np.minimum(start + k, high) - np.maximum(start, low)
        shape = [1] * x.ndim
        shape[2 + axis] = -1
        sums = sums / xp.reshape(constant(counts.astype(np.float64), x), tuple(shape))
    note("avg_pool", sums, 0)
    return sums


def _adaptive(x: Any, size: int | Sequence[int], reduced: Any) -> Any:
    for axis, m in zip(range(2, x.ndim), pair(size, x.ndim - 2), strict=True):
        if m < 1:
            raise ValueError(f"size is {said(size)}; expected are positive sizes")
        n, parts = x.shape[axis], []
        if n == m:
            continue
        for i in range(m):
            at = [slice(None)] * x.ndim
            at[axis] = slice(i * n // m, -(-(i + 1) * n // m))
            parts.append(reduced(x[tuple(at)], axis=axis, keepdims=True))
        x = array_namespace(x).concat(parts, axis=axis)
    return x


def adaptive_avg_pool(x: Any, size: int | Sequence[int]) -> Any:
    """Means of regions that cover each axis: region i is floor(i n / size) to ceil((i + 1) n / size)."""
    return _adaptive(x, size, array_namespace(x).mean)


def adaptive_max_pool(x: Any, size: int | Sequence[int]) -> Any:
    """The largest element of each of the regions of `adaptive_avg_pool`."""
    return _adaptive(x, size, array_namespace(x).max)


def _cubic(t: np.ndarray, a: float = -0.75) -> np.ndarray:
    """Weights of the four neighbours of a point at t in [0, 1) beyond the second (Keys, 1981; a as in PyTorch)."""
    near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (t, 1 - t)]
    far = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (1 + t, 2 - t)]
    return np.stack([far[0], near[0], near[1], far[1]])


def _sources(n: int, m: int, mode: str, align_corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights [taps, m] of the sources of each of m points on an axis of n."""
    i = np.arange(m)
    if mode == "nearest":
        return np.minimum(i * n // m, n - 1)[None], np.ones((1, m))
    at = i * ((n - 1) / max(m - 1, 1)) if align_corners else (i + 0.5) * (n / m) - 0.5
    if mode == "linear":
        at = np.clip(at, 0, n - 1)
        low = np.minimum(np.floor(at).astype(np.int64), max(n - 2, 0))
        return np.stack([low, np.minimum(low + 1, n - 1)]), np.stack([1 - (at - low), at - low])
    low = np.floor(at).astype(np.int64)
    return np.clip(low + np.arange(-1, 3)[:, None], 0, n - 1), _cubic(at - low)


def resize(x: Any, size: Sequence[int], *, mode: str = "linear", align_corners: bool = False) -> Any:
    """Resample the spatial axes of x [N, C, *spatial] to `size`, as ``torch.nn.functional.interpolate``.

    Parameters
    ----------
    mode : "nearest", "linear" or "cubic"
        Along each axis, so "linear" of two axes is bilinear. No low-pass filter: made smaller, pixels are skipped.
    align_corners : bool
        False: pixels are areas, and the borders of the images coincide. True: pixels are points, and the centres of
        the corner pixels coincide. "nearest" knows the former only.
    """
    if mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"mode is {said(mode)}; allowed are 'nearest', 'linear' and 'cubic'")
    if mode == "nearest" and align_corners:
        raise ValueError("align_corners is True; mode 'nearest' has no such form")
    if len(size) != x.ndim - 2 or min(size) < 1:
        raise ValueError(f"size is {said(size)}; expected are {x.ndim - 2} positive sizes")
    xp = array_namespace(x)
    for axis, m in zip(range(2, x.ndim), size, strict=True):
        if m == x.shape[axis]:
            continue
        indices, weights = _sources(x.shape[axis], m, mode, align_corners)
        shape = [1] * x.ndim
        shape[axis] = -1
        if len(indices) == 1:
            x = take(x, indices[0], axis)
            continue
        x = sum(
            take(x, at, axis) * xp.reshape(constant(w, x), tuple(shape)) for at, w in zip(indices, weights, strict=True)
        )
    return x
