"""The Bessel functions against mpmath, against each other, and at the edges of their domain."""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import omniconv
from omniconv import special
from tests.bessel import oracle

LOGS = ["log_iv", "log_kv", "log_ive", "log_kve"]
RATIOS = ["iv_ratio", "iv_ratioc", "kv_ratio"]
GRADIENTS = ["log_iv_grad", "log_kv_grad"]
ALL = [*LOGS, *RATIOS, "iv_ratio_dx", *GRADIENTS]
ULPS = {"iv_ratio": 3, "iv_ratioc": 3, "kv_ratio": 3, "iv_ratio_dx": 8}
inf, nan = np.inf, np.nan


def exact(v: float, x: float) -> dict[str, mp.mpf]:
    """All functions at one place, from mpmath's own I and K; for small orders and arguments."""
    with mp.workdps(60):
        v, x = mp.mpf(float(v)), mp.mpf(float(x))
        i, i1, k, k1 = mp.besseli(v, x), mp.besseli(v + 1, x), mp.besselk(v, x), mp.besselk(v + 1, x)
        r = i1 / i
        return {
            "log_iv": mp.log(i),
            "log_kv": mp.log(k),
            "log_ive": mp.log(i) - x,
            "log_kve": mp.log(k) + x,
            "iv_ratio": r,
            "iv_ratioc": (i - i1) / i,
            "kv_ratio": k1 / k,
            "iv_ratio_dx": 1 - r * r - (2 * v + 1) / x * r,
        }


def errors(name: str, found: np.ndarray, truth: list) -> np.ndarray:
    """In the unit that the promise is made in."""
    eps = mp.mpf(float(np.finfo(found.dtype).eps))
    units = [
        mp.mpf(float(np.spacing(found.dtype.type(abs(t))))) if name in ULPS else eps * max(1, abs(t)) for t in truth
    ]
    return np.array([float(abs(mp.mpf(float(f)) - t) / u) for f, t, u in zip(found, truth, units, strict=True)])


def points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every region below s = 24, its edges, and the expansion just above."""
    rng = np.random.default_rng(seed)
    v = np.concatenate([rng.uniform(0, 24, count), rng.uniform(0, 3, count), rng.integers(0, 20, count) / 2])
    x = np.concatenate([rng.uniform(0, 40, count), 10 ** rng.uniform(-5, 1, count), rng.uniform(0, 30, count)])
    edges = [0.1, 4, 8, 16, 24, 40]
    v = np.concatenate([v, np.zeros(len(edges) * 3), rng.uniform(0, 20, 20)])
    near = [np.nextafter(e, e + d) if d else e for e in edges for d in (-1, 0, 1)]
    return v, np.concatenate([x, near, np.full(20, 0.1)])


@functools.cache
def points_and_truth(dtype: str) -> tuple[np.ndarray, np.ndarray, list]:
    v, x = (a.astype(dtype) for a in points(16, seed=1))
    return v, x, [exact(a, b) for a, b in zip(v, x, strict=True)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_orders_and_arguments(dtype, isa):
    v, x, truth = points_and_truth(dtype)
    for name in [*LOGS, *ULPS]:
        found = getattr(special, name)(v, x)
        assert found.dtype == dtype
        worst = errors(name, found, [t[name] for t in truth])
        limit = ULPS.get(name, 4)
        assert worst.max() <= limit, f"{name}: {worst.max()} at v={v[worst.argmax()]}, x={x[worst.argmax()]}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_are_those_of_the_logarithms(dtype):
    rng = np.random.default_rng(4)
    v = np.concatenate([rng.uniform(0.01, 20, 30), [0.5, 30, 2.5]]).astype(dtype)
    x = np.concatenate([10 ** rng.uniform(-2, 1.6, 30), [0.05, 3, 45]]).astype(dtype)
    for name, function in (("log_iv_grad", mp.besseli), ("log_kv_grad", mp.besselk)):
        found = getattr(special, name)(v, x)
        for axis in (0, 1):
            truth = []
            with mp.workdps(60):
                h = mp.mpf(10) ** -20
                for a, b in zip(v, x, strict=True):
                    a, b = mp.mpf(float(a)), mp.mpf(float(b))
                    up, down = ((a + h, b), (a - h, b)) if axis == 0 else ((a, b + h), (a, b - h))
                    truth.append((mp.log(function(*up)) - mp.log(function(*down))) / (2 * h))
            assert errors(name, found[axis], truth).max() <= 8, (name, axis)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out_at_the_borders_of_the_tiers(dtype, isa):
    """Just above each border and outside the band of the zero line, where a tier has the fewest terms for the size."""
    rng = np.random.default_rng(6)
    s = np.repeat([12, 24, 28, 40, 50, 100, 200, 300, 600, 1700], 4) * 1.001
    z = np.concatenate([0.66274 + np.array([-1, 1] * 10) * (1 / 64 + 1e-4), 10 ** rng.uniform(-2, 2, 20)])[
        rng.permutation(40)
    ]
    v = (s / np.hypot(1, z)).astype(dtype)
    x = (v * z.astype(dtype)).astype(dtype)
    for name, log in (("log_iv", oracle.log_i), ("log_kv", oracle.log_k)):
        with mp.workdps(60):
            value, dv, dx = zip(*(log(float(a), float(b), 0) for a, b in zip(v, x, strict=True)), strict=True)
        found = (getattr(special, name)(v, x), *getattr(special, f"{name}_grad")(v, x))
        for part, truth, limit in zip(found, (value, dv, dx), (4, 8, 8), strict=True):
            worst = errors(name, part, truth)
            assert worst.max() <= limit, f"{name}: {worst.max()} at v={v[worst.argmax()]}, x={x[worst.argmax()]}"


#: v, x, then the value of each function there; None where the gradient has no finite limit worth a promise.
LIMITS = [
    (0, 0, {"log_iv": 0, "log_kv": inf, "log_ive": 0, "log_kve": inf, "iv_ratio": 0, "iv_ratioc": 1, "kv_ratio": inf}),
    (2, 0, {"log_iv": -inf, "log_kv": inf, "log_ive": -inf, "log_kve": inf, "iv_ratio": 0, "iv_ratioc": 1}),
    (0, inf, {"log_iv": inf, "log_kv": -inf, "log_ive": -inf, "log_kve": -inf, "iv_ratio": 1, "iv_ratioc": 0}),
    (9, inf, {"log_iv": inf, "log_kv": -inf, "log_ive": -inf, "log_kve": -inf, "iv_ratio": 1, "kv_ratio": 1}),
    (inf, 3, {"log_iv": -inf, "log_kv": inf, "log_ive": -inf, "log_kve": inf, "iv_ratio": 0, "kv_ratio": inf}),
    (inf, 0, {"log_iv": -inf, "log_kv": inf, "log_ive": -inf, "log_kve": inf, "iv_ratio": 0, "iv_ratioc": 1}),
    (inf, inf, dict.fromkeys([*LOGS, *ULPS], nan)),
    (nan, 1, dict.fromkeys([*LOGS, *ULPS], nan)),
    (1, nan, dict.fromkeys([*LOGS, *ULPS], nan)),
    (1, -1, dict.fromkeys([*LOGS, *ULPS], nan)),
    (0, -inf, dict.fromkeys([*LOGS, *ULPS], nan)),
    (-0.5, 1, {"log_iv": nan, "log_ive": nan, "iv_ratio": nan, "iv_ratioc": nan, "kv_ratio": nan, "iv_ratio_dx": nan}),
    (-inf, 1, {"log_iv": -inf, "iv_ratio": nan}),
    (0, 0.0, {"iv_ratio_dx": 0.5}),
    (3, 0, {"iv_ratio_dx": 0.125}),
    (1, inf, {"iv_ratio_dx": 0}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_and_what_is_outside_the_domain(dtype, isa):
    for v, x, expected in LIMITS:
        for name, value in expected.items():
            found = getattr(special, name)(np.full(9, v, dtype), np.full(9, x, dtype))
            np.testing.assert_array_equal(found, np.full(9, value, dtype), err_msg=f"{name}({v}, {x})")
    for name, expected in (("log_iv_grad", (-inf, 0)), ("log_kv_grad", (0, -inf))):
        assert getattr(special, name)(0.0, 0.0) == expected
    assert special.log_iv_grad(2.0, inf) == (0, 1)
    assert special.log_kv_grad(2.0, inf) == (0, -1)


def test_order_of_either_sign():
    v, x = np.array([1.0, 2, 7, 30, 1e6]), np.array([0.5, 3, 9, 100, 1e6])
    np.testing.assert_array_equal(special.log_iv(-v, x), special.log_iv(v, x))
    np.testing.assert_array_equal(special.log_ive(-v, x), special.log_ive(v, x))
    for name in ("log_kv", "log_kve"):
        function = getattr(special, name)
        np.testing.assert_array_equal(function(-v - 0.25, x), function(v + 0.25, x))
        for limit in (0.0, np.inf):
            np.testing.assert_array_equal(function(-v, limit), function(v, limit))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_finite_wherever_the_value_is(name, dtype):
    """From the least denormal to the largest number; only what overflows may be infinite, and nothing is NaN."""
    info = np.finfo(dtype)
    grid = np.array(
        [info.smallest_subnormal, info.tiny, info.eps**3, 1e-3, 1, 30, 1e4, 1 / info.eps, info.max / 4, info.max], dtype
    )
    v, x = np.meshgrid(np.concatenate([[0], grid]).astype(dtype), grid)
    found = getattr(special, name)(v, x)
    for part in found if isinstance(found, tuple) else (found,):
        assert not np.isnan(part).any()
        if name in ("log_ive", "iv_ratio", "iv_ratioc", "iv_ratio_dx"):
            assert np.isfinite(part[v < info.max / 8]).all()


@given(st.floats(0, 1e5), st.floats(1e-3, 1e5))
def test_wronskian(v, x):
    """x (I_v K_{v+1} + I_{v+1} K_v) = 1 (DLMF 10.28.2), from one function each of four."""
    sum_of_logs = special.log_iv(v, x) + special.log_kv(v, x) + np.log(x)
    left = sum_of_logs + np.log(special.kv_ratio(v, x) + special.iv_ratio(v, x))
    scale = max(1, abs(special.log_iv(v, x)))
    assert abs(left) <= 20 * 2**-52 * scale


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_ratio_and_complement_and_bounds(v, x):
    r, c = special.iv_ratio(v, x), special.iv_ratioc(v, x)
    assert abs(r + c - 1) <= 2**-52
    lower = x / (v + 1 + np.hypot(x, v + 1))  # Amos 1974, eq. 9 and 11
    upper = x / (v + 0.5 + np.hypot(x, v + 1.5))
    assert lower * (1 - 1e-14) <= r <= x / (v + 0.5 + np.hypot(x, v + 0.5)) * (1 + 1e-14)
    assert r >= min(lower, upper) * (1 - 1e-14)


def test_bits_depend_on_nothing_but_the_values():
    rng = np.random.default_rng(2)
    v, x = rng.uniform(0, 60, 5000), 10 ** rng.uniform(-2, 2.5, 5000)
    shuffled = rng.permutation(5000)
    for dtype in ("float32", "float64"):
        a, b = v.astype(dtype), x.astype(dtype)
        for name in ALL:
            function = getattr(special, name)
            whole = np.stack(function(a, b)) if name in GRADIENTS else function(a, b)[None]
            omniconv.set_num_threads(3)
            threaded = np.stack(function(a, b)) if name in GRADIENTS else function(a, b)[None]
            omniconv.set_num_threads(1)
            np.testing.assert_array_equal(whole, threaded)
            moved = function(a[shuffled], b[shuffled])
            np.testing.assert_array_equal(whole[:, shuffled], np.stack(moved) if name in GRADIENTS else moved[None])
            single = [function(a[i : i + 1], b[i : i + 1]) for i in range(0, 5000, 97)]
            single = np.array(single).reshape(len(single), -1).T
            np.testing.assert_array_equal(whole[:, ::97], single)


def test_levels_agree():
    rng = np.random.default_rng(3)
    v, x = rng.uniform(0, 100, 2000), 10 ** rng.uniform(-2, 2.5, 2000)
    by_level = {}
    for level in omniconv.available_isas():
        omniconv.set_isa(level)
        by_level[level] = {name: getattr(special, name)(v, x) for name in [*LOGS, *RATIOS]}
    for name in [*LOGS, *RATIOS]:
        for level, found in by_level.items():
            reference = by_level["scalar"][name]
            unit = np.spacing(np.maximum(1, np.abs(reference)) if name in LOGS else reference)
            assert (np.abs(found[name] - reference) / unit).max() <= 4, (name, level)


def test_broadcasting_strides_and_out():
    rng = np.random.default_rng(5)
    v, x = rng.uniform(0, 50, (7, 1, 5)), rng.uniform(0, 50, (6, 1))
    expected = special.log_iv(*(np.ascontiguousarray(a) for a in np.broadcast_arrays(v, x)))
    np.testing.assert_array_equal(special.log_iv(v, x), expected)
    wide = np.full((7, 6, 10), nan)
    assert special.log_iv(v, x, out=wide[..., ::2]) is not None
    np.testing.assert_array_equal(wide[..., ::2], expected)
    assert np.isnan(wide[..., 1::2]).all()
    backwards = np.ascontiguousarray(x[::-1])[::-1]
    np.testing.assert_array_equal(special.log_iv(np.asfortranarray(v), backwards), expected)
    np.testing.assert_array_equal(special.log_iv(2, x), special.log_iv(np.full_like(x, 2), x))
    same = rng.uniform(0, 50, 3000)
    expected = special.log_kv(same, same)
    assert special.log_kv(same, same, out=same) is same
    np.testing.assert_array_equal(same, expected)


def test_scalars_and_kinds():
    assert isinstance(special.log_iv(1, 2.0), np.float64)
    assert isinstance(special.log_iv(np.float32(1), 2.0), np.float32)
    assert isinstance(special.log_iv(np.array(1.0), 2.0), np.ndarray)
    assert special.log_iv([1, 2], 3).dtype == np.float64
    assert special.log_iv(np.empty((0, 3)), 1.0).shape == (0, 3)
    pair = special.log_kv_grad(np.ones((2, 1), np.float32), np.ones(3, np.float32))
    assert [(p.shape, p.dtype) for p in pair] == [((2, 3), np.float32)] * 2


def test_torch_and_jax_arrays():
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    v, x = np.linspace(0, 9, 7, dtype="float32"), np.linspace(1, 20, 7, dtype="float32")
    expected = special.log_iv(v, x)
    found = special.log_iv(torch.from_numpy(v), torch.from_numpy(x))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), expected)
    found = special.log_iv(2.5, jax.numpy.asarray(x))
    assert isinstance(found, jax.Array)
    np.testing.assert_array_equal(np.asarray(found), special.log_iv(np.float32(2.5), x))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((np.ones(2), np.ones(3)), ValueError, "v has shape"),
        ((np.ones(2, np.float32), np.ones(2)), TypeError, "v is float32"),
        ((np.ones(2, complex), np.ones(2)), TypeError, "v has dtype complex128"),
        ((1.0, "two"), TypeError, "x is a str"),
        ((None, 1.0), TypeError, "v is a NoneType"),
        ((10**400, 1.0), ValueError, "v is"),
        ((np.array([True]), 1.0), TypeError, "v has dtype bool"),
    ],
)
def test_bad_arguments(arguments, error, said):
    for name in ALL:
        with pytest.raises(error, match=said):
            getattr(special, name)(*arguments)


def test_bad_out():
    v = x = np.ones(4)
    read_only = np.ones(4)
    read_only.flags.writeable = False
    memory = np.ones(8)
    for out, error, said in (
        (np.ones(3), ValueError, "out has shape"),
        (np.ones(4, np.float32), ValueError, "out has shape"),
        (read_only, ValueError, "out is read-only"),
        ([1, 2, 3, 4], TypeError, "out is a list"),
    ):
        with pytest.raises(error, match=said):
            special.log_iv(v, x, out=out)
    with pytest.raises(ValueError, match="out overlaps v"):
        special.log_iv(memory[:4], x, out=memory[2:6])
    with pytest.raises(TypeError, match="expected is a pair"):
        special.log_iv_grad(v, x, out=np.ones(4))
    with pytest.raises(ValueError, match="second overlaps out"):
        special.log_iv_grad(v, x, out=(memory[:4], memory[:4]))
