"""The derivatives of the Bessel functions in 60 digits: I by its series, K by the trapezoidal rule."""

from __future__ import annotations

import functools

import mpmath as mp

_DIGITS = 60

# (v, x), exact in float32: of every region of the kernels and of the formulas for the derivatives, on both sides of
# their borders.
POINTS = [
    (0.0, 0.03125), (0.75, 0.0078125), (3.25, 0.0625), (26.5, 0.001953125),  # x < 0.1
    (0.0, 1.25), (0.25, 2.75), (1.875, 0.875), (0.5, 3.25), (2.5, 2.25),  # small hypot(v, x)
    (7.5, 7.25), (13.0, 4.5), (8.5, 10.25), (1.5, 14.0), (21.5, 99.5), (0.25, 60.0),
    (12.0, 8.0), (59.0, 39.0), (300.0, 198.5), (1024.0, 678.75),  # near x = 0.6627 v
    (40.0, 0.25), (550.0, 96.5), (1500.5, 2.5), (100.5, 100.25), (3000.0, 45.0),  # large v
    (30.0, 101.0), (100.0, 100.5), (420.5, 640.0), (5.25, 900.0), (0.5, 300.0),  # large x
    (50.0, 2500.0), (12.5, 7000.0), (0.0, 5000.0), (2048.0, 2560.0),
]  # fmt: skip


@functools.cache
def log_i(v: float, x: float, order: int) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    """log I, and its derivatives by order and argument, for the order v + order."""
    v, x = mp.mpf(v) + order, mp.mpf(x)
    quarter, log_half = x * x / 4, mp.log(x / 2)
    term, psi, k = mp.mpf(1), mp.digamma(v + 1), 0
    total, dv, dx = mp.mpf(0), mp.mpf(0), mp.mpf(0)
    while k < 10 or term > total * mp.mpf(10) ** -_DIGITS:
        total += term
        dv += term * (log_half - psi)
        dx += term * (v + 2 * k)
        k += 1
        term *= quarter / (k * (v + k))
        psi += 1 / (v + k)
    return mp.log(total) + v * log_half - mp.loggamma(v + 1), dv / total, dx / total / x


@functools.cache
def log_k(v: float, x: float, order: int) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    v, x = mp.mpf(v) + order, mp.mpf(x)
    h = min(mp.mpf("0.05"), mp.mpf("0.3") / mp.sqrt(mp.hypot(v, x)))
    peak = mp.asinh(v / x)
    top = v * peak - x * mp.cosh(peak)
    total, dv, dx = mp.mpf(0), mp.mpf(0), mp.mpf(0)
    for direction in (1, -1):
        i = 0 if direction == 1 else -1
        while True:
            t = peak + i * h
            exponent = v * t - x * mp.cosh(t) - top
            if exponent < -_DIGITS * 2.4:
                break
            term = mp.exp(exponent)
            total += term
            dv += t * term
            dx -= mp.cosh(t) * term
            i += direction
    return mp.log(total * h / 2) + top, dv / total, dx / total


def derivatives(function: str, v: float, x: float) -> tuple[mp.mpf, mp.mpf]:
    """d/dv and d/dx of the function at v >= 0 and x > 0."""
    with mp.workdps(_DIGITS):
        log = log_k if "k" in function else log_i
        value, dv, dx = log(v, x, 0)
        if function.startswith("log"):
            return dv, dx + {"log_ive": -1, "log_kve": 1}.get(function, 0)
        above, above_dv, above_dx = log(v, x, 1)
        ratio = mp.exp(above - value) * (-1 if function == "iv_ratioc" else 1)
        return ratio * (above_dv - dv), ratio * (above_dx - dx)


def allowed(function: str, wrt: int, v: float, x: float, value: float) -> float:
    """The error that is stated for d/dv (wrt = 0) or d/dx (wrt = 1), in units of eps."""
    size = abs(value)
    if function.startswith("log"):
        if wrt == 0 or not function.endswith("e"):
            return 8 * max(1, size)
        return 32 * size if function == "log_kve" else 4 * max(v / x, size)
    if function == "kv_ratio":
        return (64 if wrt else 16) * size
    if wrt:
        return 8 * size
    return (256 if x > v and 1 <= x < 100 else 16) * size
