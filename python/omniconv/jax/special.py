"""The functions of `omniconv.special` for jit, vmap, and derivatives of first order in both arguments.

``v`` and ``x`` are float32 or float64 (numbers take the other's dtype), broadcast against each other; domain, limits
and accuracy are those of `omniconv.special`, the accuracy of derivatives is in docs/special.md. vmap is the same call
on larger arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import batching

from omniconv import special as _special
from omniconv import special_grad
from omniconv.array import FLOATS
from omniconv.jax.host import host_primitive

__all__ = ["iv_ratio", "iv_ratioc", "kv_ratio", "log_iv", "log_ive", "log_kv", "log_kve"]


def _run(v: np.ndarray, x: np.ndarray, *, function: str) -> np.ndarray:
    """The values, [...], or both derivatives, [..., 2]."""
    if not function.endswith(" partials"):
        return np.asarray(getattr(_special, function)(v, x))
    with np.errstate(all="ignore"):  # infinite derivatives at x = 0 are results
        return np.stack(special_grad.partials(function.removesuffix(" partials"), v, x), axis=-1)


def _shape(v: Sequence[int], x: Sequence[int], *, function: str) -> tuple[int, ...]:
    return (*v, 2) if function.endswith(" partials") else tuple(v)


_p = host_primitive("omniconv_bessel", _run, _shape)


def _batch(operands: Sequence[Any], axes: Sequence[int | None], **params: Any) -> tuple[Any, int]:
    size = next(o.shape[a] for o, a in zip(operands, axes, strict=True) if a is not None)
    moved = [
        jnp.broadcast_to(o, (size, *o.shape)) if a is None else jnp.moveaxis(o, a, 0)
        for o, a in zip(operands, axes, strict=True)
    ]
    return _p.bind(*moved, **params), 0


batching.primitive_batchers[_p] = _batch


def _function(name: str, what: str) -> Callable[[Any, Any], jax.Array]:
    @jax.custom_jvp
    def same_shape(v: jax.Array, x: jax.Array) -> jax.Array:
        return _p.bind(v, x, function=name)

    @same_shape.defjvp
    def jvp(primals: tuple, tangents: tuple) -> tuple:
        both = _p.bind(*primals, function=f"{name} partials")
        return same_shape(*primals), both[..., 0] * tangents[0] + both[..., 1] * tangents[1]

    def call(v: Any, x: Any) -> jax.Array:
        v, x = jnp.asarray(v), jnp.asarray(x)
        if v.weak_type or jnp.issubdtype(v.dtype, jnp.integer):
            v = v.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else float)
        if x.weak_type or jnp.issubdtype(x.dtype, jnp.integer):
            x = x.astype(v.dtype)
        for argument, array in (("v", v), ("x", x)):
            if str(array.dtype) not in FLOATS:
                raise TypeError(f"{argument} has dtype {array.dtype}; supported are {' and '.join(FLOATS)}")
        if v.dtype != x.dtype:
            raise TypeError(f"v is {v.dtype} and x is {x.dtype}; they must be the same")
        return same_shape(*jnp.broadcast_arrays(v, x))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = what
    return call


log_iv = _function("log_iv", "Logarithm of I_v(x).")
log_kv = _function("log_kv", "Logarithm of K_v(x).")
log_ive = _function("log_ive", "Logarithm of I_v(x) exp(-x).")
log_kve = _function("log_kve", "Logarithm of K_v(x) exp(x).")
iv_ratio = _function("iv_ratio", "I_{v+1}(x) / I_v(x).")
iv_ratioc = _function("iv_ratioc", "1 - I_{v+1}(x) / I_v(x).")
kv_ratio = _function("kv_ratio", "K_{v+1}(x) / K_v(x).")
