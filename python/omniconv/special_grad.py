"""The derivatives of the functions of ``omniconv.special`` by order and argument, for frameworks that differentiate.

What a kernel computes is taken from it. The rest is made here, in float64 whatever the dtype, from three things.

Far to the right, x >= v and x >= 3, K has a continued fraction (N. M. Temme, "On the numerical evaluation of the
modified Bessel function of the third kind", J. Comput. Phys. 19, 1975): with a_k = (k - 1/2)^2 - v^2, b_k = 2 (x + k)

    d/dx log K_v(x) = -1 + (c - 1/2) / x,   c = a_1 / (b_1 - a_2 / (b_2 - ...)),   K_{v+1} / K_v = 1 + (v + 1/2 - c) / x

so that what remains of K beside exp(-x) is never the difference of large numbers, nor are the derivatives of c.

Elsewhere the recurrences K_{v+1} / K_v = 2 v / x + K_{v-1} / K_v and I_v / I_{v-1} = 1 / (2 v / x + I_{v+1} / I_v) are
differentiated. Each step divides the error of what it starts from by (K_{v+1} / K_v)^2 or (I_v / I_{v+1})^2, which are
above 5.8 for v > x: twenty steps forget the cancellation they start with.

The derivative by order of I_{v+1} / I_v where x >= v and x >= 100 comes from that of K by the Wronskian,
I_{v+1} / I_v + K_{v+1} / K_v = 1 / (x I_v K_v), with the even terms of Debye's expansion for log(I_v K_v) (DLMF 10.41).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import special

__all__ = ["DIFFERENTIABLE", "partials"]

#: The functions that have derivatives in `omniconv.torch` and `omniconv.jax`.
DIFFERENTIABLE = ("log_iv", "log_kv", "log_ive", "log_kve", "iv_ratio", "iv_ratioc", "kv_ratio")

Array = Any
_FRACTION_FROM = 3.0  # smaller x would need more terms
_FRACTION_TERMS = 32
_DEBYE_FROM = 100.0  # the first term left out is 110 / 100**10
_STEPS = 20
_CHUNK = 1 << 13  # values at a time: the temporaries of the loops stay in cache

# Of log(I_v K_v 2 s) / 2 = sum D_k(p) s^-k over even k, with s = hypot(v, x) and p = (v / s)^2: the p^j of each D_k.
_EVEN = {
    2: (1 / 16, -3 / 8, 5 / 16),
    4: (13 / 128, -71 / 32, 531 / 64, -339 / 32, 565 / 128),
    6: (103 / 192, -405 / 16, 1677 / 8, -5389 / 8, 65385 / 64, -11805 / 16, 19675 / 96),
    8: (
        23797 / 4096, -244539 / 512, 7069979 / 1024, -20526309 / 512, 243859359 / 2048, -101540765 / 512,
        192309147 / 1024, -48436755 / 512, 80727925 / 4096,
    ),
}  # fmt: skip


def partials(function: str, v: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives (d/dv, d/dx) of one of `DIFFERENTIABLE`, of float32 or float64 arrays v and x of one dtype.

    Of the broadcast shape. docs/special.md has the accuracy of each.
    """
    if function == "kv_ratio":
        return _by_chunks(_kv_ratio_dv, v, x), _by_chunks(_kv_ratio_dx, v, x)
    if function in ("iv_ratio", "iv_ratioc"):
        dv, dx = _by_chunks(_iv_ratio_dv, v, x), special.iv_ratio_dx(v, x)
        return (dv, dx) if function == "iv_ratio" else (-dv, -dx)
    if function in ("log_iv", "log_ive"):
        dv, dx = special.log_iv_grad(v, x)
        return dv, dx if function == "log_iv" else _by_chunks(_log_ive_dx, v, x)
    order = np.abs(v)  # K is even in v
    dv, dx = special.log_kv_grad(order, x)
    return np.where(v < 0, -dv, dv), dx if function == "log_kv" else _by_chunks(_log_kve_dx, order, x)


def _by_chunks(function: Callable[[Array, Array], Array], v: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Evaluate a function of one-dimensional float64 arrays on v and x, broadcast."""
    v, x = np.broadcast_arrays(v, x)
    flat_v, flat_x, out = v.reshape(-1), x.reshape(-1), np.empty(v.shape, v.dtype)
    flat = out.reshape(-1)
    with np.errstate(all="ignore"):  # limits are worked out with infinities
        for start in range(0, flat.size, _CHUNK):
            at = slice(start, start + _CHUNK)
            flat[at] = function(flat_v[at].astype(np.float64), flat_x[at].astype(np.float64))
    return out


def _by_region(v: Array, x: Array, *regions: tuple[Array, Callable[[Array, Array], Array]]) -> Array:
    """What the function of the first region that holds a value makes of it; NaN where none does."""
    out = np.full(v.shape, np.nan)
    left = np.ones(v.shape, bool)
    for holds, function in regions:
        at = np.flatnonzero(holds & left)
        left &= ~holds
        if at.size:
            out[at] = function(v[at], x[at])
    return out


def _constant(value: float) -> Callable[[Array, Array], Array]:
    return lambda v, x: np.full(v.shape, value)


# ---- the scaled logarithms -----------------------------------------------------------------------------------------


def _log_ive_dx(v: Array, x: Array) -> Array:
    """d/dx log I_v - 1, as v / x - (1 - I_{v+1} / I_v)."""
    return np.where(v == 0, 0, v / x) - special.iv_ratioc(v, x)


def _log_kve_dx(v: Array, x: Array) -> Array:
    """d/dx log K_v + 1."""

    def right(v: Array, x: Array) -> Array:
        return _fraction(v, x)[0] - 0.5 / x

    return _by_region(v, x, (_is_right(v, x), right), (v >= 0, lambda v, x: special.log_kv_grad(v, x)[1] + 1))


# ---- ratios of K ---------------------------------------------------------------------------------------------------


def _is_right(v: Array, x: Array) -> Array:
    return (v >= 0) & (x >= v) & (x >= _FRACTION_FROM) & (v < np.inf)


def _fraction(v: Array, x: Array) -> tuple[Array, Array, Array]:
    """The continued fraction c: c / x, dc / dx and dc / dv.

    It runs on t_k / x with t_k = b_k - a_{k+1} / t_{k+1}: nothing overflows. The last t solves t = b_k - a_k / t.
    """
    z, y = 1 / x, v / x
    n = _FRACTION_TERMS
    half = 1 + n * z
    t = half + np.sqrt(1 + 2 * n * z + y * y)
    t_x, t_v = np.full(v.shape, 2.0), np.zeros(v.shape)
    for k in range(n - 1, 0, -1):
        a = ((k + 0.5) * z - y) * ((k + 0.5) * z + y)
        t_x = 2 + a * t_x / (t * t)
        t_v = (2 * y + a * t_v / t) / t
        t = 2 * (1 + k * z) - a / t
    c = (0.5 * z - y) * (0.5 * z + y) / t
    return c, -c * t_x / t, -(2 * y + c * t_v) / t


def _right_dx(v: Array, x: Array) -> Array:
    c, c_x, _ = _fraction(v, x)
    return ((c - c_x) - (v + 0.5) / x) / x


def _right_dv(v: Array, x: Array) -> Array:
    return (1 - _fraction(v, x)[2]) / x


def _left_k(v: Array, x: Array) -> tuple[Array, Array]:
    """(x d/dx, d/dv) of K_{v+1} / K_v, by steps from an order below."""
    steps = np.minimum(np.floor(v), _STEPS)
    u = v - steps
    r = special.kv_ratio(u, x)
    x_dx = np.where(r < np.inf, r * (x * r - (2 * u + 1)) - x, -np.inf)
    dv = r * (special.log_kv_grad(u + 1, x)[0] - special.log_kv_grad(u, x)[0])
    for i in range(_STEPS, 0, -1):
        goes, w = steps >= i, v - (i - 1)
        leading, finite = 2 * w / x, r < np.inf
        x_dx = np.where(goes, -leading - np.where(finite, x_dx / r / r, 0), x_dx)
        dv = np.where(goes, 2 / x - np.where(finite, dv / r / r, 0), dv)
        r = np.where(goes, leading + 1 / r, r)
    return x_dx, dv


def _kv_ratio_dx(v: Array, x: Array) -> Array:
    return _by_region(
        v,
        x,
        ((v >= 0) & (x == np.inf) & (v < np.inf), _constant(0.0)),
        ((v >= 0) & (x == 0) | (v == np.inf) & (x < np.inf) & (x >= 0), _constant(-np.inf)),
        (_is_right(v, x), _right_dx),
        ((v >= 0) & (x >= 0) & (v < np.inf), lambda v, x: _left_k(v, x)[0] / x),
    )


def _kv_ratio_dv(v: Array, x: Array) -> Array:
    return _by_region(
        v,
        x,
        ((v >= 0) & (x == np.inf) & (v < np.inf), _constant(0.0)),
        ((v >= 0) & (x == 0), _constant(np.inf)),
        ((v == np.inf) & (x < np.inf) & (x >= 0), lambda v, x: 2 / x),
        (_is_right(v, x), _right_dv),
        ((v >= 0) & (x >= 0) & (v < np.inf), lambda v, x: _left_k(v, x)[1]),
    )


# ---- ratios of I ---------------------------------------------------------------------------------------------------


def _plain_iv_ratio_dv(v: Array, x: Array) -> Array:
    return special.iv_ratio(v, x) * (special.log_iv_grad(v + 1, x)[0] - special.log_iv_grad(v, x)[0])


def _left_iv_ratio_dv(v: Array, x: Array) -> Array:
    """By steps from an order above."""
    u = v + _STEPS
    r, dv = special.iv_ratio(u, x), _plain_iv_ratio_dv(u, x)
    for i in range(_STEPS, 0, -1):
        r = 1 / (2 * (v + i) / x + r)
        dv = -r * (2 * r / x + r * dv)
    return dv


def _right_iv_ratio_dv(v: Array, x: Array) -> Array:
    """From the derivative of K_{v+1} / K_v and that of log(I_v K_v), which is v * of_product."""
    c, _, c_v = _fraction(v, x)
    s = np.hypot(v, x)
    p, w2 = (v / s) ** 2, (1 / s) ** 2
    total = np.zeros(v.shape)
    for k in sorted(_EVEN, reverse=True):
        # The derivative of p^j s^-k is v / s^2 times (2 j p^(j-1) - (k + 2 j) p^j) s^-k.
        coefficients = _EVEN[k]
        row = np.zeros(v.shape)
        for j in range(len(coefficients) - 1, -1, -1):
            above = 2 * (j + 1) * coefficients[j + 1] if j + 1 < len(coefficients) else 0.0
            row = row * p + (above - (k + 2 * j) * coefficients[j])
        total = (total + row) * w2
    sum_of_ratios = (1 + (v + 0.5) / x - c) + special.iv_ratio(v, x)
    of_product = (2 * total - 1) * (v / s) / s
    return -sum_of_ratios * of_product - (1 - c_v) / x


def _iv_ratio_dv(v: Array, x: Array) -> Array:
    return _by_region(
        v,
        x,
        ((v >= 0) & (x == 0) | (v >= 0) & (x == np.inf) & (v < np.inf), _constant(0.0)),
        ((v == np.inf) & (x < np.inf) & (x >= 0), _constant(0.0)),
        ((v >= 0) & (x >= np.maximum(v, _DEBYE_FROM)) & (v < np.inf), _right_iv_ratio_dv),
        ((v >= 0) & (x >= 0) & ((v > x) | (x < 1)), _left_iv_ratio_dv),
        ((v >= 0) & (x >= 0) & (v < np.inf), _plain_iv_ratio_dv),
    )
