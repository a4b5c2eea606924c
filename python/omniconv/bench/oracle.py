"""What the races hold results against: convolutions by NumPy alone, no code shared with omniconv."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from omniconv.bench.layers import Layer

__all__ = ["conv2d_float64", "grad_weight_float64", "plain_float32", "relative_error"]


def _taps(x: np.ndarray, layer: Layer) -> Iterator[tuple[int, int, np.ndarray]]:
    """(i, j, what the tap sees [N, groups, Ci / groups, oh * ow]) of x [N, Ci, h, w] for every tap of the kernel."""
    n, (oh, ow), g = x.shape[0], layer.out, layer.groups
    x = np.pad(x, ((0, 0), (0, 0), (layer.padding,) * 2, (layer.padding_w,) * 2))
    for i in range(layer.kh):
        for j in range(layer.kw):
            top, left = i * layer.dilation, j * layer.dilation
            rows = slice(top, top + (oh - 1) * layer.stride + 1, layer.stride)
            columns = slice(left, left + (ow - 1) * layer.stride + 1, layer.stride)
            yield i, j, x[:, :, rows, columns].reshape(n, g, layer.ci // g, oh * ow)


def _grouped(w: np.ndarray, layer: Layer) -> np.ndarray:
    return w.reshape(layer.groups, layer.co // layer.groups, layer.ci // layer.groups, layer.kh, layer.kw)


def conv2d_float64(x: np.ndarray, w: np.ndarray, layer: Layer) -> np.ndarray:
    """The layer on x [N, Ci, h, w] in float64: one matrix product per tap."""
    n, (oh, ow), g = x.shape[0], layer.out, layer.groups
    w = _grouped(w.astype(np.float64), layer)
    y = np.zeros((n, g, layer.co // g, oh * ow))
    for i, j, seen in _taps(x.astype(np.float64), layer):
        y += w[..., i, j] @ seen
    return y.reshape(n, layer.co, oh, ow)


def grad_weight_float64(x: np.ndarray, grad: np.ndarray, layer: Layer) -> np.ndarray:
    """Gradient [Co, Ci / groups, kh, kw] of the layer's weights, in float64, from x and grad [N, Co, oh, ow]."""
    n, g = x.shape[0], layer.groups
    grad = grad.astype(np.float64).reshape(n, g, layer.co // g, -1)
    w = np.zeros((g, layer.co // g, layer.ci // g, layer.kh, layer.kw))
    for i, j, seen in _taps(x.astype(np.float64), layer):
        w[..., i, j] = (grad @ seen.swapaxes(-1, -2)).sum(0)
    return w.reshape(layer.w_shape)


def plain_float32(x: np.ndarray, w: np.ndarray, layer: Layer, channels: int) -> np.ndarray:
    """The first output channels [N, channels, oh, ow] as float32 sums them in one chain, every product rounded."""
    n, (oh, ow), per = x.shape[0], layer.out, layer.co // layer.groups
    y = np.zeros((n, channels, oh * ow), np.float32)
    for i, j, seen in _taps(x.astype(np.float32), layer):
        for o in range(channels):
            for c in range(layer.ci // layer.groups):
                y[:, o] += w[o, c, i, j] * seen[:, o // per, c]
    return y.reshape(n, channels, oh, ow)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """L2 norm of the difference over that of `expected`, in float64."""
    difference = np.linalg.norm(np.asarray(found, np.float64) - expected)
    return float(difference / max(np.linalg.norm(expected), 1e-300))
