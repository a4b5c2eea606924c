"""The derivatives by order and argument against 60 digits, in the unit each is promised in."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv import special
from omniconv.special_grad import DIFFERENTIABLE, partials
from tests.bessel.oracle import POINTS, allowed, derivatives


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_partials(name, dtype):
    v, x = np.array(POINTS, dtype).T
    found = partials(name, v, x)
    for wrt in (0, 1):
        assert found[wrt].dtype == dtype
        for point, value in zip(POINTS, found[wrt], strict=True):
            exact = derivatives(name, *point)[wrt]
            limit = np.finfo(dtype).eps * allowed(name, wrt, *point, float(exact))
            assert float(abs(float(value) - exact)) <= limit, (point, wrt, value)


def test_k_is_even_in_its_order():
    x = np.array([0.5, 2, 30])
    for name in ("log_kv", "log_kve"):
        found, mirrored = partials(name, np.full(3, -1.25), x), partials(name, np.full(3, 1.25), x)
        np.testing.assert_array_equal(found[0], -mirrored[0])
        np.testing.assert_array_equal(found[1], mirrored[1])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_nan_where_the_value_is_nan(name):
    v, x = np.array([np.nan, 1, 1, np.inf, 2]), np.array([1, np.nan, -1, np.inf, 3])
    for part in partials(name, v, x):
        assert np.isnan(part).tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_derivative_by_a_small_order_keeps_its_digits(dtype, isa):
    """Where x is far above v it is about -v / x and v / x: right to some ulp, not to eps."""
    v, x = np.array([(1e-9, 30), (1e-3, 500), (0.01, 1000), (0.5, 200), (3, 900), (20, 800)], dtype).T
    for name, function in (("log_iv", special.log_iv_grad), ("log_kv", special.log_kv_grad)):
        for a, b, value in zip(v, x, function(v, x)[0], strict=True):
            exact = derivatives(name, float(a), float(b))[0]
            assert abs(float(value) - exact) <= 4 * np.finfo(dtype).eps * abs(exact), (name, a, b)


LIMITS = [
    ("log_ive", 0, 0, (-np.inf, -1)),
    ("log_ive", 2, np.inf, (0, 0)),
    ("log_kve", 2, np.inf, (0, 0)),
    ("log_kve", 2, 0, (np.inf, -np.inf)),
    ("log_kve", 1e300, 1e300, (0.881373587019543, 1 - 2**0.5)),
    ("iv_ratio", 2, 0, (0, 1 / 6)),
    ("iv_ratio", 1, np.inf, (0, 0)),
    ("iv_ratio", 1e10, 1e17, (-1e-17 * (1 - 1e-7), 1e-24 * (1 + 5e-11 - 1e-7))),
    ("kv_ratio", 2, 0, (np.inf, -np.inf)),
    ("kv_ratio", 1, np.inf, (0, 0)),
    ("kv_ratio", np.inf, 4, (0.5, -np.inf)),
    ("kv_ratio", 0, 5e-324, (np.inf, -np.inf)),
    ("kv_ratio", 1e10, 1e-150, (2e150, -np.inf)),
    ("kv_ratio", 1e300, 1e300, ((1 + 0.5**0.5) * 1e-300, -(1 + 0.5**0.5) * 1e-300)),
]


@pytest.mark.parametrize(("name", "v", "x", "expected"), LIMITS)
def test_limits(name, v, x, expected):
    found = partials(name, np.array([v], float), np.array([x], float))
    np.testing.assert_allclose([f[0] for f in found], expected, rtol=2e-14)
