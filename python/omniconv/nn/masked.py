"""Operations on images of which some cells are hidden: what is hidden is not looked at, and results are zero there.

Definitions over the array API, differentiable in PyTorch and JAX. A mask is [N, rows, columns] or
[N, 1, rows, columns], not 0 for cells that are seen; its sizes divide those of every image. Source: K. Tian et al.,
"Designing BERT for convolutional networks: sparse and hierarchical masked modeling", arXiv:2301.03580.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace, is_jax_array, is_torch_array

from omniconv import sparse
from omniconv.nn import functional as F
from omniconv.nn.arrays import by_numpy, moved
from omniconv.nn.pooling import avg_pool, max_pool

__all__ = [
    "hidden",
    "masked_avg_pool",
    "masked_batch_norm",
    "masked_conv2d",
    "masked_layer_norm",
    "masked_max_pool",
    "on_seen_pixels",
    "seen_pixels",
]


def seen_pixels(mask: Any, like: Any) -> Any:
    """Booleans [N, 1, H, W] for images `like` [N, C, H, W]."""
    xp = array_namespace(like)
    mask = mask if mask.ndim == 3 else mask[:, 0]
    sizes = [n // m for n, m in zip(like.shape[2:], mask.shape[1:], strict=True)]
    if any(m * s != n for m, s, n in zip(mask.shape[1:], sizes, like.shape[2:], strict=True)):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, which does not divide the images' {tuple(like.shape)}")
    return xp.repeat(xp.repeat(mask != 0, sizes[0], axis=1), sizes[1], axis=2)[:, None]


def masked_conv2d(x: Any, weight: Any, mask: Any, bias: Any = None, **options: Any) -> Any:
    """`omniconv.sparse.masked_conv2d` of the framework of x, with its epilogue; in JAX dense, between masks."""
    if by_numpy(x) and by_numpy(weight):
        return sparse.masked_conv2d(x, weight, mask, bias, **options)
    xp = array_namespace(x)
    epilogue = {n: options.pop(n, None) for n in ("scale", "residual", "activation")}
    if is_torch_array(x):
        from omniconv.torch import masked_conv2d as ours

        options = {n: v for n, v in options.items() if v != "zeros"}  # the one padding mode that it has
        y = ours(x, weight, mask, None, **options)
    else:
        y = F.conv(xp.where(seen_pixels(mask, x), x, 0), weight, **options)
    lead = (-1, 1, 1)
    y = y if epilogue["scale"] is None else y * xp.reshape(epilogue["scale"], lead)
    y = y if bias is None else y + xp.reshape(bias, lead)
    y = y if epilogue["residual"] is None else y + epilogue["residual"]
    return hidden(F.activation(y, epilogue["activation"]), mask)


def hidden(x: Any, mask: Any) -> Any:
    """X with zeros in the cells that are hidden."""
    xp = array_namespace(x)
    return xp.where(seen_pixels(mask, x), x, xp.zeros_like(x[:1, :1, :1, :1]))


def on_seen_pixels(function: Any, y: Any, x: Any, mask: Any) -> Any:
    """``function(rows of y, rows of x)`` of the pixels that are seen of y and x [N, H, W, C]; x elsewhere."""
    seen = seen_pixels(mask, moved(x, -1, 1))[:, 0]
    if is_jax_array(x):  # shapes must not depend on values
        return array_namespace(x).where(seen[..., None], function(y, x), x)
    rows = function(y[seen], x[seen])
    out = x.clone() if is_torch_array(x) else x.copy()
    out[seen] = rows
    return out


def masked_max_pool(x: Any, mask: Any, kernel: Any, stride: Any = None, padding: Any = 0) -> Any:
    """The largest of what is seen in each window; 0 where that is nothing."""
    xp = array_namespace(x)
    low = xp.zeros_like(x[:1, :1, :1, :1]) - float("inf")
    y = max_pool(xp.where(seen_pixels(mask, x), x, low), kernel, stride, padding)
    return hidden(xp.where(xp.isinf(y) & (y < 0), xp.zeros_like(y), y), mask)


def masked_avg_pool(x: Any, mask: Any, kernel: Any, stride: Any = None, padding: Any = 0) -> Any:
    """The mean of what is seen in each window; 0 where that is nothing."""
    xp = array_namespace(x)
    part = avg_pool(xp.astype(seen_pixels(mask, x), x.dtype), kernel, stride, padding)
    y = avg_pool(hidden(x, mask), kernel, stride, padding)
    return hidden(xp.where(part > 0, y / xp.where(part > 0, part, xp.ones_like(part)), xp.zeros_like(y)), mask)


def masked_batch_norm(
    x: Any, mask: Any, weight: Any = None, bias: Any = None, *, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """Batch normalisation by the statistics of what is seen: (y, mean [C], variance [C]), the variance a biased one."""
    xp = array_namespace(x)
    seen = xp.astype(seen_pixels(mask, x), x.dtype)
    count = xp.sum(seen)
    clean = hidden(x, mask)
    mean = xp.sum(clean, axis=(0, 2, 3), keepdims=True) / count
    centred = (clean - mean) * seen
    variance = xp.sum(centred * centred, axis=(0, 2, 3), keepdims=True) / count
    y = centred / xp.sqrt(variance + eps)
    lead = (-1, 1, 1)
    y = y if weight is None else y * xp.reshape(weight, lead)
    y = y if bias is None else hidden(y + xp.reshape(bias, lead), mask)
    return y, xp.reshape(mean, (-1,)), xp.reshape(variance, (-1,))


def masked_layer_norm(x: Any, mask: Any, weight: Any = None, bias: Any = None, *, eps: float = 1e-6) -> Any:
    """Layer normalisation along the channels at each pixel that is seen."""
    return hidden(F.layer_norm(hidden(x, mask), weight, bias, axis=1, eps=eps), mask)
