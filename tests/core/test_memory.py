"""Large results live in the memory of earlier ones, and never in that of one that is still in use."""

from __future__ import annotations

import gc

import numpy as np

from omniconv.memory import KEPT_BYTES, LARGE_BYTES, reused

LARGE = (LARGE_BYTES // 4,)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_the_latest_block_is_used_again():
    first = reused(LARGE, "float32")
    assert first.dtype == np.float32 and first.shape == LARGE and first.flags.writeable and first.flags.c_contiguous
    at = address(first)
    del first
    again = reused((2, LARGE[0] // 2), "float32")
    assert address(again) == at


def test_a_block_in_use_is_not_given_away():
    first = reused(LARGE, "float32")
    first[:] = 1
    view = first.reshape(2, -1)[1:]
    del first
    gc.collect()
    second = reused(LARGE, "float32")
    second[:] = 2
    assert (view == 1).all()


def test_a_smaller_block_is_replaced():
    first = reused(LARGE, "float32")
    del first
    second = reused((LARGE[0] + 1000,), "float32")
    second[:] = 3
    assert second.nbytes > LARGE_BYTES


def test_other_sizes_are_left_to_numpy():
    for size in (0, 10, LARGE_BYTES - 1, KEPT_BYTES + 1):
        assert reused((size,), "uint8").base is None


def test_results_of_operations_do_not_share_memory():
    import omniconv

    x = np.random.default_rng(0).standard_normal((1, 4, 1 << 21), dtype=np.float32)
    k = np.ones((4, 3), np.float32)
    one = omniconv.fft_conv(x, k)
    kept = one.copy()
    two = omniconv.fft_conv(-x, k)
    assert not np.shares_memory(one, two)
    np.testing.assert_array_equal(one, kept)
