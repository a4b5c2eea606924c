"""The Bessel functions on the emulator: the same bits whatever the schedule, shape and strides; near those of the CPU.

Values are held against mpmath and the golden points by tests/bessel and tests/golden, which run here as well.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from omniconv import special
from tests.conv.problems import EMULATED, SCHEDULES

pytestmark = pytest.mark.skipif(not EMULATED, reason="these kernels run under OMNICONV_DEVICE=emu")

VALUES = ["log_iv", "log_kv", "log_ive", "log_kve", "iv_ratio", "iv_ratioc", "kv_ratio", "iv_ratio_dx"]
ALL = [*VALUES, "log_iv_grad", "log_kv_grad"]
inf, nan = np.inf, np.nan


def points(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of every formula next to one another, so that the threads of a warp go different ways."""
    rng = np.random.default_rng(5)
    scale = 10 ** rng.uniform(-3, 5, 300)
    v, x = scale * rng.uniform(0, 1, 300), scale * rng.uniform(0, 1, 300)
    x[:40] = 0.66274 * v[:40]  # where log I and log K are small differences of large numbers
    special_v, special_x = [0, 1, -3, -2.5, inf, nan, 2, 1e20, 5], [0, 0, 2, 2, 1, 1, inf, 1e-20, -1]
    return np.append(v, special_v).astype(dtype), np.append(x, special_x).astype(dtype)


def call(name: str, v: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.asarray(getattr(special, name)(v, x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_bits(name, dtype):
    """Each value alone decides: not the schedule, nor its neighbours, nor where it stands."""
    v, x = points(dtype)
    want = call(name, v, x)
    for schedule in SCHEDULES:
        os.environ["OMNICONV_EMU_SCHEDULE"] = schedule
        assert np.array_equal(call(name, v, x), want, equal_nan=True)
    order = np.random.default_rng(1).permutation(len(v))
    assert np.array_equal(call(name, v[order], x[order]), want[..., order], equal_nan=True)
    apart = np.repeat(v, 3)[::3], np.repeat(x, 2)[::-2]
    assert np.array_equal(call(name, apart[0], apart[1][::-1]), want, equal_nan=True)
    grid = call(name, v[::50, None], x[None, ::40])
    for i, order_v in enumerate(v[::50]):
        assert np.array_equal(grid[..., i, :], call(name, order_v, x[::40]), equal_nan=True)


def test_a_fault_of_a_kernel_is_an_error_of_the_call(monkeypatch):
    monkeypatch.setenv("OMNICONV_EMU_SCHEDULE", "sideways")  # no schedule: every launch fails
    with pytest.raises(RuntimeError, match="sideways"):
        special.log_iv(np.ones(3), np.ones(3))


def test_outputs_and_limits():
    out = np.full((3, 4), nan)
    assert special.log_kv(np.float64(-3), np.zeros((3, 4)), out=out) is out
    assert (out == inf).all()
    v = np.array([0.5, 2.0, 30.0])
    assert np.array_equal(special.log_iv(v, 2.0, out=v), special.log_iv(np.array([0.5, 2.0, 30.0]), 2.0))
    assert special.log_iv(np.ones((0, 4)), 1.0).shape == (0, 4)
