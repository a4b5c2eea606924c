"""What the tests of long convolutions share: the oracle, sizes, errors."""

from __future__ import annotations

from typing import Any

import numpy as np

import omniconv

MODES = ("causal", "circular", "same", "full", "valid")
FAST = ("direct", "fft", "overlap_save")
#: (L, K): every kind of end, lengths beside powers of two, kernels longer than rows, blocks that do not divide.
SIZES = [
    (1, 1), (2, 1), (2, 3), (3, 3), (7, 2), (7, 14), (15, 16), (64, 64), (100, 37), (255, 255), (256, 256), (257, 258),
    (257, 514), (1000, 999), (1000, 128), (4097, 1), (4097, 4097), (20000, 700),
]  # fmt: skip


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def conv_row(v: np.ndarray, k: np.ndarray, mode: str) -> np.ndarray:
    """conv of one row in float64."""
    v, k = v.astype(np.float64), k.astype(np.float64)
    n, taps = len(v), len(k)
    if min(n, taps) <= 2000:
        whole = np.convolve(v, k)
    else:
        size = 1 << (n + taps).bit_length()
        whole = np.fft.irfft(np.fft.rfft(v, size) * np.fft.rfft(k, size), size)[: n + taps - 1]
    if mode == "circular":
        return np.pad(whole, (0, -len(whole) % n)).reshape(-1, n).sum(0)
    first = {"same": taps // 2, "valid": taps - 1}.get(mode, 0)
    count = {"full": n + taps - 1, "valid": n - taps + 1}.get(mode, n)
    return np.pad(whole, (0, n))[first : first + count]


def oracle(u: np.ndarray, k: np.ndarray, mode: str = "causal") -> np.ndarray:
    """[B, H, Lout] in float64 of u [B, H, L] and k [H, K]."""
    return np.array([[conv_row(row, kernel, mode) for row, kernel in zip(rows, k, strict=True)] for rows in u])


def error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest relative L2 error of a row; where rows are a few sums, which may cancel, of all of them together."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    if want.shape[-1] < 16:
        got, want = got.reshape(-1), want.reshape(-1)
    norms = np.linalg.norm(want, axis=-1)
    return float((np.linalg.norm(got - want, axis=-1) / np.where(norms == 0, 1, norms)).max())


def bound(dtype: str, length: int) -> float:
    return 6e-7 if dtype == "float32" else 5e-15 * max(2.0, np.log2(2 * length))


def run(algorithm: str, *args: Any, **how: Any) -> np.ndarray | None:
    """fft_conv, or None where the algorithm declines."""
    try:
        return omniconv.fft_conv(*args, algorithm=algorithm, **how)
    except NotImplementedError:
        return None
