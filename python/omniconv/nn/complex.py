"""Operations on complex maps: true convolutions, and the norms and activations of complex-valued networks.

Complex arrays go in and come out; products are real ones of the library. Formulas are those of Trabelsi et al., "Deep
Complex Networks", arXiv:1705.09792, as the public package pytorch-complex has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from omniconv.nn import functional as F
from omniconv.nn.functional import _per_channel
from omniconv.nn.pooling import avg_pool as _avg_pool
from omniconv.nn.pooling import max_pool as _max_pool

__all__ = ["avg_pool", "batch_norm", "conv", "conv_transpose", "crelu", "join", "linear", "max_pool", "modrelu",
           "naive_batch_norm", "zrelu"]  # fmt: skip


def join(re: Any, im: Any) -> Any:
    """``re + 1j im``."""
    if isinstance(re, np.ndarray):
        z = np.empty(re.shape, dtype=np.result_type(re, np.complex64))
        z.real, z.imag = re, im
        return z
    xp = array_namespace(re)
    return re + 1j * im if not hasattr(xp, "complex") else xp.complex(re, im)


def _parts(z: Any) -> tuple[Any, Any]:
    if isinstance(z, np.ndarray):
        return np.ascontiguousarray(z.real), np.ascontiguousarray(z.imag)
    return z.real, z.imag


def _product(x: Any, weight: Any, product: Any) -> Any:
    """A bilinear operation of complex operands by four of real ones: both parts of x are one batch."""
    (a, b), (re, im) = _parts(x), _parts(weight)
    both, n = F.concat([a, b], axis=0), x.shape[0]
    with_re, with_im = product(both, re), product(both, im)
    return join(with_re[:n] - with_im[n:], with_im[:n] + with_re[n:])


def _biased(y: Any, bias: Any, axis: int) -> Any:
    return y if bias is None else y + _per_channel(bias, y.ndim, axis)


def conv(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    """Convolution of complex x [N, Ci, ...] with complex weight, nothing conjugated; options of `omniconv.conv`."""
    return _biased(_product(x, weight, lambda a, w: F.conv(a, w, **options)), bias, 1)


def conv_transpose(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    """Transposed convolution of complex arrays; options of `omniconv.conv_transpose2d`."""
    return _biased(_product(x, weight, lambda a, w: F.conv_transpose(a, w, **options)), bias, 1)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """``x W^T + bias`` for complex rows x [N, Ci] and weight [Co, Ci]."""
    return _biased(_product(x, weight, F.linear), bias, -1)


def batch_norm(x: Any, mean: Any, cov: Any, weight: Any, bias: Any) -> Any:
    """Whiten the two parts of each channel together, then mix them.

    Parameters
    ----------
    x : complex array
        [N, C, ...].
    mean, bias : array
        [2, C], of the real and the imaginary part.
    cov, weight : array
        [2, 2, C]; cov is the covariance of the parts, to which nothing is added: it must be positive definite.
    """
    xp, (re, im) = array_namespace(mean), _parts(x)

    def per(v: Any) -> Any:
        return _per_channel(v, x.ndim)

    s = xp.sqrt(cov[0, 0] * cov[1, 1] - cov[0, 1] * cov[1, 0])
    st = s * xp.sqrt(cov[0, 0] + cov[1, 1] + 2 * s)
    root = [[(cov[1, 1] + s) / st, -cov[0, 1] / st], [-cov[1, 0] / st, (cov[0, 0] + s) / st]]  # cov^-1/2
    re, im = re - per(mean[0]), im - per(mean[1])
    re, im = per(root[0][0]) * re + per(root[1][0]) * im, per(root[0][1]) * re + per(root[1][1]) * im
    return join(
        per(weight[0, 0]) * re + per(weight[0, 1]) * im + per(bias[0]),
        per(weight[1, 0]) * re + per(weight[1, 1]) * im + per(bias[1]),
    )


def naive_batch_norm(x: Any, mean: Any, var: Any, weight: Any, bias: Any, *, eps: float = 1e-5) -> Any:
    """Normalise each part by itself: mean and var are [2, C], weight and bias complex [C], a part for a part."""
    parts = zip(_parts(x), mean, var, _parts(weight), _parts(bias), strict=True)
    return join(*(F.batch_norm(p, m, v, w, b, eps=eps) for p, m, v, w, b in parts))


def crelu(x: Any) -> Any:
    """ReLU of each part."""
    return join(*(F.activation(p, "relu") for p in _parts(x)))


def zrelu(x: Any) -> Any:
    """X where both parts are positive, else 0."""
    re, im = _parts(x)
    xp = array_namespace(re)
    inside = (re > 0) & (im > 0)
    return join(xp.where(inside, re, re * 0), xp.where(inside, im, im * 0))


def modrelu(x: Any, b: Any) -> Any:
    """``relu(|x| + b) x / |x|``, and 0 for 0; b is a number, or an array that broadcasts."""
    re, im = _parts(x)
    xp = array_namespace(re)
    size = xp.sqrt(re * re + im * im)
    factor = F.activation(size + b, "relu") / xp.where(size > 0, size, size * 0 + 1)
    return join(re * factor, im * factor)


def max_pool(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False) -> Any:
    """The largest real and the largest imaginary part of every window, which may be those of different elements."""
    return join(*(_max_pool(p, kernel, stride, padding, ceil_mode=ceil_mode) for p in _parts(x)))


def avg_pool(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, **options: Any) -> Any:
    """The mean of every window; options of `omniconv.nn.avg_pool`."""
    return join(*(_avg_pool(p, kernel, stride, padding, **options) for p in _parts(x)))
