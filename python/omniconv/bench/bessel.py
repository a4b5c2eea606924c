"""The Bessel functions beside their peers: nanoseconds per value, and the error of each against 50 digits.

The reference is mpmath's own I and K where hypot(v, x) < 75. Above, where these take long or give up, it is the uniform
expansion (DLMF 10.41, in powers of 1 / hypot(v, x)) in 50 digits with 30 exact terms; at 75 the two agree to 1e-25.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from omniconv import special
from omniconv.bench import machine
from omniconv.bench.race import geometric_mean, race

__all__ = ["FUNCTIONS", "SETS", "errors", "map_of_errors", "measure", "reference"]

FUNCTIONS = ("log_iv", "log_kv")
_TERMS, _UNIFORM_FROM, _DIGITS = 30, 75, 50

Points = tuple[np.ndarray, np.ndarray]


def _zero_line(rng: np.random.Generator, n: int) -> Points:
    v = 10 ** rng.uniform(0, 6, n)
    return v, v * 0.66274341934918158 * (1 + rng.choice([-1, 1], n) * 10 ** rng.uniform(-9, -2, n))


#: Name of a set of points, and how n of them are drawn.
SETS: dict[str, Callable[[np.random.Generator, int], Points]] = {
    "0 to 150": lambda rng, n: (rng.uniform(0, 150, n), rng.uniform(0, 150, n)),
    "150 to 1e4": lambda rng, n: (rng.uniform(150, 1e4, n), rng.uniform(150, 1e4, n)),
    "small": lambda rng, n: (rng.uniform(0, 12, n), 10 ** rng.uniform(-3, 1.3, n)),
    "log-uniform": lambda rng, n: (10 ** rng.uniform(-3, 6, n), 10 ** rng.uniform(-6, 6, n)),
    "zero line": _zero_line,
    "vMF orders": lambda rng, n: (rng.choice([1023.0, 4095.0, 16383.0], n), 10 ** rng.uniform(1, 6, n)),
}


def _scipy(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    from scipy import special as peer

    if name == "log_iv":
        return lambda v, x: np.log(peer.ive(v, x)) + x
    return lambda v, x: np.log(peer.kve(v, x)) - x


def _tfp(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import tensorflow_probability as tfp

    if name == "log_iv":
        return lambda v, x: tfp.math.log_bessel_ive(v, x).numpy() + x
    return lambda v, x: tfp.math.log_bessel_kve(v, x).numpy() - x


PEERS = {"scipy": _scipy, "tfp": _tfp}


@functools.cache
def _expansion() -> list[list[Fraction]]:
    """D_k(p), k = 0, 1, ...: the logarithm of Debye's series, its coefficients lowest first."""
    debye = [[Fraction(1)]]
    for k in range(_TERMS):
        row = [Fraction(0)] * (k + 2)
        for i, c in enumerate(debye[-1]):
            e = k + 2 * i
            row[i] += c * e / 2 + c / (8 * (e + 1))
            row[i + 1] -= c * e / 2 + 5 * c / (8 * (e + 3))
        debye.append(row)
    logs: list[list[Fraction]] = [[Fraction(0)]]
    for k in range(1, _TERMS + 1):
        row = list(debye[k])
        for j in range(1, k):
            for a, x in enumerate(logs[j]):
                for b, y in enumerate(debye[k - j]):
                    row[a + b] -= Fraction(j, k) * x * y
        logs.append(row)
    return logs


def _by_expansion(name: str, v: Any, x: Any) -> Any:
    import mpmath as mp

    s = mp.hypot(v, x)
    p, sign = (v / s) ** 2, 1 if name == "log_iv" else -1
    series = mp.mpf(0)
    for k, row in reversed(list(enumerate(_expansion()))):
        value = mp.polyval([mp.mpf(c.numerator) / c.denominator for c in reversed(row)], p)
        series += sign**k * value / s**k
    leading = s - v * mp.asinh(v / x) if v else s
    constant = -mp.log(2 * mp.pi * s) if sign > 0 else mp.log(mp.pi / (2 * s))
    return sign * leading + constant / 2 + series


def reference(name: str, v: float, x: float, uniform_from: float = _UNIFORM_FROM) -> Any:
    """Value of log I or log K as a number of mpmath, to more than 25 digits; v >= 0, 0 < x, both finite."""
    import mpmath as mp

    with mp.workdps(_DIGITS):
        v, x = mp.mpf(float(v)), mp.mpf(float(x))
        if mp.hypot(v, x) >= uniform_from:
            return _by_expansion(name, v, x)
        return mp.log((mp.besseli if name == "log_iv" else mp.besselk)(v, x))


def errors(found: np.ndarray, truth: list[Any]) -> np.ndarray:
    """abs(error) / (eps * max(1, abs(value))), eps that of the dtype; infinite where what was found is not finite."""
    import mpmath as mp

    eps = float(np.finfo(found.dtype).eps)
    return np.array(
        [
            float(abs(mp.mpf(float(f)) - t) / (eps * max(1, abs(t)))) if math.isfinite(f) else math.inf
            for f, t in zip(found, truth, strict=True)
        ]
    )


def _entry(set_name: str, name: str, points: Points, checked: int, budget: float, repeat: int | None) -> dict[str, Any]:
    v, x = points
    calls: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"omniconv": getattr(special, name)}
    skipped = {}
    for peer, make in PEERS.items():
        try:
            calls[peer] = make(name)
        except ImportError as missing:
            skipped[peer] = f"{missing.name} is not installed"
    with np.errstate(all="ignore"):
        times = race(
            {peer: functools.partial(call, v, x) for peer, call in calls.items()}, budget=budget, repeat=repeat
        )
        found = {peer: np.asarray(call(v[:checked], x[:checked])) for peer, call in calls.items()}
    truth = [reference(name, a, b) for a, b in zip(v[:checked], x[:checked], strict=True)]
    rows = []
    for peer, values in found.items():
        error = errors(values, truth)
        finite = np.isfinite(error)
        rows.append(
            {
                "name": peer,
                "ns": times[peer].median / v.size * 1e9,
                "ratio": times[peer].median / times["omniconv"].median,
                "largest_error": float(error[finite].max()) if finite.any() else None,
                "mean_error": float(error[finite].mean()) if finite.any() else None,
                "not_finite": float(1 - finite.mean()),
            }
        )
    return {
        "set": set_name,
        "function": name,
        "values": v.size,
        "checked": checked,
        "results": rows,
        "skipped": skipped,
    }


def measure(
    values: int = 200_000,
    checked: int = 200,
    dtype: str = "float64",
    *,
    seed: int = 0,
    budget: float = 2.0,
    repeat: int | None = None,
    progress: Callable[[str, float], None] = lambda what, part: None,
) -> dict[str, Any]:
    """Every function on every set: a report for JSON and the table. The peers get what omniconv gets."""
    rng = np.random.default_rng(seed)
    work = [(set_name, name) for set_name in SETS for name in FUNCTIONS]
    entries = []
    drawn = {set_name: tuple(a.astype(dtype) for a in draw(rng, values)) for set_name, draw in SETS.items()}
    for done, (set_name, name) in enumerate(work):
        progress(f"{name}, {set_name}", done / len(work))
        entries.append(_entry(set_name, name, drawn[set_name], min(checked, values), budget, repeat))
    ratios = [row["ratio"] for e in entries for row in e["results"] if row["name"] == "scipy"]
    return {
        "schema": "omniconv-bench-bessel/1",
        "machine": machine.describe(),
        "dtype": dtype,
        "entries": entries,
        "scipy_ratio": geometric_mean(ratios),
    }


def map_of_errors(name: str, call: Callable[[Any, Any], Any], side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """The grid 1e-2 .. 1e5 of v and of x, and the error [v, x] of `call` there."""
    grid = np.geomspace(1e-2, 1e5, side)
    v, x = (a.ravel() for a in np.meshgrid(grid, grid, indexing="ij"))
    with np.errstate(all="ignore"):
        found = np.asarray(call(v, x))
    return grid, errors(found, [reference(name, a, b) for a, b in zip(v, x, strict=True)]).reshape(side, side)
