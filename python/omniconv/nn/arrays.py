"""What the definitions of operations share: namespaces, and helpers that the array API lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_jax_array, is_numpy_array, is_torch_array

__all__ = ["by_numpy", "constant", "convolved", "moved", "pair", "take"]


def by_numpy(x: Any) -> bool:
    """Whether omniconv's own functions take x as it is, without a gradient to record."""
    # is_numpy_array looks for gradients of JAX first, which are never floats: a layer would wait for it
    return (type(x) is np.ndarray and x.dtype.kind == "f") or is_numpy_array(x)


def constant(values: Any, like: Any) -> Any:
    """A NumPy array, or nested lists, as an array of the kind, dtype and device of `like`; integers stay integers."""
    values, xp = np.asarray(values), array_namespace(like)
    if values.dtype.kind in "iub":
        return xp.asarray(values, device=device(like))
    return xp.asarray(values, dtype=like.dtype, device=device(like))


def take(x: Any, at: np.ndarray, axis: int) -> Any:
    """X at the indices along an axis."""
    return array_namespace(x).take(x, constant(at.astype(np.int64), x), axis=axis)


def moved(x: Any, source: int, to: int) -> Any:
    """X with one axis moved: a view."""
    axes = [a for a in range(x.ndim) if a != source % x.ndim]
    axes.insert(to % x.ndim, source % x.ndim)
    return array_namespace(x).permute_dims(x, tuple(axes))


def pair(value: Any, count: int = 2) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def convolved(x: Any, weight: Any, bias: Any, options: dict[str, Any], transposed: bool = False) -> Any:
    """The convolution of the framework of weight, with the options of `omniconv.conv` but for the epilogue's."""
    spatial = weight.ndim - 2
    name = f"conv_transpose{spatial}d" if transposed else f"conv{spatial}d"
    if is_torch_array(weight):
        import omniconv.torch as ours
    elif is_jax_array(weight):
        import omniconv.jax as ours
    else:
        import omniconv as ours
    if is_torch_array(weight) and not transposed:
        x, options = _padded(x, weight, options)
    return getattr(ours, name)(x, weight, bias, **options)


def _padded(x: Any, weight: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Do the padding that PyTorch has no word for: x, and what is left of the options."""
    from omniconv.conv_spec import pads
    from omniconv.nn.functional import pad

    padding, spatial = options.get("padding", 0), weight.ndim - 2
    if isinstance(padding, int) or (not isinstance(padding, str) and not isinstance(padding[0], Sequence)):
        return x, options
    stride, dilation = (pair(options.get(name, 1), spatial) for name in ("stride", "dilation"))
    low, high = pads(padding, spatial, tuple(x.shape[2:]), tuple(weight.shape[2:]), stride, dilation)
    x = pad(x, list(zip(low, high, strict=True)), mode=options.get("padding_mode", "zeros"))
    return x, {k: v for k, v in options.items() if k not in ("padding", "padding_mode")}
