"""Logarithms of the modified Bessel functions, their ratios and derivatives, as SciPy's special functions are called.

Every function takes a real order ``v`` and an argument ``x >= 0``: arrays of any framework that supports DLPack, or
numbers, broadcast against each other. float32 and float64 stay what they are and may not be mixed; integers and Python
numbers become the other argument's dtype, or float64. The result is an array of the caller's kind, a NumPy scalar where
both arguments are scalars. ``out=`` takes an array to write to (of a gradient, a pair of them). Arrays on a CUDA device
are computed there, in the current stream of their framework; all arrays of a call lie on one device.

Accuracy, with eps = 2**-52 (float32: 2**-23): logarithms to 4 eps * max(1, abs(value)), also near their zeros; ratios
to 3 ulp; derivatives to 8 eps * max(1, abs(value)). Values are finite wherever the exact one is representable. NaN
gives NaN, and so does a negative ``x``; a negative ``v`` too, but for ``log_kv`` and ``log_kve``, which are even in
``v``, and for ``log_iv`` and ``log_ive`` of whole ``v``. Limits: I_0(0) = 1, I_v(0) = 0 for v > 0, K_v(0) = inf, and
likewise at infinity; both infinite is NaN.

The method is one uniform expansion for large order or argument (F. W. J. Olver, "Asymptotics and Special Functions",
1974, ch. 10.7; DLMF 10.41), series and quadrature elsewhere; it grew from the region scheme of A. Plesner,
H. H. B. Sorensen and S. Hauberg, "Accurate computation of the logarithm of modified Bessel functions on GPUs" (ICS
2024).
"""

from __future__ import annotations

import numbers
from typing import Any

from . import _core
from .array import Described, check_out, describe, empty, export, finish, np, plain_dtype, said
from .device import CPU, current_stream, handed_over
from .memory import reused

__all__ = [
    "iv_ratio",
    "iv_ratio_dx",
    "iv_ratioc",
    "kv_ratio",
    "log_iv",
    "log_iv_grad",
    "log_ive",
    "log_kv",
    "log_kv_grad",
    "log_kve",
]


def log_iv(v: Any, x: Any, *, out: Any = None) -> Any:
    """Logarithm of I_v(x)."""
    return _evaluate(_core.BesselFunction.log_iv, v, x, out)


def log_kv(v: Any, x: Any, *, out: Any = None) -> Any:
    """Logarithm of K_v(x)."""
    return _evaluate(_core.BesselFunction.log_kv, v, x, out)


def log_ive(v: Any, x: Any, *, out: Any = None) -> Any:
    """Logarithm of I_v(x) exp(-x), without the cancellation of ``log_iv(v, x) - x``."""
    return _evaluate(_core.BesselFunction.log_ive, v, x, out)


def log_kve(v: Any, x: Any, *, out: Any = None) -> Any:
    """Logarithm of K_v(x) exp(x), without the cancellation of ``log_kv(v, x) + x``."""
    return _evaluate(_core.BesselFunction.log_kve, v, x, out)


def iv_ratio(v: Any, x: Any, *, out: Any = None) -> Any:
    """I_{v+1}(x) / I_v(x), from 0 at x = 0 to 1 at infinity: the mean resultant length of von Mises-Fisher."""
    return _evaluate(_core.BesselFunction.iv_ratio, v, x, out)


def iv_ratioc(v: Any, x: Any, *, out: Any = None) -> Any:
    """1 - I_{v+1}(x) / I_v(x), without the cancellation of the difference."""
    return _evaluate(_core.BesselFunction.iv_ratioc, v, x, out)


def kv_ratio(v: Any, x: Any, *, out: Any = None) -> Any:
    """K_{v+1}(x) / K_v(x), for v >= 0."""
    return _evaluate(_core.BesselFunction.kv_ratio, v, x, out)


def iv_ratio_dx(v: Any, x: Any, *, out: Any = None) -> Any:
    """Derivative by x of I_{v+1}(x) / I_v(x), positive and without the cancellation of 1 - r^2 - (2 v + 1) r / x."""
    return _evaluate(_core.BesselFunction.iv_ratio_dx, v, x, out)


def log_iv_grad(v: Any, x: Any, *, out: Any = None) -> tuple[Any, Any]:
    """The derivatives (d/dv, d/dx) of log I_v(x), for v >= 0."""
    return _evaluate_grad(_core.BesselFunction.log_iv_grad, v, x, out)


def log_kv_grad(v: Any, x: Any, *, out: Any = None) -> tuple[Any, Any]:
    """The derivatives (d/dv, d/dx) of log K_v(x), for v >= 0."""
    return _evaluate_grad(_core.BesselFunction.log_kv_grad, v, x, out)


def _is_scalar(value: Any) -> bool:
    """A Python number or a NumPy scalar, but no array of no dimensions."""
    return isinstance(value, (numbers.Real, np.generic)) and not isinstance(value, np.ndarray)


def _operand(value: Any, argument: str) -> tuple[Any, Described | None]:
    """The argument as something with a dtype; no description for a number, which takes the dtype of the other one."""
    if _is_scalar(value):
        if isinstance(value, np.generic) and value.dtype in (np.float32, np.float64):
            return np.asarray(value), None
        if isinstance(value, np.generic) and value.dtype.kind not in "iu":
            raise TypeError(f"{argument} has dtype {value.dtype}; supported are float32, float64 and integers")
        try:
            return float(value), None
        except OverflowError:
            raise ValueError(f"{argument} is {said(value)}, which no float64 holds") from None
    if isinstance(value, (list, tuple)):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise TypeError(f"{argument} is no array: {error}") from None
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        value = value.astype(np.float64)
    return value, describe(value, argument)


def _plain(v: Any, x: Any) -> str | None:
    """The dtype of two NumPy arrays of one shape and dtype that the bindings take as they stand, otherwise None."""
    dtype = plain_dtype(v)
    return dtype if dtype and plain_dtype(x) == dtype and v.shape == x.shape else None


def _operands(v: Any, x: Any) -> tuple[Any, Any, Described, tuple[int, ...], bool]:
    """Both arguments ready for the bindings, what the result is like, its shape, and whether it is a scalar."""
    if (dtype := _plain(v, x)) is not None:
        return v, x, Described("numpy", (), dtype, False), v.shape, False
    (v, v_like), (x, x_like) = _operand(v, "v"), _operand(x, "x")
    likes = [like for like in (v_like, x_like) if like is not None]
    dtypes = (
        {like.dtype for like in likes} or {str(a.dtype) for a in (v, x) if isinstance(a, np.ndarray)} or {"float64"}
    )
    if len(dtypes) > 1:
        raise TypeError(f"v is {v.dtype} and x is {x.dtype}; they must be the same")
    dtype = dtypes.pop()
    kinds = {like.kind for like in likes} - {"numpy"}
    if len(kinds) > 1:
        raise TypeError(f"v is a {v_like.kind} array and x is a {x_like.kind} array; they must be of one kind")
    devices = [like.device for like in likes]
    if len({*devices}) > 1:
        raise ValueError(f"v is on {devices[0]} and x is on {devices[1]}; they must be on one device")
    like = Described(kinds.pop() if kinds else "numpy", (), dtype, False, devices[0] if devices else CPU)
    shapes = [described.shape if described else () for described in (v_like, x_like)]
    try:
        shape = tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        raise ValueError(f"v has shape {shapes[0]} and x has shape {shapes[1]}, which do not broadcast") from None
    return _exported(v, v_like, like, "v"), _exported(x, x_like, like, "x"), like, shape, not likes


def _exported(value: Any, described: Described | None, like: Described, argument: str) -> Any:
    """What the bindings take of an operand; a number becomes an array of one element where the other operand is."""
    if described is None:
        if like.device == CPU:
            return np.full(1, value, dtype=like.dtype)
        one = empty(like, (1,), False)
        one[...] = float(value)
        return handed_over(like.kind, one, like.device)
    return _flat(value, described.shape, like.device, argument)


def _flat(array: Any, shape: tuple[int, ...], device: str, argument: str) -> Any:
    """The array as the bindings take it, where it has no dimensions as one of a single element."""
    if shape or device != CPU:
        return export(array if shape else array.reshape(1), argument)
    return export(array, argument).reshape(1)


def _checked_out(out: Any, like: Described, shape: tuple[int, ...], argument: str) -> Any:
    check_out(out)
    described = describe(out, argument)
    if described.device != like.device:
        raise ValueError(f"{argument} is on {described.device}; expected is {like.device}")
    if described.shape != shape or described.dtype != like.dtype:
        raise ValueError(
            f"{argument} has shape {described.shape} and dtype {described.dtype}; expected are {shape} and {like.dtype}"
        )
    return out


def _call(function: _core.BesselFunction, v: Any, x: Any, like: Described, results: list[Any]) -> None:
    flat = [_flat(r, tuple(r.shape), like.device, "out") for r in results]
    second = flat[1] if len(flat) > 1 else None
    stream = current_stream(like.kind, like.device)
    _core.bessel(function, v, x, flat[0], second, stream)


def _finished(like: Described, result: Any, scalar: bool) -> Any:
    return result[()] if scalar else finish(like, result)


def _evaluate(function: _core.BesselFunction, v: Any, x: Any, out: Any) -> Any:
    if out is None and _plain(v, x):
        result = reused(v.shape, v.dtype)
        _core.bessel(function, v, x, result)
        return result
    v, x, like, shape, scalar = _operands(v, x)
    result = empty(like, shape, False) if out is None else _checked_out(out, like, shape, "out")
    _call(function, v, x, like, [result])
    return _finished(like, result, scalar) if out is None else out


def _evaluate_grad(function: _core.BesselFunction, v: Any, x: Any, out: Any) -> tuple[Any, Any]:
    v, x, like, shape, scalar = _operands(v, x)
    if out is None:
        # Halves of one array: the C library gives two large ones back to the system each time, and the page faults of
        # the next call cost more than the derivatives.
        both = empty(like, (2, *shape), False)
        results = [both[0, ...], both[1, ...]]
    else:
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"out is {said(out)}; expected is a pair of arrays, for d/dv and d/dx")
        results = [_checked_out(o, like, shape, f"out[{i}]") for i, o in enumerate(out)]
    _call(function, v, x, like, results)
    return (_finished(like, results[0], scalar), _finished(like, results[1], scalar)) if out is None else out
