"""INT16 dynamic fixed point: integer tensors that share an exponent, and convolutions with exact sums.

A value is ``mantissa * 2**exponent``, the mantissa an int16 of magnitude at most ``2**bits - 1``, the exponent one for
the tensor or for each index of an axis. Sums of products of mantissas are integers, exact on every instruction set and
for any number of threads; a float32 result is the nearest to its sum.

Das et al., "Mixed Precision Training of Convolutional Neural Networks using Integer Operations", ICLR 2018.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from omniconv import _core
from omniconv.array import export, kind_of, np, said
from omniconv.conv_spec import W_ORDER, X_ORDER, Ints, Padding, check_rank, integer, shape_of, spec_of

__all__ = [
    "Certificate", "DfpTensor", "add", "conv1d", "conv1d_grad_input", "conv1d_grad_weight", "conv2d",
    "conv2d_grad_input", "conv2d_grad_weight", "conv3d", "conv3d_grad_input", "conv3d_grad_weight", "dequantize",
    "explain", "linear", "mul", "quantize", "requantize",
]  # fmt: skip

GRANULARITIES = ("tensor", "image", "channel", "row")
ROUNDINGS = ("nearest_even", "toward_zero", "stochastic")


class DfpTensor(NamedTuple):
    """A tensor in dynamic fixed point: ``mantissa * 2**exponent``.

    `exponent` is int32: of no axis for granularity "tensor", of shape [x.shape[0]] for "image" (of a weight: its
    output channels), [x.shape[1]] for "channel", x.shape[:-1] for "row".
    """

    mantissa: Any  #: int16, dense
    exponent: Any  #: int32
    bits: int = 15  #: |mantissa| <= 2**bits - 1
    granularity: str = "tensor"

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the mantissa."""
        return tuple(self.mantissa.shape)

    def dequantize(self, dtype: str = "float32") -> Any:
        """The values; see `omniconv.dfp16.dequantize`."""
        return dequantize(self, dtype)


class Certificate(NamedTuple):
    """Why no sum overflowed in a convolution, and which way it went."""

    algorithm: (
        str  #: "pairs" (chains of int32), "lines" (depthwise, doubles), "tiles" (a matrix unit), "emulated_tiles"
    )
    digits: bool  #: "pairs" alone: the weights were split into bytes, because 8 terms might have overflowed
    terms: int  #: of the whole sum
    chain: int  #: most terms that one int32 (of "lines": a double) holds the sum of
    bound: float  #: no such sum is larger in magnitude
    certified: bool  #: bound <= 2**31 - 1 (2**53 of "lines")
    next_exponent: int | None  #: with it, a float32 result could be quantised to 15 bits without another look at it


# ---- arrays --------------------------------------------------------------------------------------------------------


def _word(value: Any, name: str, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {said(value)}; allowed are {', '.join(map(repr, allowed))}")
    return value


def _host(array: Any, name: str) -> tuple[str, np.ndarray]:
    """The kind of an array on the CPU, and NumPy's view of it."""
    kind = kind_of(array, name)
    exported = export(array, name)
    if kind == "torch":
        if exported.device.type != "cpu":
            raise NotImplementedError(f"{name} is on device {exported.device}; dfp16 runs on the CPU")
        return kind, exported.numpy()
    if kind == "cupy":
        raise NotImplementedError(f"{name} is a CuPy array; dfp16 runs on the CPU")
    return kind, exported


def _as_kind(kind: str, array: np.ndarray) -> Any:
    if kind == "torch":
        return sys.modules["torch"].from_numpy(array)
    return sys.modules["jax"].numpy.asarray(array) if kind == "jax" else array


def _mantissas(value: Any, name: str) -> tuple[str, np.ndarray, np.ndarray, int, str]:
    """Kind, mantissa, exponents (1-D), bits that the mantissas have for certain, granularity.

    A bare int16 array has exponent 0 and may hold -32768.
    """
    if isinstance(value, DfpTensor):
        kind, mantissa = _host(value.mantissa, f"{name}.mantissa")
        _, exponent = _host(value.exponent, f"{name}.exponent")
        bits, granularity = value.bits, value.granularity
    else:
        kind, mantissa = _host(value, name)
        exponent, bits, granularity = np.zeros((), np.int32), 16, "tensor"
    if mantissa.dtype != np.int16:
        raise TypeError(f"{name} has dtype {mantissa.dtype}; expected are a DfpTensor and int16 mantissas")
    if exponent.dtype != np.int32:
        raise TypeError(f"{name}.exponent has dtype {exponent.dtype}; expected is int32")
    return kind, mantissa, np.ascontiguousarray(exponent).reshape(-1), bits, granularity


def _exponent_shape(shape: tuple[int, ...], granularity: str) -> tuple[int, ...]:
    if granularity == "channel" and len(shape) < 2:
        raise ValueError(f"granularity is 'channel'; x of shape {shape} has no axis 1")
    return {"tensor": (), "image": shape[:1], "channel": shape[1:2], "row": shape[:-1]}[granularity]


# ---- format --------------------------------------------------------------------------------------------------------


def quantize(
    x: Any,
    bits: int = 15,
    granularity: str = "tensor",
    rounding: str = "nearest_even",
    seed: int = 0,
    *,
    stream: int = 0,
    exponent: Any = None,
    nonfinite: str = "raise",
) -> DfpTensor:
    """Round an array to mantissas of `bits` bits that share exponents.

    The exponent is floor(log2(max |x|)) + 1 - bits, and one more where the largest element would round to 2**bits;
    so an error of "nearest_even" is at most half of 2**exponent. Zeros have exponent 0.

    Parameters
    ----------
    x : array, float32
        Of any shape with at least one axis, without elements too.
    bits : int
        2 to 15, sign not counted.
    granularity : "tensor", "image", "channel" or "row"
        One exponent in all, for each index of axis 0, of axis 1, or of all axes but the last.
    rounding : "nearest_even", "toward_zero" or "stochastic"
        "stochastic" goes up with the probability of the fraction. Its bits follow from `seed`, `stream` and an
        element's place in the C-ordered array alone (Philox4x32-10).
    seed, stream : int
        0 to 2**64 - 1.
    exponent : int32 array, optional
        Taken instead of the one found; what does not fit becomes the largest mantissa.
    nonfinite : "raise" or "saturate"
        Whether NaN and infinities are an error, or 0 and the largest mantissa.

    Returns
    -------
    DfpTensor
        Arrays of the kind of x, in C order.

    Raises
    ------
    TypeError, ValueError
    """
    kind, array = _host(x, "x")
    if array.dtype != np.float32:
        raise TypeError(f"x has dtype {array.dtype}; supported is float32")
    return _quantize(kind, array, bits, granularity, rounding, seed, stream, exponent, nonfinite, 0)


def _quantize(
    kind: str, array: np.ndarray, bits: int, granularity: str, rounding: str, seed: int, stream: int, exponent: Any,
    nonfinite: str, base: int,
) -> DfpTensor:  # fmt: skip
    _word(granularity, "granularity", GRANULARITIES)
    _word(rounding, "rounding", ROUNDINGS)
    _word(nonfinite, "nonfinite", ("raise", "saturate"))
    bits = integer(bits, "bits", 2)
    if bits > 15:
        raise ValueError(f"bits is {bits}; allowed are 2 to 15")
    for name, value in (("seed", seed), ("stream", stream)):
        if not isinstance(value, int) or not 0 <= value < 2**64:
            raise ValueError(f"{name} is {said(value)}; allowed are 0 to 2**64 - 1")
    if array.ndim == 0:
        raise ValueError("x is a scalar, an array without dimensions")
    shape = _exponent_shape(array.shape, granularity)
    exponents = np.zeros(shape, np.int32)
    if exponent is not None:
        given = np.asarray(_host(exponent, "exponent")[1] if hasattr(exponent, "__dlpack__") else exponent)
        if given.shape != shape or given.dtype.kind not in "iu":
            raise ValueError(f"exponent has shape {given.shape} and dtype {given.dtype}; expected are {shape}, int32")
        exponents[...] = given
    mantissa = np.empty(array.shape, np.int16)
    if array.size:
        _core.dfp16_quantize(
            array, mantissa, exponents.reshape(-1), bits, granularity, rounding, seed, stream, nonfinite == "saturate",
            exponent is not None, base,
        )  # fmt: skip
    return DfpTensor(_as_kind(kind, mantissa), _as_kind(kind, exponents), bits, granularity)


def dequantize(tensor: DfpTensor, dtype: str = "float32") -> Any:
    """``mantissa * 2**exponent`` as float32 or float64; exact unless the result is subnormal."""
    kind, mantissa, exponent, _, granularity = _mantissas(tensor, "tensor")
    out = np.empty(mantissa.shape, _word(dtype, "dtype", ("float32", "float64")))
    if out.size:
        _core.dfp16_dequantize(np.ascontiguousarray(mantissa), exponent, granularity, out)
    return _as_kind(kind, out)


def requantize(
    values: Any,
    exponent: int = 0,
    bits: int = 15,
    granularity: str = "tensor",
    rounding: str = "nearest_even",
    seed: int = 0,
    *,
    stream: int = 0,
) -> DfpTensor:
    """Integers ``values * 2**exponent`` rounded to `bits` bits: the least right shift after which all fit.

    Parameters
    ----------
    values : array, int64
        For example the sums of a convolution with ``out="int64"``.
    exponent : int
        Of `values`.

    The other parameters are those of `quantize`. Values that fit keep their exponent.
    """
    kind, array = _host(values, "values")
    if array.dtype != np.int64:
        raise TypeError(f"values has dtype {array.dtype}; supported is int64")
    return _quantize(kind, array, bits, granularity, rounding, seed, stream, None, "raise", int(exponent))


def _scalar_exponent(tensor: Any, name: str) -> tuple[str, np.ndarray, int, int]:
    kind, mantissa, exponent, bits, granularity = _mantissas(tensor, name)
    if granularity != "tensor":
        raise ValueError(f"{name} has granularity {granularity!r}; expected is 'tensor'")
    return kind, mantissa.astype(np.int64), int(exponent[0]), min(bits, 15)


def add(a: DfpTensor, b: DfpTensor, rounding: str = "nearest_even", seed: int = 0) -> DfpTensor:
    """A + b, rounded once to the larger number of bits; shapes broadcast, granularity is "tensor"."""
    kind, x, ex, bits_x = _scalar_exponent(a, "a")
    _, y, ey, bits_y = _scalar_exponent(b, "b")
    if ex < ey:
        x, ex, y, ey = y, ey, x, ex
    if not x.any() or not y.any():  # a zero has any exponent
        ey = ex = ey if y.any() else ex
    if ex - ey > 40:  # all that is left of the smaller one is on which side of x the sum lies
        y, ey = np.sign(y), ex - 40
    return _quantize(kind, (x << (ex - ey)) + y, max(bits_x, bits_y), "tensor", rounding, seed, 0, None, "raise", ey)


def mul(a: DfpTensor, b: DfpTensor, rounding: str = "nearest_even", seed: int = 0) -> DfpTensor:
    """A * b by elements, rounded once to the larger number of bits; shapes broadcast, granularity is "tensor"."""
    kind, x, ex, bits_x = _scalar_exponent(a, "a")
    _, y, ey, bits_y = _scalar_exponent(b, "b")
    return _quantize(kind, x * y, max(bits_x, bits_y), "tensor", rounding, seed, 0, None, "raise", ex + ey)


# ---- convolution ---------------------------------------------------------------------------------------------------

_RESULTS = ("float32", "dfp16", "int64")


def _convolve(
    op: str,
    spatial: int,
    a: Any,
    b: Any,
    shape: Sequence[int] | None,
    *,
    bias: Any = None,
    accumulate: str = "exact",
    overflow: str = "certified",
    out: str = "float32",
    bits: int = 15,
    rounding: str = "nearest_even",
    seed: int = 0,
    **options: Any,
) -> tuple[Any, Certificate]:
    names = ("x" if op == "forward" else "grad", "x" if op == "grad_weight" else "weight")
    kind, first, e1, bits1, g1 = _mantissas(a, names[0])
    _, second, e2, bits2, g2 = _mantissas(b, names[1])
    _word(out, "out", _RESULTS)
    _word(accumulate, "accumulate", ("exact", "fp32_spill"))
    _word(overflow, "overflow", ("certified", "worst_case", "unchecked"))
    for array, name, is_weight in ((first, names[0], False), (second, names[1], op != "grad_weight")):
        check_rank(array.shape, spatial, name, W_ORDER if is_weight else X_ORDER)
    one, allowed = (g2, names[1]), ("tensor", "image")
    if op == "grad_weight":
        allowed = ("tensor", "channel")
    if g1 not in allowed:
        raise ValueError(f"{names[0]} has granularity {g1!r}; allowed are {allowed}, others would differ in one sum")
    if one[0] not in (("tensor", "image") if op == "forward" else ("tensor",)):
        raise ValueError(f"{one[1]} has granularity {one[0]!r}, which differs within one sum")
    exponents = len(e1) > 1 or len(e2) > 1
    if out == "dfp16" and (exponents or bias is not None or options.get("activation")):
        raise ValueError("out is 'dfp16', which takes one exponent for each operand, and neither bias nor activation")
    size = None if shape is None else shape_of(shape, "input_shape" if op == "grad_input" else "weight_shape")
    if size is not None:
        check_rank(size, spatial, "shape", X_ORDER)
    x_shape = {"forward": first.shape, "grad_input": size, "grad_weight": second.shape}[op]
    w_shape = size if op == "grad_weight" else second.shape
    spec = spec_of(op, "float32", x_shape, w_shape, precision="dfp16", **options)
    desc = spec.desc()
    result_shape = {"forward": tuple(_core.conv_output_shape(desc)), "grad_input": x_shape, "grad_weight": w_shape}[op]
    result = np.empty(result_shape, np.float32 if out == "float32" else np.int64)
    if bias is not None:
        bias = _host(bias, "bias")[1]
    report = _core.dfp16_convolve(
        desc, first, e1, bits1, second, e2, bits2, result, bias, accumulate, overflow
    )  # fmt: skip
    largest = report.pop("largest")
    following = None
    if out == "float32" and largest < 0x7F800000:
        most = np.array(largest, np.int32).reshape(1).view(np.float32)
        following = int(quantize(most, 15).exponent)
    certificate = Certificate(**report, next_exponent=following)
    if out == "dfp16":
        return _quantize(
            kind, result, bits, "tensor", rounding, seed, 0, None, "raise", int(e1[0]) + int(e2[0])
        ), certificate  # fmt: skip
    return _as_kind(kind, result), certificate


def _conv(spatial: int) -> Callable[..., Any]:
    def conv(
        x: DfpTensor,
        weight: DfpTensor,
        bias: Any = None,
        *,
        stride: Ints = 1,
        padding: Padding = 0,
        padding_mode: str = "zeros",
        dilation: Ints = 1,
        groups: int = 1,
        activation: str | None = None,
        accumulate: str = "exact",
        overflow: str = "certified",
        out: str = "float32",
        bits: int = 15,
        rounding: str = "nearest_even",
        seed: int = 0,
        algorithm: str = "auto",
    ) -> Any:
        """Convolve mantissas over {what}.

        Parameters
        ----------
        x : DfpTensor, or int16 array (exponent 0)
            [N, Ci, *spatial], granularity "tensor" or "image".
        weight : DfpTensor, or int16 array
            [Co, Ci / groups, *kernel], granularity "tensor" or "image" (an exponent for each output channel).
        bias : float32 array, optional
            [Co]; with it a float32 result is rounded twice.
        stride, padding, padding_mode, dilation, groups, activation
            As in `omniconv.conv`.
        accumulate : "exact" or "fp32_spill"
            Integer sums, or chains of integer sums that are added up in float32, in an order that does not depend on
            the machine.
        overflow : "certified", "worst_case" or "unchecked"
            How many terms an int32 may take: as many as the norms of these operands prove to be safe (by Cauchy and
            Schwarz), as are safe for any operands of their bits, or all of them, which wraps: a negative control.
            Exact results do not depend on the first two.
        out : "float32", "dfp16" or "int64"
            float32: the nearest to the exact sum. dfp16: the sum requantised to `bits` bits by `rounding` and `seed`.
            int64: the sum of products of mantissas, whose exponent is that of x plus that of weight.
        algorithm : "auto", "pairs", "lines", "tiles" or "emulated_tiles"
            Exact results do not depend on it.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
        """
        return _convolve(
            "forward", spatial, x, weight, None, bias=bias, stride=stride, padding=padding, padding_mode=padding_mode,
            dilation=dilation, groups=groups, activation=activation, accumulate=accumulate, overflow=overflow, out=out,
            bits=bits, rounding=rounding, seed=seed, algorithm=algorithm,
        )[0]  # fmt: skip

    return _named(conv, f"conv{spatial}d", spatial)


def _grad_input(spatial: int) -> Callable[..., Any]:
    def grad_input(
        grad: DfpTensor,
        weight: DfpTensor,
        input_shape: Sequence[int],
        *,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        accumulate: str = "exact",
        overflow: str = "certified",
        out: str = "float32",
        bits: int = 15,
        rounding: str = "nearest_even",
        seed: int = 0,
        algorithm: str = "auto",
    ) -> Any:
        """Gradient of a convolution over {what} with respect to x, of shape `input_shape`.

        grad: [N, Co, *out], granularity "tensor" or "image"; weight: granularity "tensor". The rest is that of
        `conv{n}d`.
        """
        return _convolve(
            "grad_input", spatial, grad, weight, input_shape, stride=stride, padding=padding, dilation=dilation,
            groups=groups, accumulate=accumulate, overflow=overflow, out=out, bits=bits, rounding=rounding, seed=seed,
            algorithm=algorithm,
        )[0]  # fmt: skip

    return _named(grad_input, f"conv{spatial}d_grad_input", spatial)


def _grad_weight(spatial: int) -> Callable[..., Any]:
    def grad_weight(
        grad: DfpTensor,
        x: DfpTensor,
        weight_shape: Sequence[int],
        *,
        stride: Ints = 1,
        padding: Padding = 0,
        padding_mode: str = "zeros",
        dilation: Ints = 1,
        groups: int = 1,
        accumulate: str = "exact",
        overflow: str = "certified",
        out: str = "float32",
        bits: int = 15,
        rounding: str = "nearest_even",
        seed: int = 0,
        algorithm: str = "auto",
    ) -> Any:
        """Gradient of a convolution over {what} with respect to its weight, of shape `weight_shape`.

        grad: [N, Co, *out], granularity "tensor" or "channel"; x: granularity "tensor". The rest is that of
        `conv{n}d`.
        """
        return _convolve(
            "grad_weight", spatial, grad, x, weight_shape, stride=stride, padding=padding, padding_mode=padding_mode,
            dilation=dilation, groups=groups, accumulate=accumulate, overflow=overflow, out=out, bits=bits,
            rounding=rounding, seed=seed, algorithm=algorithm,
        )[0]  # fmt: skip

    return _named(grad_weight, f"conv{spatial}d_grad_weight", spatial)


def _named(function: Callable[..., Any], name: str, spatial: int) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    text = (function.__doc__ or "").replace("{n}", str(spatial))
    function.__doc__ = text.replace("{what}", f"{spatial} spatial axes" if spatial > 1 else "one spatial axis")
    return function


conv1d, conv2d, conv3d = _conv(1), _conv(2), _conv(3)
conv1d_grad_input, conv2d_grad_input, conv3d_grad_input = _grad_input(1), _grad_input(2), _grad_input(3)
conv1d_grad_weight, conv2d_grad_weight, conv3d_grad_weight = _grad_weight(1), _grad_weight(2), _grad_weight(3)


def linear(x: DfpTensor, weight: DfpTensor, bias: Any = None, **options: Any) -> Any:
    """X [..., K] times the transpose of weight [Co, K], as [..., Co].

    `options` are those of `conv1d`. Granularity "image" gives every output of weight an exponent, and every row of an x
    of two axes.
    """

    def columns(value: Any, name: str) -> tuple[Any, tuple[int, ...]]:
        _, mantissa, exponent, bits, granularity = _mantissas(value, name)
        if mantissa.ndim < 2:
            raise ValueError(f"{name} has shape {mantissa.shape}; expected are two axes or more")
        if granularity == "row":
            granularity = "image"
        flat = np.ascontiguousarray(mantissa).reshape(-1, mantissa.shape[-1], 1)
        tensor = DfpTensor(flat, exponent if granularity != "tensor" else exponent[0], min(bits, 15), granularity)
        return (flat if bits > 15 else tensor), mantissa.shape[:-1]

    kind = _mantissas(x, "x")[0]
    rows, shape = columns(x, "x")
    result = conv1d(rows, columns(weight, "weight")[0], bias, **options)
    if isinstance(result, DfpTensor):
        return result._replace(
            mantissa=_as_kind(kind, result.mantissa.reshape(*shape, -1)), exponent=_as_kind(kind, result.exponent)
        )
    return _as_kind(kind, result.reshape(*shape, -1))


def explain(op: str, a: DfpTensor, b: DfpTensor, shape: Sequence[int] | None = None, **options: Any) -> Certificate:
    """Run a convolution and say how: path, chain length, and the bound that rules out an overflow.

    Parameters
    ----------
    op : "forward", "grad_input" or "grad_weight"
    a, b : DfpTensor
        The operands of `conv2d`, `conv2d_grad_input`, `conv2d_grad_weight` (or those of 1 or 3 axes), in their order.
    shape : sequence of int
        input_shape or weight_shape of the gradients.
    """
    _word(op, "op", ("forward", "grad_input", "grad_weight"))
    spatial = len(_mantissas(a, "a")[1].shape) - 2
    return _convolve(op, spatial, a, b, shape, **options)[1]
