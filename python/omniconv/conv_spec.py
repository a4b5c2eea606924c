"""Arguments of dense convolution: checked, normalised, and looked up as plans."""

from __future__ import annotations

import atexit
import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from omniconv import _core
from omniconv.array import FLOATS, said

__all__ = [
    "PRECISIONS", "Ints", "Padding", "Spec", "check_rank", "layout_is_last", "pads", "per_axis", "plan_of", "shape_of",
    "spec_of",
]  # fmt: skip

Ints = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[tuple[int, int]] | Literal["same", "valid", "causal"]

PRECISIONS = ("highest", "high", "medium", "dfp16")
_LIMIT = 2**31 - 1
_TEXT = (str, bytes, bytearray)  # sequences too, but none of numbers
_CHANNELS_LAST = {"NHWC", "NLC", "NWC", "NDHWC", "channels_last"}
_CHANNELS_FIRST = {"NCHW", "NCL", "NCW", "NCDHW", "channels_first"}

X_ORDER = "batch, channels, spatial"
W_ORDER = "output channels, input channels / groups, kernel"


def integer(value: Any, name: str, lowest: int) -> int:
    """The value as an int of `lowest` to 2^31 - 1; TypeError or ValueError naming the argument."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except Exception:
        raise TypeError(f"{name} is {said(value)}; expected is an integer") from None
    if not lowest <= number <= _LIMIT:
        raise ValueError(f"{name} is {number}; allowed are {lowest} to {_LIMIT}")
    return number


def per_axis(value: Any, name: str, spatial: int, lowest: int) -> tuple[int, ...]:
    """One integer per spatial axis, from one for all or one each."""
    if isinstance(value, Sequence) and not isinstance(value, _TEXT):
        if len(value) == 1 and spatial > 1:
            value = tuple(value) * spatial
        if len(value) != spatial:
            raise ValueError(f"{name} is {said(value)}; expected is an integer or {spatial} of them")
        return tuple(integer(v, name, lowest) for v in value)
    return (integer(value, name, lowest),) * spatial


def pads(
    padding: Any,
    spatial: int,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Low and high padding per axis."""
    windows = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        if padding == "valid":
            return (0,) * spatial, (0,) * spatial
        if padding == "causal":
            return tuple(w - 1 for w in windows), (0,) * spatial
        if padding == "same":
            total = [max((-(-n // s) - 1) * s + w - n, 0) for n, s, w in zip(sizes, stride, windows, strict=True)]
            return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        raise ValueError(
            f"padding is {said(padding)}; allowed are 'same', 'valid', 'causal', integers and (low, high) pairs"
        )
    if isinstance(padding, Sequence) and any(isinstance(p, Sequence) for p in padding):
        if len(padding) != spatial or any(not isinstance(p, Sequence) or len(p) != 2 for p in padding):
            raise ValueError(f"padding is {said(padding)}; expected are {spatial} pairs (low, high)")
        lo, hi = zip(*padding, strict=True)
        return per_axis(lo, "padding", spatial, 0), per_axis(hi, "padding", spatial, 0)
    lo = per_axis(padding, "padding", spatial, 0)
    return lo, lo


def layout_is_last(layout: str | None) -> bool:
    """Whether the layout puts the channels last: "NHWC" and its 1-D and 3-D forms."""
    if layout is not None and not isinstance(layout, str):
        raise TypeError(f"layout is {said(layout)}; expected is a string or None")
    if layout is None or layout in _CHANNELS_FIRST:
        return False
    if layout in _CHANNELS_LAST:
        return True
    raise ValueError(f"layout is {said(layout)}; allowed are None, 'NCHW' and 'NHWC' (and their 1-D and 3-D forms)")


def shape_of(value: Any, name: str) -> tuple[int, ...]:
    """A sequence of sizes as a tuple of ints; TypeError or ValueError naming the argument."""
    if not isinstance(value, Sequence) or isinstance(value, _TEXT):
        raise TypeError(f"{name} is {said(value)}; expected is a sequence of integers")
    sizes = []
    for v in value:
        try:
            sizes.append(operator.index(v))
        except Exception:
            raise TypeError(f"{name} is {said(value)}; expected are integers") from None
        if not 0 <= sizes[-1] < 2**63:
            raise ValueError(f"{name} is {said(value)}; a size must be in [0, 2^63)")
    return tuple(sizes)


def check_rank(shape: Sequence[int], spatial: int, name: str, order: str) -> None:
    """ValueError unless a shape has batch, channels and the spatial axes."""
    if len(shape) != spatial + 2:
        raise ValueError(
            f"{name} has {len(shape)} dimensions, shape {tuple(shape)}; a {spatial}-D convolution needs "
            f"{spatial + 2}: {order}"
        )


def _words(padding_mode: Any, activation: Any, precision: Any, algorithm: Any) -> None:
    words = {"padding_mode": padding_mode, "precision": precision, "algorithm": algorithm}
    if activation is not None:
        words["activation"] = activation
    for name, value in words.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} is {said(value)}; expected is a string")
        if not (value.isascii() and value.isprintable() and len(value) < 40):  # might not even convert to UTF-8
            raise ValueError(f"{name} is {said(value)}, which is no word that omniconv knows")


def _slope(value: Any) -> float:
    try:
        if isinstance(value, _TEXT):
            raise TypeError
        slope = float(value)
    except Exception:
        raise TypeError(f"negative_slope is {said(value)}; expected is a real number") from None
    if not math.isfinite(slope):
        raise ValueError(f"negative_slope is {slope}; it must be finite")
    return slope


class Spec(NamedTuple):
    """The hashable description of one problem: the key of the plan cache."""

    op: str
    dtype: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad_lo: tuple[int, ...]
    pad_hi: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    padding_mode: str
    activation: str
    negative_slope: float
    precision: str
    channels_last: bool
    algorithm: str
    device: str = "cpu"
    workspace_limit: int = -1

    def desc(self, weights_change: bool = False) -> _core.ConvDesc:
        """The same for the native library; `weights_change`: they come with every run, to be packed each time."""
        return _core.ConvDesc.make(**self._asdict(), weights_change=weights_change)


def spec_of(
    op: str,
    dtype: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    padding_mode: str = "zeros",
    dilation: Any = 1,
    groups: Any = 1,
    activation: str | None = None,
    negative_slope: float = 0.01,
    precision: str = "highest",
    channels_last: bool = False,
    algorithm: str = "auto",
    output_padding: tuple[int, ...] | None = None,
    device: str = "cpu",
    workspace_limit: int | None = None,
) -> Spec:
    """Check and normalise; x_shape and w_shape are those of the forward convolution, [N, C, *spatial]."""
    spatial = len(w_shape) - 2
    if not isinstance(dtype, str) or dtype not in FLOATS:
        raise TypeError(f"dtype is {said(dtype)}; supported are {' and '.join(FLOATS)}")
    if not isinstance(op, str) or op not in ("forward", "grad_input", "grad_weight"):
        raise ValueError(f"op is {said(op)}; allowed are 'forward', 'grad_input' and 'grad_weight'")
    if not isinstance(channels_last, bool):
        raise TypeError(f"channels_last is {said(channels_last)}; expected is True or False")
    _words(padding_mode, activation, precision, algorithm)
    stride = per_axis(stride, "stride", spatial, 1)
    dilation = per_axis(dilation, "dilation", spatial, 1)
    lo, hi = pads(padding, spatial, x_shape[2:], w_shape[2:], stride, dilation)
    return Spec(
        op, dtype, tuple(x_shape), tuple(w_shape), stride, dilation, lo, hi, output_padding or (0,) * spatial,
        integer(groups, "groups", 1), padding_mode, activation or "none", _slope(negative_slope), precision,
        channels_last, algorithm, device,
        -1 if workspace_limit is None else integer(workspace_limit, "workspace_limit", 0),
    )  # fmt: skip


@lru_cache(maxsize=512)
def _cached_plan(spec: Spec, isa: str) -> _core.ConvPlan:
    return _core.ConvPlan(spec.desc(weights_change=True))


# Frameworks hold on to the functions registered with them past the end of the interpreter, and so to this cache.
atexit.register(_cached_plan.cache_clear)


def forget_plans() -> None:
    """Plans are made again by the next calls, with what is then known of their algorithms."""
    _cached_plan.cache_clear()


def plan_of(spec: Spec) -> _core.ConvPlan:
    """The plan of a call with weights of its own, on the instruction set in force, from a cache of 512."""
    return _cached_plan(spec, _core.isa())
