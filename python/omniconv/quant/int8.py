"""Affine 8-bit numbers, ``real = scale * (q - zero)``, their calibration, and convolution of them with exact sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from omniconv import _core
from omniconv.conv_spec import spec_of

__all__ = ["SCHEMES", "Affine", "Int8Conv2d", "calibrate", "conv2d", "fit", "kl_threshold"]

SCHEMES = ("asymmetric", "symmetric", "symmetric_with_uint8", "symmetric_with_power2_scale")
_LEVELS = 128  # of one sign


class Affine(NamedTuple):
    """A format of 8 bits: one scale and zero point, or one for each index of axis 0."""

    scale: np.ndarray  #: float64, of no axis or one
    zero: np.ndarray  #: int64, of the same shape; what stands for 0

    def _along(self, values: np.ndarray, ndim: int) -> np.ndarray:
        return values.reshape(-1, *(1,) * (ndim - 1)) if values.ndim else values

    def steps(self, x: np.ndarray) -> np.ndarray:
        """The nearest q in [-128, 127] less `zero`, int16."""
        zero = self._along(self.zero, x.ndim)
        q = np.rint(np.multiply(x, 1 / self._along(self.scale, x.ndim), dtype=np.float64)) + zero
        return (np.clip(q, -128, 127) - zero).astype(np.int16)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """The values that the numbers nearest to x stand for."""
        return self.steps(x) * self._along(self.scale, x.ndim)


def fit(low: Any, high: Any, scheme: str) -> Affine:
    """The format of a scheme for values from `low` to `high` (numbers, or arrays with one for each index of axis 0).

    "asymmetric" spends all 256 numbers on [low, high] with 0 among them, "symmetric" has zero point 0;
    "symmetric_with_uint8" is symmetric, but where nothing is negative all 256 numbers are positive;
    "symmetric_with_power2_scale" rounds the symmetric scale up to a power of two.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme is {scheme!r}; allowed are {', '.join(map(repr, SCHEMES))}")
    low, high = np.minimum(np.asarray(low, float), 0), np.maximum(np.asarray(high, float), 0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("low or high is not finite")
    most = np.maximum(-low, high)
    tiny = np.finfo(float).tiny
    symmetric = np.maximum(most / 127, tiny)
    nothing = np.zeros(np.shape(symmetric), np.int64)
    if scheme == "asymmetric":
        scale = np.maximum((high - low) / 255, tiny)
        return Affine(scale, np.clip(np.rint(-128 - low / scale), -128, 127).astype(np.int64))
    if scheme == "symmetric_with_power2_scale":
        return Affine(np.exp2(np.ceil(np.log2(symmetric))), nothing)
    if scheme == "symmetric":
        return Affine(symmetric, nothing)
    positive = low >= 0
    return Affine(np.where(positive, np.maximum(high / 255, tiny), symmetric), np.where(positive, -128, 0))


def kl_threshold(x: np.ndarray, bins: int = 2048) -> float:
    """The magnitude to clip at that loses least information: the least Kullback-Leibler divergence of a histogram.

    For every candidate the histogram, with what is cut off added to its last bin, is compared with itself after
    its bins were merged into 128 levels (Migacz, "8-bit inference with TensorRT", GTC 2017).
    """
    magnitudes = np.abs(np.asarray(x, float)).ravel()
    most = magnitudes.max(initial=0.0)
    if most == 0:
        return 0.0
    counts = np.histogram(magnitudes, bins, (0, most))[0].astype(float)
    counts[0] = 0  # exact zeros, of ReLU, say nothing about where to clip
    if counts.sum() == 0:
        return float(most)
    best = (np.inf, bins)
    for kept in range(_LEVELS, bins + 1, 16):
        p = counts[:kept].copy()
        p[-1] += counts[kept:].sum()
        level = np.arange(kept) * _LEVELS // kept
        here = counts[:kept]
        filled = np.bincount(level, here > 0, _LEVELS)
        q = np.where(here > 0, (np.bincount(level, here, _LEVELS) / np.maximum(filled, 1))[level], 0)
        if q.sum() == 0:
            continue
        p, q = p / p.sum(), q / q.sum()
        used = p > 0
        divergence = float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-12))).sum())
        best = min(best, (divergence, kept))
    return float(most * best[1] / bins)


def calibrate(x: np.ndarray, scheme: str = "symmetric", clipping: str = "max", granularity: str = "tensor") -> Affine:
    """The format for an array: of all its values, or with granularity "channel" one for each index of axis 0.

    clipping: "max" keeps the range of x, "kl" cuts it at `kl_threshold`.
    """
    if clipping not in ("max", "kl"):
        raise ValueError(f"clipping is {clipping!r}; allowed are 'max' and 'kl'")
    if granularity not in ("tensor", "channel"):
        raise ValueError(f"granularity is {granularity!r}; allowed are 'tensor' and 'channel'")
    if x.size == 0:
        raise ValueError("x is empty")
    flat = x.reshape(x.shape[0], -1) if granularity == "channel" else x.reshape(1, -1)
    low, high = flat.min(1), flat.max(1)
    if clipping == "kl":
        limit = np.array([kl_threshold(part) for part in flat])
        low, high = np.maximum(low, -limit), np.minimum(high, limit)
    return fit(low, high, scheme) if granularity == "channel" else fit(low[0], high[0], scheme)


class Int8Conv2d:
    """A convolution of 8-bit numbers whose weight is rounded and packed once.

    Called with x [N, Ci, H, W] and bias [Co] or None it returns y, float32 NumPy arrays all: x is rounded on the way
    (NaN to the low end of the range), sums are exact, y = float32(sum * scales) + bias. What is multiplied is q - zero,
    of 9 bits with its sign, so zero points cost nothing, and padding is a true 0.

    Parameters
    ----------
    x_shape : sequence of int
        [N, Ci, H, W].
    weight : array, float32
        [Co, Ci / groups, Kh, Kw].
    x_format, weight_format : Affine
        Of all of x; of all of weight, or one for each output channel.
    stride, padding, dilation, groups
        As in `omniconv.conv2d`.
    """

    def __init__(
        self, x_shape: Sequence[int], weight: np.ndarray, x_format: Affine, weight_format: Affine,
        *, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> None:  # fmt: skip
        if x_format.scale.ndim:
            raise ValueError("x_format has a scale for each index of axis 0; within one sum there can be but one")
        if weight.dtype != np.float32:
            raise TypeError(f"weight has dtype {weight.dtype}; supported is float32")
        spec = spec_of(
            "forward", "float32", tuple(x_shape), weight.shape, precision="dfp16", stride=stride, padding=padding,
            dilation=dilation, groups=groups,
        )  # fmt: skip
        desc = spec.desc()
        self._y_shape = tuple(_core.conv_output_shape(desc))
        self._plan = _core.Int8Conv(
            desc, float(x_format.scale), int(x_format.zero), np.atleast_1d(weight_format.scale).tolist(),
            np.atleast_1d(weight_format.zero).tolist(), weight,
        )  # fmt: skip

    def __call__(self, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """Y of x; see the class."""
        if x.dtype != np.float32:
            raise TypeError(f"x has dtype {x.dtype}; supported is float32")
        y = np.empty(self._y_shape, np.float32)
        self._plan.run(x, bias, y)
        return y


def conv2d(
    x: np.ndarray, weight: np.ndarray, x_format: Affine, weight_format: Affine, bias: np.ndarray | None = None,
    *, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> np.ndarray:  # fmt: skip
    """Convolution of 8-bit numbers, x and weight rounded in one call; see `Int8Conv2d`, which packs weight once."""
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Int8Conv2d(x.shape, weight, x_format, weight_format, **how)(x, bias)
