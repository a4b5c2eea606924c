"""mpmath twins of the functions under test, and unit vectors to run them on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

mp = pytest.importorskip("mpmath")
mp.mp.dps = 60


def log_bessel(p: int, kappa: Any) -> Any:
    return mp.log(mp.besseli(mp.mpf(p) / 2 - 1, kappa))


def resultant(p: int, kappa: Any) -> Any:
    """I_{p/2} / I_{p/2-1} by the recurrence downwards, from where its value no longer matters."""
    v, kappa = mp.mpf(p) / 2 - 1, mp.mpf(kappa)
    steps = 80 + int(2 * kappa) + int(mp.sqrt(v))
    r = mp.mpf(0)
    for order in range(steps, 0, -1):
        r = 1 / (2 * (v + order) / kappa + r)
    return r


def slope(p: int, kappa: Any) -> Any:
    a = resultant(p, kappa)
    return 1 - a * a - (p - 1) * a / mp.mpf(kappa)


def log_c(p: int, kappa: Any) -> Any:
    half = mp.mpf(p) / 2
    return (half - 1) * mp.log(kappa) - half * mp.log(2 * mp.pi) - log_bessel(p, kappa)


def log_area(p: int) -> Any:
    half = mp.mpf(p) / 2
    return mp.log(2) + half * mp.log(mp.pi) - mp.loggamma(half)


def kl(p: int, kappa1: float, kappa2: float, one_minus_cos: Any) -> Any:
    k1, k2 = mp.mpf(float(kappa1)), mp.mpf(float(kappa2))
    return log_c(p, k1) - log_c(p, k2) + resultant(p, k1) * (k1 - k2 * (1 - one_minus_cos))


def exact(values: np.ndarray) -> list[Any]:
    return [mp.mpf(float(v)) for v in values]


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
