"""How far a convolution is from an orthogonal map.

Achour, Malgouyres, Mamalet, "Existence, Stability and Scalability of Orthogonal Convolutional Neural Networks",
arXiv:2108.05623.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

import omniconv
from omniconv.nn.arrays import by_numpy, constant
from omniconv.nn.functional import conv

__all__ = ["conv_singular_values", "l_orth", "l_orth_grad", "self_conv"]


def _padding(weight: Any, stride: int) -> int:
    _, _, high, wide = weight.shape
    if high != wide:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected is [M, C, k, k]")
    if stride < 1:
        raise ValueError(f"stride is {stride}; expected is at least 1")
    return (high - 1) // stride * stride


def self_conv(weight: Any, stride: int = 1) -> Any:
    """The convolution of a kernel [M, C, k, k] with itself, [M, M, p, p]: products of any two filters, shifted."""
    return conv(weight, weight, stride=stride, padding=_padding(weight, stride))


def _rest(weight: Any, stride: int) -> Any:
    """`self_conv` without the identity at its middle."""
    product = self_conv(weight, stride)
    m, _, p, _ = product.shape
    identity = np.zeros((m, m, p, p))
    identity[range(m), range(m), p // 2, p // 2] = 1
    return product - constant(identity, product)


def l_orth(weight: Any, stride: int = 1) -> Any:
    """The regulariser of a kernel [M, C, k, k]: zero exactly where the layer is orthogonal, on images of any size.

    It equals ``|A A^T - I|^2 / n^2``, or ``|A^T A - I|^2 / n^2`` if M > C stride^2, for the matrix A of the layer with
    circular borders and n x n outputs. Differentiable in PyTorch and JAX; for NumPy there is `l_orth_grad`.
    """
    rest, (m, c) = _rest(weight, stride), weight.shape[:2]
    return array_namespace(rest).sum(rest * rest) - max(0, m - c * stride**2)


def l_orth_grad(weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """The gradient of `l_orth` with respect to a NumPy kernel, by two convolutions."""
    if not by_numpy(weight):
        raise TypeError(
            f"weight is a {type(weight).__name__}; expected is a NumPy array: frameworks differentiate l_orth"
        )
    how = {"stride": stride, "padding": _padding(weight, stride)}
    grad = 2 * _rest(weight, stride)
    as_image = omniconv.conv2d_grad_input(grad, weight, weight.shape, **how)
    return as_image + omniconv.conv2d_grad_weight(grad, weight, weight.shape, **how)


def conv_singular_values(weight: Any, size: int, stride: int = 1) -> np.ndarray:
    """All singular values of the layer of a kernel [M, C, k, k] with circular borders, largest first.

    Parameters
    ----------
    size : int
        n of its n x n outputs; inputs are n stride x n stride, and at least as large as the kernel.

    Returns
    -------
    float64 array
        [n^2 min(M, C stride^2)]. Frequencies do not mix but for those that alias under the stride, so it takes a small
        decomposition for each of the n^2 frequencies of the output (Sedghi, Gupta, Long, arXiv:1805.10408).
    """
    kernel, n = np.asarray(weight, dtype=np.float64), size * stride
    _padding(kernel, stride)
    m, c, k, _ = kernel.shape
    if k > n:
        raise ValueError(f"size is {size}: inputs of {n} x {n} are smaller than the kernel, {k} x {k}")
    response = np.fft.fft2(kernel, (n, n))
    response = response.reshape(m, c, stride, size, stride, size).transpose(3, 5, 0, 1, 2, 4)
    values = np.linalg.svd(response.reshape(size, size, m, -1) / stride, compute_uv=False)
    return np.sort(values.ravel())[::-1]
