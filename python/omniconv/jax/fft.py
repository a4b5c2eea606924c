"""Long convolutions for JAX.

One primitive, linear in each operand, whose transposes are itself with another op:

    forward(v, k)   transposed in v  adjoint(ct, k)   in k  kernel(v, ct)
    adjoint(g, k)   transposed in g  forward(ct, k)   in k  kernel(ct, g)
    kernel(v, g)    transposed in v  adjoint(g, ct)   in g  forward(v, ct)

Gates, skip, bias and activation are left to XLA, which fuses them with what is around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching

from omniconv import fft as _fft
from omniconv.array import FLOATS
from omniconv.fft2d import conv2d_by_rows
from omniconv.halves import is_half, widened
from omniconv.jax.host import host_primitive

__all__ = ["fft_conv", "fft_conv2d"]


def _shape(a: Sequence[int], b: Sequence[int], *, op: str, mode: str, length: int, taps: int, **how: Any) -> tuple:
    per_sample = how["per_sample"]
    if op == "kernel":
        return (*(b[:-1] if per_sample else b[1:-1]), taps)
    wide = len(b) == 3 and not per_sample
    if op == "adjoint":
        return (a[0], *a[2 if wide else 1 : -1], length)
    outputs = _fft.plan_of("float32", mode, length, taps, 0, how["algorithm"]).output_length
    return (a[0], *(b[:1] if wide else ()), a[1], outputs)


def _run(a: np.ndarray, b: np.ndarray, **how: Any) -> np.ndarray:
    return _fft.linear(how.pop("op"), a, b, **how)


_p = host_primitive("omniconv_fft_conv", _run, _shape)


def _bind(op: str, a: Any, b: Any, how: dict[str, Any]) -> Any:
    return _p.bind(a, b, op=op, **how)


def _transpose_a(ct: Any, a: Any, b: Any, *, op: str, **how: Any) -> Any:
    if op == "forward":
        return _bind("adjoint", ct, b, how)
    return _bind("forward", ct, b, how) if op == "adjoint" else _bind("adjoint", b, ct, how)


def _transpose_b(ct: Any, a: Any, b: Any, *, op: str, **how: Any) -> Any:
    if op == "forward":
        return _bind("kernel", a, ct, how)
    return _bind("kernel", ct, a, how) if op == "adjoint" else _bind("forward", a, ct, how)


def _batch(operands: Sequence[Any], axes: Sequence[int | None], **params: Any) -> tuple[Any, int]:
    a, b = (x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True))
    mapped = tuple(x for x, axis in zip((a, b), axes, strict=True) if axis is not None)

    def one(slices: tuple) -> Any:
        rest = iter(slices)
        return _p.bind(*(x if axis is None else next(rest) for x, axis in zip((a, b), axes, strict=True)), **params)

    return jax.lax.map(one, mapped), 0


ad.defbilinear(_p, _transpose_a, _transpose_b)
batching.primitive_batchers[_p] = _batch

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": jax.nn.relu, "relu6": jax.nn.relu6, "silu": jax.nn.silu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False), "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x), "hardswish": jax.nn.hard_swish,
}  # fmt: skip


def fft_conv(
    u: Any,
    k: Any,
    *,
    mode: str = "causal",
    pre_gate: Any = None,
    post_gate: Any = None,
    skip: Any = None,
    bias: Any = None,
    activation: str | None = None,
    k_rev: Any = None,
    per_sample: bool = False,
    layout: str = "BHL",
    algorithm: str = "auto",
    frequency_keep: float | None = None,
) -> jax.Array:
    """`omniconv.fft_conv` for jit, grad, jvp and vmap, of any order; see there for shapes.

    Where u is float16 or bfloat16, all are widened to float32 and the result is rounded to the dtype of u.
    k_rev needs mode "causal" or "circular" here. There is no KernelSpectrum: under jit a kernel is an operand.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was found and what is allowed; under ``jax.jit`` while tracing.
    """
    arrays = {"u": u, "k": k, "pre_gate": pre_gate, "post_gate": post_gate, "skip": skip, "bias": bias, "k_rev": k_rev}
    narrow = jnp.asarray(u).dtype if is_half(u) else None
    for name, array in arrays.items():
        if array is None:
            continue
        arrays[name] = array = jnp.asarray(array if narrow is None else widened(array))
        if str(array.dtype) not in FLOATS:
            raise TypeError(f"{name} has dtype {array.dtype}; supported are {' and '.join(FLOATS)}")
        if array.dtype != arrays["u"].dtype:
            raise TypeError(f"{name} has dtype {array.dtype} and u has {arrays['u'].dtype}; they must be the same")
    u, k, pre_gate, post_gate, skip, bias, k_rev = arrays.values()
    blh = _fft._blh(layout)
    _fft._check_words(mode, "highest", algorithm, None)
    if activation is not None and activation not in _ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed are {', '.join(map(repr, _ACTIVATIONS))}")
    if k.ndim not in (2, 3) or (per_sample and k.ndim != 3) or k.shape[-1] < 1:
        raise ValueError(f"k has shape {k.shape}; expected is [H, K], [C, H, K], or [B, H, K] with per_sample=True")
    length = _fft._check_u(_fft.Described("jax", u.shape, str(u.dtype), False), k.shape, per_sample, blh, str(k.dtype))
    if frequency_keep is not None:
        if mode != "causal" or k_rev is not None:
            raise ValueError(f"frequency_keep needs mode 'causal' and no k_rev; mode is {mode!r}")
        k, k_rev = _fft.low_passed(jnp, k, length, frequency_keep)
    if pre_gate is not None and pre_gate.shape != u.shape:
        raise ValueError(f"pre_gate has shape {pre_gate.shape}; expected is {u.shape}")
    v = u if pre_gate is None else u * pre_gate
    v = v.swapaxes(1, 2) if blh else v

    def conv(v: Any, k: Any) -> Any:
        how = {"mode": mode, "length": length, "taps": k.shape[-1], "per_sample": bool(per_sample)}
        return _bind("forward", v, k, how | {"algorithm": algorithm})

    y = conv(v, k)
    if k_rev is not None:
        if mode not in ("causal", "circular"):
            raise ValueError(f"k_rev is given with mode {mode!r}; allowed here are 'causal' and 'circular'")
        if k_rev.shape[:-1] != k.shape[:-1] or k_rev.shape[-1] < 1:
            raise ValueError(f"k_rev has shape {k_rev.shape}; expected is {k.shape[:-1]} and at least one tap")
        y = y + conv(v[..., ::-1], k_rev)[..., ::-1]
    per_channel = k.shape[1:2] if per_sample else k.shape[:-1]
    for name, array in (("skip", skip), ("bias", bias)):
        if array is not None and array.shape != per_channel:
            raise ValueError(f"{name} has shape {array.shape}; expected is {per_channel}")
    if skip is not None:
        if y.shape[-1] != length:
            raise ValueError(f"skip needs as many outputs as inputs; mode {mode!r} has {y.shape[-1]} outputs")
        y = y + skip[..., None] * (v[:, None] if y.ndim == 4 else v)
    if bias is not None:
        y = y + bias[..., None]
    if activation is not None:
        y = _ACTIVATIONS[activation](y)
    y = y.swapaxes(-1, -2) if blh else y
    if post_gate is not None and post_gate.shape != y.shape:
        raise ValueError(f"post_gate has shape {post_gate.shape}; expected is {y.shape}")
    y = y if post_gate is None else y * post_gate
    return y if narrow is None else y.astype(narrow)


def fft_conv2d(
    x: jax.Array, weight: jax.Array, bias: jax.Array | None = None, *, padding: Any = "same",
    padding_mode: Any = "zeros", groups: int | None = None,
) -> jax.Array:  # fmt: skip
    """`omniconv.fft_conv2d` with gradients for every array."""
    x, weight, bias = (None if a is None else jnp.asarray(a) for a in (x, weight, bias))
    return conv2d_by_rows(jnp, fft_conv, x, weight, bias, padding, padding_mode, groups)
