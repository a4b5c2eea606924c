"""Dense convolution: forward, transposed, gradients, algorithms and plans.

All convolutions are cross-correlations, as in PyTorch and JAX, over 1 to 3 spatial axes:

    y[n, co, o] = activation(scale[co] * sum(w[co, ci, k] * x[n, ci, o * stride + k * dilation - padding])
                             + bias[co] + residual[n, co, o])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from omniconv import _core
from omniconv.array import Described, check_out, describe, empty, export, finish, permuted, plain_dtype
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
    shape_of,
    spec_of,
)  # fmt: skip
from omniconv.device import CPU, current_stream, scratch
from omniconv.memory import reused

__all__ = [
    "Algorithm",
    "ConvPlan",
    "algorithms",
    "conv",
    "conv1d",
    "conv1d_grad_input",
    "conv1d_grad_weight",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv3d",
    "conv3d_grad_input",
    "conv3d_grad_weight",
    "conv_grad_bias",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "plan_conv1d",
    "plan_conv2d",
    "plan_conv3d",
]  # fmt: skip


class Algorithm(NamedTuple):
    """What one algorithm says about a problem."""

    name: str
    usable: bool
    reason: str  #: why not, when not usable
    workspace_bytes: int
    cost: float  #: predicted seconds; for comparing algorithms, not a forecast
    measured: float = 0.0  #: seconds, where `omniconv.tuning` has measured them; 0: it has not


# ---- running -------------------------------------------------------------------------------------------------------


def _first(shape: Sequence[int]) -> tuple[int, ...]:
    """[N, C, *spatial] of [N, *spatial, C]."""
    return (shape[0], shape[-1], *shape[1:-1]) if len(shape) > 2 else tuple(shape)


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    """[N, *spatial, C] of [N, C, *spatial]."""
    return (shape[0], *shape[2:], shape[1])


def _run(
    plan: _core.ConvPlan,
    like: Described,
    a: Any,
    b: Any,
    *,
    name: str = "x",
    last: bool = False,
    out: Any = None,
    bias: Any = None,
    scale: Any = None,
    residual: Any = None,
    weight_shaped: bool = False,
) -> Any:
    """Run a plan; the result is `out`, or a new array of the kind and memory layout of `like`, which describes `a`."""
    expected = tuple(plan.input_shape)
    if (_first(like.shape) if last else like.shape) != expected:  # before memory is taken for a result of any size
        raise ValueError(f"{name} has shape {like.shape}; expected is {_last(expected) if last else expected}")
    if out is not None:
        check_out(out)
        result = out
    else:
        result = empty(like, tuple(plan.output_shape), not weight_shaped and (like.result_last or last))
        if last and not weight_shaped:
            result = permuted(result)
    small = [None if v is None else export(v, n) for n, v in (("bias", bias), ("scale", scale), ("residual", residual))]
    room = scratch(like.kind, like.device, 0 if like.device == CPU else plan.workspace_bytes)
    stream = current_stream(like.kind, like.device)
    plan.run(a, b, export(result, "out"), *small, last, stream=stream, workspace=room)
    return out if out is not None else finish(like, result)


def _same_dtype(array: Described, name: str, like: Described, other: str) -> None:
    if array.dtype != like.dtype:
        raise TypeError(f"{name} has dtype {array.dtype} and {other} has {like.dtype}; they must be the same")


def _spatial_of(weight: Described, spatial: int | None) -> int:
    if spatial is not None:
        return spatial
    if not 3 <= len(weight.shape) <= 5:
        raise ValueError(f"weight has {len(weight.shape)} dimensions, shape {weight.shape}; allowed are 3, 4 and 5")
    return len(weight.shape) - 2


def _forward(
    spatial: int | None,
    x: Any,
    weight: Any,
    *,
    layout: str | None = None,
    out: Any = None,
    bias: Any = None,
    scale: Any = None,
    residual: Any = None,
    **options: Any,
) -> Any:
    like, w = describe(x, "x"), describe(weight, "weight")
    spatial, last = _spatial_of(w, spatial), layout_is_last(layout)
    check_rank(like.shape, spatial, "x", X_ORDER)
    check_rank(w.shape, spatial, "weight", W_ORDER)
    _same_dtype(w, "weight", like, "x")
    shape = _first(like.shape) if last else like.shape
    spec = spec_of(
        "forward", like.dtype, shape, w.shape, channels_last=last or like.channels_last, device=like.device, **options
    )
    x, weight = export(x, "x"), export(weight, "weight")
    return _run(plan_of(spec), like, x, weight, last=last, out=out, bias=bias, scale=scale, residual=residual)


def _grad_input(
    spatial: int,
    grad: Any,
    weight: Any,
    input_shape: Sequence[int],
    *,
    layout: str | None = None,
    out: Any = None,
    bias: Any = None,
    scale: Any = None,
    residual: Any = None,
    name: str = "grad",
    **options: Any,
) -> Any:
    like, w = describe(grad, name), describe(weight, "weight")
    last = layout_is_last(layout)
    check_rank(like.shape, spatial, name, X_ORDER)
    check_rank(w.shape, spatial, "weight", W_ORDER)
    _same_dtype(w, "weight", like, name)
    shape = shape_of(input_shape, "input_shape")
    check_rank(shape, spatial, "input_shape", X_ORDER)
    shape = _first(shape) if last else shape
    spec = spec_of(
        "grad_input",
        like.dtype,
        shape,
        w.shape,
        channels_last=last or like.channels_last,
        device=like.device,
        **options,
    )
    grad, weight = export(grad, name), export(weight, "weight")
    extra = {"bias": bias, "scale": scale, "residual": residual}
    return _run(plan_of(spec), like, grad, weight, name=name, last=last, out=out, **extra)


def _grad_weight(
    spatial: int,
    grad: Any,
    x: Any,
    kernel: Ints,
    *,
    groups: int = 1,
    layout: str | None = None,
    out: Any = None,
    **options: Any,
) -> Any:
    like, xd = describe(grad, "grad"), describe(x, "x")
    last = layout_is_last(layout)
    check_rank(like.shape, spatial, "grad", X_ORDER)
    check_rank(xd.shape, spatial, "x", X_ORDER)
    _same_dtype(xd, "x", like, "grad")
    grad_shape, x_shape = (_first(s) if last else s for s in (like.shape, xd.shape))
    if isinstance(kernel, Sequence) and len(kernel) == spatial + 2:
        w_shape = shape_of(kernel, "weight_shape")
    else:
        size = per_axis(kernel, "kernel_size", spatial, 1)
        groups = per_axis(groups, "groups", 1, 1)[0]
        w_shape = (grad_shape[1], x_shape[1] // groups, *size)
    spec = spec_of(
        "grad_weight",
        like.dtype,
        x_shape,
        w_shape,
        groups=groups,
        channels_last=last or xd.channels_last,
        device=like.device,
        **options,
    )
    grad, x = export(grad, "grad"), export(x, "x")
    return _run(plan_of(spec), like, grad, x, name="grad", last=last, out=out, weight_shaped=True)


# ---- forward -------------------------------------------------------------------------------------------------------


def _conv(spatial: int | None) -> Callable[..., Any]:
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
        activation: str | None = None,
        residual: Any = None,
        scale: Any = None,
        precision: str = "highest",
        algorithm: str = "auto",
        layout: str | None = None,
        out: Any = None,
        negative_slope: float = 0.01,
    ) -> Any:
        """Convolve x with weight: {what}.

        Parameters
        ----------
        x : array, float32 or float64
            Input [N, Ci, *spatial] in any memory layout; with ``layout="NHWC"`` its shape is [N, *spatial, Ci].
        weight : array
            [Co, Ci / groups, *kernel], whatever the layout of x.
        bias, scale : array, optional
            [Co]: the result is ``activation(scale * sum + bias + residual)``.
        stride, dilation : int or sequence of int
            Per spatial axis.
        padding : int, sequence of int, sequence of (low, high), "same", "valid" or "causal"
            "same" gives ceil(size / stride) outputs, an odd element of padding at the high end; "causal" pads
            the low end alone, so that no output sees a later input.
        padding_mode : "zeros", "reflect", "replicate" or "circular"
        groups : int
        activation : str, optional
            "relu", "relu6", "leaky_relu", "silu", "gelu", "gelu_tanh", "quick_gelu", "hardswish", "sigmoid", "tanh".
        residual : array, optional
            Shape of the output; added before the activation.
        precision : "highest", "high", "medium" or "dfp16"
            A promise about the relative L2 error against float64: 1e-6, 2e-5, that of bfloat16 products. "dfp16", for
            float32: operands rounded to 15 bits with shared exponents (one for each image of x or grad, one for
            weight; one each for the gradient of weight), sums exact in integers; about 1e-4 on normal data.
        algorithm : str
            "auto", or a name that `omniconv.algorithms` lists.
        workspace_limit : int, optional
            Bytes of scratch memory that the algorithm may take, on the CPU. What "auto" takes then depends on the batch
            and the number of threads too.
        layout : str, optional
            "NCHW" or "NHWC": order of the axes in x, residual, out and the result.
        out : array, optional
            Written to and returned; must not overlap an input.
        negative_slope : float
            Of "leaky_relu".

        Returns
        -------
        array
            [N, Co, *out] of the kind, dtype and memory layout of x.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            Naming the argument, what was found and what is allowed; NotImplementedError carries the reason for
            which the named algorithm declined.
        """
        return _forward(
            spatial, x, weight, layout=layout, out=out, bias=bias, scale=scale, residual=residual, stride=stride,
            padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups, activation=activation,
            precision=precision, algorithm=algorithm, negative_slope=negative_slope,
        )  # fmt: skip

    name = "conv" if spatial is None else f"conv{spatial}d"
    return _named(conv, name, "1 to 3 spatial axes, as weight has" if spatial is None else f"{spatial} spatial axes")


def _named(function: Callable[..., Any], name: str, what: str) -> Callable[..., Any]:
    """One text serves three ranks: the name and the words of the docstring that differ."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (function.__doc__ or "").replace("{what}", what)
    return function


conv = _conv(None)
conv1d = _conv(1)
conv2d = _conv(2)
conv3d = _conv(3)


def _conv_transpose(spatial: int) -> Callable[..., Any]:
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
        activation: str | None = None,
        residual: Any = None,
        scale: Any = None,
        precision: str = "highest",
        algorithm: str = "auto",
        layout: str | None = None,
        out: Any = None,
        negative_slope: float = 0.01,
    ) -> Any:
        """Transposed convolution over {what}: the gradient of a convolution with respect to its input.

        Parameters
        ----------
        x : array, float32 or float64
            Input [N, Ci, *spatial]; with ``layout="NHWC"`` its shape is [N, *spatial, Ci].
        weight : array
            [Ci, Co / groups, *kernel], as in PyTorch.
        padding : int, sequence of int or of (low, high)
            Removed from both ends of the output.
        output_padding : int or sequence of int
            Added at the high end of the output; smaller than stride or dilation.

        The other parameters, results and errors are those of `omniconv.conv`. The output has
        (size - 1) * stride - low - high + dilation * (kernel - 1) + output_padding + 1 elements per axis.
        """
        xd, w = describe(x, "x"), describe(weight, "weight")
        check_rank(xd.shape, spatial, "x", X_ORDER)
        check_rank(w.shape, spatial, "weight", "input channels, output channels / groups, kernel")
        shape = _first(xd.shape) if layout_is_last(layout) else xd.shape
        output = transposed_shape(shape, w.shape, stride, padding, output_padding, dilation, groups)
        if layout_is_last(layout):
            output = (output[0], *output[2:], output[1])
        return _grad_input(
            spatial, x, weight, output, layout=layout, out=out, bias=bias, scale=scale, residual=residual,
            stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation,
            precision=precision, algorithm=algorithm, negative_slope=negative_slope,
            output_padding=per_axis(output_padding, "output_padding", spatial, 0), name="x",
        )  # fmt: skip

    return _named(conv_transpose, f"conv_transpose{spatial}d", f"{spatial} spatial axes")


def transposed_shape(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Ints,
    padding: Any,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
) -> tuple[int, ...]:
    """[N, Co, *out] of a transposed convolution; x_shape is [N, Ci, *spatial], w_shape [Ci, Co / groups, *kernel]."""
    spatial = len(w_shape) - 2
    if isinstance(padding, str):
        raise ValueError(f"padding is {padding!r}; a transposed convolution takes integers or (low, high) pairs")
    if x_shape[1] != w_shape[0]:
        raise ValueError(f"weight of shape {tuple(w_shape)} takes {w_shape[0]} channels; x has {x_shape[1]}")
    spec = spec_of(
        "grad_input", "float32", x_shape, w_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    extra = per_axis(output_padding, "output_padding", spatial, 0)
    sizes = [
        (n - 1) * s - lo - hi + d * (k - 1) + e + 1
        for n, k, s, d, lo, hi, e in zip(
            x_shape[2:], w_shape[2:], spec.stride, spec.dilation, spec.pad_lo, spec.pad_hi, extra, strict=True
        )
    ]
    if min(sizes) < 1:
        raise ValueError(f"padding {padding!r} leaves no output: the sizes would be {tuple(sizes)}")
    return (x_shape[0], w_shape[1] * spec.groups, *sizes)


conv_transpose1d = _conv_transpose(1)
conv_transpose2d = _conv_transpose(2)
conv_transpose3d = _conv_transpose(3)

# ---- gradients -----------------------------------------------------------------------------------------------------


def _conv_grad_input(spatial: int) -> Callable[..., Any]:
    def conv_grad_input(
        grad: Any,
        weight: Any,
        input_shape: Sequence[int],
        *,
        stride: Ints = 1,
        padding: Padding = 0,
        padding_mode: str = "zeros",
        dilation: Ints = 1,
        groups: int = 1,
        precision: str = "highest",
        algorithm: str = "auto",
        layout: str | None = None,
        out: Any = None,
    ) -> Any:
        """Gradient of a convolution over {what} with respect to its input.

        Parameters
        ----------
        grad : array
            Gradient of the output [N, Co, *out].
        weight : array
            [Co, Ci / groups, *kernel].
        input_shape : sequence of int
            Shape of the convolution's x, in the order that `layout` says.

        The other parameters and errors are those of `omniconv.conv`. Returns an array of `input_shape`.
        """
        return _grad_input(
            spatial, grad, weight, input_shape, layout=layout, out=out, stride=stride, padding=padding,
            padding_mode=padding_mode, dilation=dilation, groups=groups, precision=precision, algorithm=algorithm,
        )  # fmt: skip

    return _named(conv_grad_input, f"conv{spatial}d_grad_input", f"{spatial} spatial axes")


def _conv_grad_weight(spatial: int) -> Callable[..., Any]:
    def conv_grad_weight(
        grad: Any,
        x: Any,
        kernel_size_or_weight_shape: Ints,
        *,
        stride: Ints = 1,
        padding: Padding = 0,
        padding_mode: str = "zeros",
        dilation: Ints = 1,
        groups: int = 1,
        precision: str = "highest",
        algorithm: str = "auto",
        layout: str | None = None,
        out: Any = None,
    ) -> Any:
        """Gradient of a convolution over {what} with respect to its weight.

        Parameters
        ----------
        grad : array
            Gradient of the output [N, Co, *out].
        x : array
            Input of the convolution [N, Ci, *spatial].
        kernel_size_or_weight_shape : int, sequence of kernel sizes, or the full shape of the weight

        The other parameters and errors are those of `omniconv.conv`. Returns [Co, Ci / groups, *kernel]; the sum
        over images and pixels has one order for any number of threads.
        """
        return _grad_weight(
            spatial, grad, x, kernel_size_or_weight_shape, layout=layout, out=out, stride=stride, padding=padding,
            padding_mode=padding_mode, dilation=dilation, groups=groups, precision=precision, algorithm=algorithm,
        )  # fmt: skip

    return _named(conv_grad_weight, f"conv{spatial}d_grad_weight", f"{spatial} spatial axes")


def conv_grad_bias(grad: Any, *, layout: str | None = None, out: Any = None) -> Any:
    """Gradient of a convolution with respect to its bias: grad [N, Co, *out] summed to [Co], in float64."""
    like, last = describe(grad, "grad"), layout_is_last(layout)
    if not 3 <= len(like.shape) <= 5:
        raise ValueError(f"grad has {len(like.shape)} dimensions, shape {like.shape}; allowed are 3, 4 and 5")
    if out is not None:
        check_out(out)
    result = empty(like, (like.shape[-1 if last else 1],), False) if out is None else out
    _core.conv_grad_bias(export(grad, "grad"), export(result, "out"), last, current_stream(like.kind, like.device))
    return out if out is not None else finish(like, result)


conv1d_grad_input = _conv_grad_input(1)
conv2d_grad_input = _conv_grad_input(2)
conv3d_grad_input = _conv_grad_input(3)
conv1d_grad_weight = _conv_grad_weight(1)
conv2d_grad_weight = _conv_grad_weight(2)
conv3d_grad_weight = _conv_grad_weight(3)

# ---- plans ---------------------------------------------------------------------------------------------------------


def algorithms(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    op: str = "forward",
    dtype: str = "float32",
    layout: str | None = None,
    device: str = "cpu",
    **options: Any,
) -> list[Algorithm]:
    """Every algorithm for a problem, the one that "auto" takes first, with the reasons of those that decline.

    Parameters
    ----------
    x_shape, w_shape : sequence of int
        Shapes of the convolution's x, in the order that `layout` says, and weight.
    op : "forward", "grad_input" or "grad_weight"
    dtype : "float32" or "float64"
    device : "cpu" or "cuda:<index>"
        Where the arrays are.
    **options
        stride, padding, padding_mode, dilation, groups, precision, workspace_limit, as in `omniconv.conv`.
    """
    problem = _problem(x_shape, w_shape, op, dtype, layout, device, options)
    return [Algorithm(*row) for row in _core.conv_algorithms(problem.desc())]


def _problem(
    x_shape: Sequence[int], w_shape: Sequence[int], op: str, dtype: Any, layout: str | None, device: str, options: dict
) -> Spec:
    """A problem from the shapes alone."""
    last = layout_is_last(layout)
    w = shape_of(w_shape, "w_shape")
    if not 3 <= len(w) <= 5:
        raise ValueError(f"w_shape is {w}; expected are 3, 4 or 5 sizes: {W_ORDER}")
    x = shape_of(x_shape, "x_shape")
    check_rank(x, len(w) - 2, "x_shape", X_ORDER)
    dtype = getattr(dtype, "name", dtype)  # of a NumPy dtype
    return spec_of(op, dtype, _first(x) if last else x, w, channels_last=last, device=device, **options)


def channel_values(array: Any, name: str, spec: Spec) -> Any:
    """A copy of an array that has one value for each output channel."""
    if array is None:
        return None
    found = describe(array, name)
    if found.dtype != spec.dtype:
        raise TypeError(f"{name} has dtype {found.dtype} and weight has {spec.dtype}; they must be the same")
    if found.shape != spec.w_shape[:1]:
        raise ValueError(f"{name} has shape {found.shape}; expected is {spec.w_shape[:1]}")
    if found.device != CPU:
        return array.detach().clone() if found.kind == "torch" else array.copy()
    import numpy as np

    return np.asarray(export(array, name)).copy()


class PackedPlan:
    """What plans that keep packed weights say of themselves."""

    _plan: Any

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory of one call with the current number of threads."""
        return self._plan.workspace_bytes

    @property
    def packed_bytes(self) -> int:
        """Memory that the packed weights take."""
        return self._plan.packed_bytes

    @property
    def flops(self) -> float:
        """Floating point operations of one call, two per multiply-add."""
        return self._plan.flops


class ConvPlan(PackedPlan):
    """A convolution with its algorithm chosen and its weights packed: ``plan(x)`` runs it.

    Immutable and safe to call from several threads. Made by `omniconv.plan_conv1d`, `plan_conv2d`, `plan_conv3d`.
    """

    def __init__(self, spec: Spec, weight: Any, bias: Any, scale: Any, last: bool) -> None:
        self._spec, self._last = spec, last
        self._bias, self._scale = (channel_values(v, n, spec) for v, n in ((bias, "bias"), (scale, "scale")))
        self._plan = _core.ConvPlan(spec.desc())
        like = describe(weight, "weight")
        self._plan.pack(export(weight, "weight"), current_stream(like.kind, like.device))
        shapes = tuple(self._plan.input_shape), tuple(self._plan.output_shape)
        self._shapes = tuple(_last(s) for s in shapes) if last else shapes
        inner, spatial = spec.channels_last and not last, len(spec.x_shape) - 2
        self._inner_shape = _last(shapes[1]) if inner else self._shapes[1]
        self._inner_axes = (0, spatial + 1, *range(1, spatial + 1)) if inner else None

    def again(self, x: Any, residual: Any = None, out: Any = None) -> Any:
        """`__call__`, where a NumPy array with the shape, strides and dtype of x went through it before."""
        y = reused(self._inner_shape, x.dtype) if out is None else out
        y = y if self._inner_axes is None or out is not None else y.transpose(self._inner_axes)
        if residual is not None and not (type(residual) is type(y) and residual.strides == y.strides):
            residual = export(residual, "residual")
        self._plan.run(x, None, y, self._bias, self._scale, residual, self._last)
        return y

    def __call__(self, x: Any, *, residual: Any = None, out: Any = None) -> Any:
        """Convolve x, of the shape the plan was made for; see `omniconv.conv`."""
        if (
            out is None
            and plain_dtype(x) == self._spec.dtype
            and x.shape == self._shapes[0]
            and self._spec.device == CPU
            and (residual is None or plain_dtype(residual))
        ):
            result = reused(self._shapes[1], x.dtype)
            self._plan.run(x, None, result, self._bias, self._scale, residual, self._last)
            return result
        like = describe(x, "x")
        x = export(x, "x")
        return _run(
            self._plan, like, x, None, last=self._last, out=out, bias=self._bias, scale=self._scale, residual=residual
        )

    @property
    def algorithm(self) -> str:
        """Name of the algorithm that runs."""
        return self._plan.algorithm

    def explain(self) -> str:
        """The problem, and what every algorithm says about it."""
        return self._plan.explain()

    def __repr__(self) -> str:
        return f"<omniconv.ConvPlan {self.algorithm} x {self._spec.x_shape} weight {self._spec.w_shape}>"


def _plan_conv(spatial: int) -> Callable[..., ConvPlan]:
    def plan_conv(
        x_shape: Sequence[int],
        weight: Any,
        bias: Any = None,
        *,
        scale: Any = None,
        layout: str | None = None,
        channels_last: bool = False,
        **options: Any,
    ) -> ConvPlan:
        """Plan a convolution over {what}.

        Parameters
        ----------
        x_shape : sequence of int
            Shape of the x to come, in the order that `layout` says.
        weight, bias, scale : array
            As in `omniconv.conv`; they are packed and copied now, later changes to the arrays are not seen.
        channels_last : bool
            Whether the x to come has its channels innermost in memory although its shape is [N, C, *spatial].
        **options
            stride, padding, padding_mode, dilation, groups, activation, negative_slope, precision, algorithm,
            workspace_limit.
        """
        w, last, x = describe(weight, "weight"), layout_is_last(layout), shape_of(x_shape, "x_shape")
        check_rank(x, spatial, "x_shape", X_ORDER)
        check_rank(w.shape, spatial, "weight", W_ORDER)
        shape = _first(x) if last else x
        spec = spec_of(
            "forward", w.dtype, shape, w.shape, channels_last=last or channels_last, device=w.device, **options
        )
        return ConvPlan(spec, weight, bias, scale, last)

    return _named(plan_conv, f"plan_conv{spatial}d", f"{spatial} spatial axes")


plan_conv1d = _plan_conv(1)
plan_conv2d = _plan_conv(2)
plan_conv3d = _plan_conv(3)
