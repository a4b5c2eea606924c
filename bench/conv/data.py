"""Kinds of float32 data that bring out different errors of a convolution: x [N, Ci, h, w] and w of a layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from omniconv.bench.layers import Layer

__all__ = ["KINDS"]

Data = tuple[np.ndarray, np.ndarray]


def _weights(layer: Layer, rng: np.random.Generator) -> np.ndarray:
    fan_in = math.prod(layer.w_shape[1:])
    return rng.standard_normal(layer.w_shape, np.float32) / np.float32(math.sqrt(fan_in))


def _normal(layer: Layer, batch: int, rng: np.random.Generator) -> Data:
    return rng.standard_normal(layer.x_shape(batch), np.float32), _weights(layer, rng)


def _positive(layer: Layer, batch: int, rng: np.random.Generator) -> Data:
    """No term cancels another: what a sum loses grows with its length."""
    return rng.random(layer.x_shape(batch), np.float32), rng.random(layer.w_shape, np.float32)


def _range(layer: Layer, batch: int, rng: np.random.Generator) -> Data:
    """Magnitudes from 1e-4 to 1e4 side by side."""
    scale = 10 ** rng.uniform(-4, 4, layer.x_shape(batch))
    return (rng.standard_normal(layer.x_shape(batch)) * scale).astype(np.float32), _weights(layer, rng)


def _cancelling(layer: Layer, batch: int, rng: np.random.Generator) -> Data:
    """The terms of a sum cancel but for about a thousandth: channel by channel, or tap by tap where there is one."""
    w = _weights(layer, rng)
    noise = rng.standard_normal(layer.x_shape(batch), np.float32) * np.float32(1e-3)
    if layer.ci == layer.groups:
        return 1 + noise, (w - w.mean((1, 2, 3), keepdims=True)).astype(np.float32)
    x = np.repeat(rng.standard_normal(layer.x_shape(batch), np.float32)[:, ::2], 2, axis=1)[:, : layer.ci]
    x[:, 1::2] *= -1
    w[:, 1::2] = w[:, : 2 * (w.shape[1] // 2) : 2]
    return x + noise, w


#: adversarial data is "cancelling": its exact results are small beside the terms that they are made of
KINDS: dict[str, Callable[[Layer, int, np.random.Generator], Data]] = {
    "normal": _normal, "positive": _positive, "range": _range, "cancelling": _cancelling,
}  # fmt: skip
