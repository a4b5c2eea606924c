"""Convolutions for JAX.

One primitive serves the convolution and both its gradients. It is linear in each operand and its transposes are itself
with another op, so JAX derives from two rules what it needs for grad, jvp, and both of both:

    forward(x, w)        transposed in x  grad_input(ct, w)      in w  grad_weight(ct, x)
    grad_input(g, w)     transposed in g  forward(ct, w)         in w  grad_weight(g, ct)
    grad_weight(g, x)    transposed in g  forward(x, ct)         in x  grad_input(g, ct)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching

from omniconv import _core
from omniconv.array import FLOATS
from omniconv.conv import transposed_shape
from omniconv.conv_spec import (
    W_ORDER,
    X_ORDER,
    Ints,
    Padding,
    Spec,
    check_rank,
    layout_is_last,
    per_axis,
    plan_of,
    spec_of,
)  # fmt: skip
from omniconv.jax.host import host_primitive

__all__ = ["conv", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


# ---- the primitive -------------------------------------------------------------------------------------------------


def _first(shape: Sequence[int], last: bool) -> tuple[int, ...]:
    """[N, C, *spatial] of a shape that is [N, *spatial, C] if `last`."""
    return (shape[0], shape[-1], *shape[1:-1]) if last else tuple(shape)


def _shape(a: Sequence[int], b: Sequence[int], *, spec: Spec, last: bool) -> tuple[int, ...]:
    shape = plan_of(spec).output_shape  # making the plan finds every fault: while tracing, not inside XLA
    return (shape[0], *shape[2:], shape[1]) if last and spec.op != "grad_weight" else tuple(shape)


def _run(a: np.ndarray, b: np.ndarray, *, spec: Spec, last: bool) -> np.ndarray:
    out = np.empty(_shape(a.shape, b.shape, spec=spec, last=last), a.dtype)
    plan_of(spec).run(a, b, out, None, None, None, last)
    return out


_conv_p = host_primitive("omniconv_conv", _run, _shape)


def _bind(op: str, a: Any, b: Any, spec: Spec, last: bool) -> Any:
    # An algorithm was named for the convolution; its gradients may be beyond it.
    return _conv_p.bind(a, b, spec=spec._replace(op=op, algorithm="auto"), last=last)


def _transpose_a(ct: Any, a: Any, b: Any, *, spec: Spec, last: bool) -> Any:
    if spec.op == "forward":
        return _bind("grad_input", ct, b, spec, last)
    if spec.op == "grad_input":
        return _bind("forward", ct, b, spec, last)
    return _bind("forward", b, ct, spec, last)


def _transpose_b(ct: Any, a: Any, b: Any, *, spec: Spec, last: bool) -> Any:
    if spec.op == "forward":
        return _bind("grad_weight", ct, a, spec, last)
    if spec.op == "grad_input":
        return _bind("grad_weight", a, ct, spec, last)
    return _bind("grad_input", a, ct, spec, last)


def _batch(operands: Sequence[Any], axes: Sequence[int | None], *, spec: Spec, last: bool) -> tuple[Any, int]:
    a, b = (x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True))
    if axes[1] is None and spec.op != "grad_weight":  # the same weights for all: more images
        images = a.shape[0] * a.shape[1]
        wide = spec._replace(x_shape=(images, *spec.x_shape[1:]))
        y = _conv_p.bind(a.reshape(images, *a.shape[2:]), b, spec=wide, last=last)
        return y.reshape(*a.shape[:2], *y.shape[1:]), 0
    mapped = tuple(x for x, axis in zip((a, b), axes, strict=True) if axis is not None)

    def one(slices: tuple) -> Any:
        rest = iter(slices)
        return _conv_p.bind(
            *(x if axis is None else next(rest) for x, axis in zip((a, b), axes, strict=True)), spec=spec, last=last
        )

    return jax.lax.map(one, mapped), 0


ad.defbilinear(_conv_p, _transpose_a, _transpose_b)
batching.primitive_batchers[_conv_p] = _batch

# ---- functions -----------------------------------------------------------------------------------------------------


def _operands(x: Any, weight: Any, bias: Any, spatial: int | None, w_order: str) -> tuple[Any, Any, Any, int]:
    """As JAX arrays of one supported dtype and of fitting ranks, and the number of spatial axes."""
    arrays = {"x": x, "weight": weight, "bias": bias}
    for name, array in arrays.items():
        if array is None:
            continue
        arrays[name] = array = jnp.asarray(array)
        if str(array.dtype) not in FLOATS:
            raise TypeError(f"{name} has dtype {array.dtype}; supported are {' and '.join(FLOATS)}")
        if array.dtype != arrays["x"].dtype:
            raise TypeError(f"{name} has dtype {array.dtype} and x has {arrays['x'].dtype}; they must be the same")
    x, weight, bias = arrays.values()
    if spatial is None and not 3 <= weight.ndim <= 5:
        raise ValueError(f"weight has {weight.ndim} dimensions, shape {weight.shape}; allowed are 3, 4 and 5")
    spatial = weight.ndim - 2 if spatial is None else spatial
    check_rank(x.shape, spatial, "x", X_ORDER)
    check_rank(weight.shape, spatial, "weight", w_order)
    return x, weight, bias, spatial


def _can(spec: Spec) -> Spec:
    """The spec, or the reason why its named algorithm declines: a plan for either layout may decline one in `_run`."""
    for name, usable, reason, *_ in _core.conv_algorithms(spec.desc()):
        if name == spec.algorithm and not usable:
            raise NotImplementedError(f"algorithm '{name}' cannot run this problem: {reason}")
    return spec


def _add_bias(y: Any, bias: Any, last: bool) -> Any:
    if bias is None:
        return y
    channels = y.shape[-1 if last else 1]
    if bias.shape != (channels,):
        raise ValueError(f"bias has shape {bias.shape}; expected is ({channels},)")
    return y + (bias if last else bias.reshape(-1, *(1,) * (y.ndim - 2)))


def _make_conv(spatial: int | None) -> Callable[..., jax.Array]:
    def conv(
        x: Any,
        weight: Any,
        bias: Any = None,
        *,
        stride: Ints = 1,
        padding: Padding = 0,
        padding_mode: str = "zeros",
        dilation: Ints = 1,
        groups: int = 1,
        precision: str = "highest",
        algorithm: str = "auto",
        layout: str | None = None,
    ) -> jax.Array:
        """Convolve x with weight over {what}; see `omniconv.conv`.

        Parameters
        ----------
        x : array, float32 or float64
            [N, Ci, *spatial]; with ``layout="NHWC"`` [N, *spatial, Ci].
        weight : array
            [Co, Ci / groups, *kernel], whatever the layout of x.
        bias : array, optional
            [Co]
        stride, dilation, padding, padding_mode, groups, precision, algorithm, layout
            As in `omniconv.conv`; under ``jax.jit`` they are constants. The derivatives choose their algorithms.

        Returns
        -------
        jax.Array
            [N, Co, *out], or [N, *out, Co] with ``layout="NHWC"``.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            Naming the argument, what was found and what is allowed; under ``jax.jit`` while tracing.
        """
        x, weight, bias, _ = _operands(x, weight, bias, spatial, W_ORDER)
        last = layout_is_last(layout)
        spec = spec_of(
            "forward", str(x.dtype), _first(x.shape, last), weight.shape, stride=stride, padding=padding,
            padding_mode=padding_mode, dilation=dilation, groups=groups, precision=precision, algorithm=algorithm,
            channels_last=last,
        )  # fmt: skip
        return _add_bias(_conv_p.bind(x, weight, spec=_can(spec), last=last), bias, last)

    name = "conv" if spatial is None else f"conv{spatial}d"
    return _named(conv, name, "1 to 3 spatial axes, as weight has" if spatial is None else f"{spatial} spatial axes")


def _make_conv_transpose(spatial: int) -> Callable[..., jax.Array]:
    def conv_transpose(
        x: Any,
        weight: Any,
        bias: Any = None,
        *,
        stride: Ints = 1,
        padding: Ints | Sequence[tuple[int, int]] = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        dilation: Ints = 1,
        precision: str = "highest",
        algorithm: str = "auto",
        layout: str | None = None,
    ) -> jax.Array:
        """Transposed convolution over {what}; see `omniconv.conv_transpose2d`.

        Parameters
        ----------
        x : array, float32 or float64
            [N, Ci, *spatial]; with ``layout="NHWC"`` [N, *spatial, Ci].
        weight : array
            [Ci, Co / groups, *kernel], as in PyTorch.
        bias : array, optional
            [Co]
        padding : int, sequence of int or of (low, high)
            Removed from both ends of the output.
        output_padding : int or sequence of int
            Added at the high end of the output; smaller than stride or dilation.
        stride, dilation, groups, precision, algorithm, layout
            As in `omniconv.conv`.

        Returns
        -------
        jax.Array
            [N, Co, *out], or [N, *out, Co] with ``layout="NHWC"``.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            Naming the argument, what was found and what is allowed; under ``jax.jit`` while tracing.
        """
        x, weight, bias, _ = _operands(x, weight, bias, spatial, "input channels, output channels / groups, kernel")
        last = layout_is_last(layout)
        shape = transposed_shape(_first(x.shape, last), weight.shape, stride, padding, output_padding, dilation, groups)
        spec = spec_of(
            "grad_input", str(x.dtype), shape, weight.shape, stride=stride, padding=padding, dilation=dilation,
            groups=groups, precision=precision, algorithm=algorithm, channels_last=last,
            output_padding=per_axis(output_padding, "output_padding", spatial, 0),
        )  # fmt: skip
        return _add_bias(_conv_p.bind(x, weight, spec=_can(spec), last=last), bias, last)

    return _named(conv_transpose, f"conv_transpose{spatial}d", f"{spatial} spatial axes")


def _named(function: Callable[..., jax.Array], name: str, what: str) -> Callable[..., jax.Array]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (function.__doc__ or "").replace("{what}", what)
    return function


conv = _make_conv(None)
conv1d = _make_conv(1)
conv2d = _make_conv(2)
conv3d = _make_conv(3)
conv_transpose1d = _make_conv_transpose(1)
conv_transpose2d = _make_conv_transpose(2)
conv_transpose3d = _make_conv_transpose(3)
