"""Kernels of long convolutions from few parameters, and transforms with learned factors.

Functions of arrays of any framework with the array API, written in it: gradients are the framework's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from omniconv.array import said

__all__ = [
    "butterfly_fft", "dft_matrix", "exp_decay", "hyena_filter", "hyena_positions", "sgconv_kernel", "smooth", "squash",
]  # fmt: skip


def _namespace(*arrays: Any) -> Any:
    from array_api_compat import array_namespace

    return array_namespace(*arrays)


def _like(xp: Any, values: Any, like: Any) -> Any:
    """A NumPy array as one of the dtype and device of `like`."""
    from array_api_compat import device

    return xp.asarray(values, dtype=like.dtype, device=device(like))


def squash(k: Any, threshold: float = 0.003) -> Any:
    """Soft threshold of a kernel's taps, sign(k) max(|k| - threshold, 0) (Fu et al., arXiv:2302.06646).

    Taps below it are zero and have no gradient: with weights of standard deviation 0.002 a threshold of 0.1 kills all.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold is {said(threshold)}; it must be at least 0")
    xp = _namespace(k)
    return k - xp.clip(k, -threshold, threshold)


def smooth(k: Any, window: int = 7, *, domain: str = "time") -> Any:
    """Smooth kernels [..., L] over an odd window (Fu et al., arXiv:2302.06646).

    "time": the moving average, zeros beyond the ends counted. "frequency": rfft(k) correlated with exp(-i^2 / 2), i
    from the window's centre, not normalised; L is even then.
    """
    if not isinstance(window, int) or window < 1 or window % 2 == 0:
        raise ValueError(f"window is {said(window)}; it must be a positive odd integer")
    if domain not in ("time", "frequency"):
        raise ValueError(f"domain is {said(domain)}; allowed are 'time' and 'frequency'")
    xp, half = _namespace(k), window // 2
    if domain == "time":
        return _windowed(xp, k, [1.0 / window] * window)
    if k.shape[-1] % 2:
        raise ValueError(f"k has shape {tuple(k.shape)}; domain 'frequency' needs an even number of taps")
    weights = [math.exp(-0.5 * (i - half) ** 2) for i in range(window)]
    return xp.fft.irfft(_windowed(xp, xp.fft.rfft(k), weights), n=k.shape[-1])


def _windowed(xp: Any, x: Any, weights: list[float]) -> Any:
    half, n = len(weights) // 2, x.shape[-1]
    end = xp.zeros((*x.shape[:-1], half), dtype=x.dtype)
    wide = xp.concat([end, x, end], axis=-1)
    return sum(wide[..., i : i + n] * w for i, w in enumerate(weights))


def exp_decay(channels: int, length: int, *, like: Any = None) -> Any:
    """Envelopes [H, L] exp(-(j / L) (H // 2)^(h / H)), j < L: decays of channels h from slow to fast.

    Times noise, the double exponential initialisation of Fu et al. (arXiv:2302.06646). An array of the kind and
    dtype of `like`, default NumPy float64.
    """
    import numpy as np

    rates = float(channels // 2) ** (np.arange(channels) / channels)
    values = np.exp(-np.outer(rates, np.arange(length) / length))
    return values if like is None else _like(_namespace(like), values, like)


def _resampled(xp: Any, w: Any, factor: int, interpolation: str) -> Any:
    """The last axis `factor` times as long: element j is at (j + 1/2) / factor - 1/2, clamped to the ends."""
    import numpy as np

    if factor == 1:
        return w
    d = w.shape[-1]
    at = np.clip((np.arange(d * factor) + 0.5) / factor - 0.5, 0, d - 1)
    if interpolation == "nearest":
        return xp.take(w, xp.asarray(np.arange(d * factor) // factor), axis=-1)
    low = np.minimum(at.astype(np.int64), max(d - 2, 0))
    high = np.minimum(low + 1, d - 1)
    part = _like(xp, at - low, w)
    return xp.take(w, xp.asarray(low), axis=-1) * (1 - part) + xp.take(w, xp.asarray(high), axis=-1) * part


def sgconv_kernel(
    weights: Sequence[Any], length: int, *, decay: Any = 2.0, mode: str = "cat", interpolation: str = "linear",
    scale: int = 0, norm: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The kernels [C, H, length] of SGConv from sub-kernels of growing scale (Li et al., arXiv:2210.09298).

    Sub-kernel s of S is resampled by 2^(max(0, s - 1) + scale) ("cat") or 2^(s + scale) ("sum") and multiplied by
    decay^(S - 1 - s); all are concatenated in time, or added from the first tap on. The whole is divided by its L2
    norm over time, then cut or padded to `length`.

    Parameters
    ----------
    weights : sequence of arrays, or one array
        S sub-kernels [C, H, d].
    decay : float or array
        One number, or one per channel [H].
    interpolation : "linear" or "nearest"
        "linear" as in ``torch.nn.functional.interpolate(align_corners=False)``.
    norm : array, optional
        [C, H, 1]: divides instead of the kernel's own. A model keeps that of its first call.

    Returns
    -------
    (kernels, norm)
    """
    if mode not in ("cat", "sum"):
        raise ValueError(f"mode is {said(mode)}; allowed are 'cat' and 'sum'")
    if interpolation not in ("linear", "nearest"):
        raise ValueError(f"interpolation is {said(interpolation)}; allowed are 'linear' and 'nearest'")
    count = len(weights)
    if count < 1 or any(len(w.shape) != 3 or tuple(w.shape) != tuple(weights[0].shape) for w in weights):
        raise ValueError(f"weights have shapes {[tuple(w.shape) for w in weights]}; expected are equal ones, [C, H, d]")
    xp = _namespace(weights[0])
    factor = decay if isinstance(decay, (int, float)) else xp.reshape(decay, (-1, 1))
    parts = []
    for s, w in enumerate(weights):
        times = 2 ** ((max(0, s - 1) if mode == "cat" else s) + scale)
        parts.append(_resampled(xp, w, times, interpolation) * factor ** (count - 1 - s))
    if mode == "cat":
        k = xp.concat(parts, axis=-1)
    else:
        k = sum(_to_length(xp, p, parts[-1].shape[-1]) for p in parts)
    if norm is None:
        norm = xp.sqrt(xp.sum(k * k, axis=-1, keepdims=True))
    return _to_length(xp, k, length) / norm, norm


def _to_length(xp: Any, k: Any, length: int) -> Any:
    if k.shape[-1] >= length:
        return k[..., :length]
    return xp.concat([k, xp.zeros((*k.shape[:-1], length - k.shape[-1]), dtype=k.dtype)], axis=-1)


def hyena_positions(length: int, features: int, *, like: Any = None) -> tuple[Any, Any]:
    """Time t [L] from 0 to 1 and positions z [L, features]: t, cosines and minus sines of (features - 1) / 2 bands.

    As Hyena initialises them (Poli et al., arXiv:2302.10866); checkpoints may hold trained ones.
    """
    import numpy as np

    if features < 3 or features % 2 == 0:
        raise ValueError(f"features is {said(features)}; it must be odd and at least 3")
    bands = (features - 1) // 2
    t = np.linspace(0, 1, length)
    angles = np.outer(
        2 * np.pi * np.arange(length) / length, np.linspace(1e-4, bands - 1, bands) if bands > 1 else 1e-4
    )
    z = np.concatenate([t[:, None], np.cos(angles), -np.sin(angles)], axis=1)
    if like is None:
        return t, z
    xp = _namespace(like)
    return _like(xp, t, like), _like(xp, z, like)


def hyena_filter(
    z: Any, layers: Sequence[tuple[Any, Any]], frequencies: Any, t: Any, deltas: Any, *, shift: float = 0.0
) -> Any:
    """The implicit filters [O, L] of Hyena: an MLP of positions times a decaying window (arXiv:2302.10866).

    ``x -> sin(frequencies (x W^T + b))`` for every layer but the last, which has no sine, times
    ``exp(-t |deltas|) + shift``.

    Parameters
    ----------
    z : array
        [L, features], see `hyena_positions`.
    layers : sequence of (weight, bias)
        [out, in] and [out] or None.
    frequencies : array
        [out] of the inner layers, or [1, out].
    t, deltas : array
        [L] and [O].
    """
    if len(layers) < 2:
        raise ValueError(f"layers has {len(layers)} entries; expected are at least two")
    xp = _namespace(z)
    x = z
    for i, (weight, bias) in enumerate(layers):
        x = xp.matmul(x, xp.permute_dims(weight, (1, 0)))
        x = x if bias is None else x + bias
        if i + 1 < len(layers):
            x = xp.sin(xp.reshape(frequencies, (-1,)) * x)
    window = xp.exp(-xp.reshape(t, (-1, 1)) * xp.abs(xp.reshape(deltas, (1, -1)))) + shift
    return xp.permute_dims(x * window, (1, 0))


def dft_matrix(n: int) -> Any:
    """exp(-2 pi i j k / n), NumPy complex128 [n, n]: what a learned factor of `butterfly_fft` starts from."""
    import numpy as np

    jk = np.outer(np.arange(n), np.arange(n)) % n
    return np.exp(-2j * np.pi * jk / n)


def butterfly_fft(x: Any, factors: Sequence[Any]) -> Any:
    """The transform of rows [..., N] by dense factors of a Cooley-Tukey decomposition (Fu et al., arXiv:2302.06646).

    `factors` are complex matrices [n, n] whose sizes multiply to N; with `dft_matrix` for each, it is ``fft(x)``.
    Learned ones make it another transform of the same cost, 8 N sum(n) flops.
    """
    import numpy as np

    sizes = [f.shape[0] for f in factors]
    if math.prod(sizes) != x.shape[-1] or any(len(f.shape) != 2 or f.shape[0] != f.shape[1] for f in factors):
        raise ValueError(
            f"factors have shapes {[tuple(f.shape) for f in factors]}; expected are squares whose sizes multiply to "
            f"{x.shape[-1]}"
        )
    xp = _namespace(x, *factors)
    first, n = factors[0], x.shape[-1]
    z = x if xp.isdtype(x.dtype, "complex floating") else xp.astype(x, first.dtype)
    if len(factors) == 1:
        return xp.matmul(z, xp.permute_dims(first, (1, 0)))
    rows, columns = sizes[0], n // sizes[0]
    z = xp.matmul(first, xp.reshape(z, (*z.shape[:-1], rows, columns)))
    turn = np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(columns)) / n)
    z = butterfly_fft(z * _like(xp, turn, z), factors[1:])  # [..., k1, k2] of frequency k1 + rows k2
    last = z.ndim
    z = xp.permute_dims(z, (*range(last - 2), last - 1, last - 2))
    return xp.reshape(z, (*z.shape[:-2], n))
