"""Plans and convolutions of sparse tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from omniconv import _core
from omniconv.array import check_out, describe, export, np, said
from omniconv.sparse.tensor import SparseTensor, like_numpy

__all__ = ["SparsePlan", "conv", "conv_grad_input", "conv_grad_weight", "plan"]

MODES = ("subm", "strided", "transposed", "inverse")
LAYOUTS = ("oidhw", "taps", "spconv")


def _per_axis(value: Any, name: str, dims: int, least: int) -> tuple[int, ...]:
    try:
        values = tuple(int(v) for v in value) if isinstance(value, Sequence) else (int(value),) * dims
    except (TypeError, ValueError):
        values = ()
    if len(values) != dims or any(v < least for v in values):
        raise ValueError(f"{name} is {said(value)}; expected is one number or {dims}, each {least} or more")
    return values


class SparsePlan:
    """Which rows of a sparse tensor meet under which tap; made by `plan`, shared by all that have the sites.

    Attributes: `kernel_size`, `stride`, `padding`, `dilation`, `mode`; `out_coords`, int32 [M, 1 + D].
    """

    def __init__(self, source: tuple, target: tuple, window: tuple, mode: str, kernel_map: Any) -> None:
        self._source, self._target = source, target  # sites, spatial shape, plans of each side
        self.kernel_size, self.stride, self.padding, self.dilation = self._window = window
        self.mode, self._map, self._adjoint = mode, kernel_map, None

    @property
    def out_coords(self) -> np.ndarray:
        """int32 [M, 1 + D]: sites of the output."""
        return self._target[0].coords()

    @property
    def map(self) -> Any:
        """The kernel map of `_core`."""
        return self._map

    @property
    def adjoint_map(self) -> Any:
        """The kernel map of the gradient of the input."""
        if self._adjoint is None:
            self._adjoint = self._map.adjoint()
        return self._adjoint

    def triples(self) -> np.ndarray:
        """int32 [pairs, 3]: row of the input, row of the output, tap (row-major over the kernel's axes)."""
        return self._map.triples()

    def stats(self, in_channels: int | None = None, out_channels: int | None = None) -> dict[str, Any]:
        """Counts of the plan: sites, pairs, pairs per tap, outputs by number of pairs; synaptic operations.

        ``synaptic_operations`` = pairs * in_channels * out_channels, where both are given: multiply-adds of a layer.
        """
        degrees = np.bincount(self.triples()[:, 1], minlength=self._target[0].rows)
        found = {
            "in_sites": self._source[0].rows,
            "out_sites": self._target[0].rows,
            "taps": self._map.taps,
            "pairs": self._map.pairs,
            "tap_histogram": list(self._map.tap_pairs()),
            "degree_histogram": np.bincount(degrees).tolist(),
        }
        if in_channels is not None and out_channels is not None:
            found["synaptic_operations"] = found["pairs"] * in_channels * out_channels
        return found

    def __repr__(self) -> str:
        return f"SparsePlan({self.mode}, kernel_size={self.kernel_size}, stride={self.stride}, {self._map.pairs} pairs)"


def _out_shape(shape: tuple[int, ...] | None, window: tuple, mode: str) -> tuple[int, ...] | None:
    if shape is None:
        return None
    out = []
    for n, k, s, p, d in zip(shape, *window, strict=True):
        size = (n - 1) * s - 2 * p + d * (k - 1) + 1 if mode == "transposed" else (n + 2 * p - d * (k - 1) - 1) // s + 1
        if size < 1:
            raise ValueError(f"spatial_shape {shape} is smaller than the kernel: an axis would have {size} places")
        out.append(size)
    return tuple(out)


def plan(
    st: SparseTensor,
    kernel_size: int | Sequence[int] = 3,
    stride: int | Sequence[int] = 1,
    mode: str = "subm",
    *,
    padding: int | Sequence[int] | None = None,
    dilation: int | Sequence[int] = 1,
    of: SparsePlan | None = None,
) -> SparsePlan:
    """Find the pairs of a convolution of `st`; kept with the sites, so that the same plan is found once.

    Tap t of output o reads the input ``o * stride + t * dilation - padding``, on every axis.

    Parameters
    ----------
    st : SparseTensor
    kernel_size, stride, dilation : int or D ints
    mode : {"subm", "strided", "transposed", "inverse"}
        "subm": outputs at the sites of `st`; the stride is 1. "strided": at every site that a tap reaches.
        "transposed": at every site that the transposed convolution reaches. "inverse": back from the outputs of `of`
        to its inputs, by its taps; window arguments are those of `of`.
    padding : int or D ints, optional
        (kernel_size // 2) * dilation for "subm", else 0.
    of : SparsePlan, optional
        For "inverse": the plan whose outputs are the sites of `st`.

    Raises
    ------
    ValueError
        For arguments that do not fit.
    NotImplementedError
        Where coordinates and window span more than 126 bits, all columns together.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {said(mode)}; allowed are {', '.join(MODES)}")
    dims = st.dims
    if mode == "inverse":
        if not isinstance(of, SparsePlan):
            raise ValueError(f"of is {said(of)}; mode 'inverse' needs the plan to go back from")
        if of._target[0] is not st.sites and not np.array_equal(of.out_coords, st.coords):
            raise ValueError("of is a plan to other sites than those of st")
        return SparsePlan((st.sites, st.spatial_shape, st._plans), of._source, of._window, mode, of.adjoint_map)
    kernel = _per_axis(kernel_size, "kernel_size", dims, 1)
    steps = _per_axis(stride, "stride", dims, 1)
    spread = _per_axis(dilation, "dilation", dims, 1)
    if padding is None:
        pads = tuple(k // 2 * d if mode == "subm" else 0 for k, d in zip(kernel, spread, strict=True))
    else:
        pads = _per_axis(padding, "padding", dims, -(2**30))
    if mode == "subm" and steps != (1,) * dims:
        raise ValueError(f"stride is {said(stride)}; a submanifold convolution has stride 1")
    window = kernel, steps, pads, spread
    key = (mode, st.spatial_shape, *window)
    if key in st._plans:
        return st._plans[key]
    source = st.sites, st.spatial_shape, st._plans
    if mode == "subm":
        target = source
        found = _core.sparse_map(st.sites, st.sites, *window)
    else:
        shape, transposed = _out_shape(st.spatial_shape, window, mode), mode == "transposed"
        low, high = ((0,) * dims, shape) if shape else ((), ())
        sites = _core.sparse_reached(st.sites, *window, transposed, low, high)
        target = sites, shape, {}
        found = (
            _core.sparse_map(sites, st.sites, *window).adjoint()
            if transposed
            else _core.sparse_map(st.sites, sites, *window)
        )
    st._plans[key] = SparsePlan(source, target, window, mode, found)
    return st._plans[key]


def weight_view(weight: np.ndarray, layout: str, dims: int) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Weights as [Co, Ci / groups, taps], a view where strides allow, and the kernel's size where the shape has it."""
    if layout not in LAYOUTS:
        raise ValueError(f"weight_layout is {said(layout)}; allowed are {', '.join(LAYOUTS)}")
    expected = {"oidhw": "(Co, Ci / groups, *kernel)", "taps": "(taps, Ci / groups, Co)"}
    if weight.ndim != (3 if layout == "taps" else 2 + dims):
        raise ValueError(
            f"weight has shape {weight.shape}; expected is {expected.get(layout, '(Co, *kernel, Ci / groups)')} "
            f"for {dims} axes in layout {layout}"
        )
    if layout == "taps":
        return weight.transpose(2, 1, 0), None
    if layout == "spconv":
        taps = math.prod(weight.shape[1:-1])
        return weight.reshape(weight.shape[0], taps, weight.shape[-1]).transpose(0, 2, 1), weight.shape[1:-1]
    return weight.reshape(*weight.shape[:2], math.prod(weight.shape[2:])), weight.shape[2:]


def plan_for(
    st: SparseTensor, kernel: tuple[int, ...] | None, taps: int, given: SparsePlan | None, how: dict[str, Any]
) -> SparsePlan:
    """The plan of a call: the one that it names, or one by its arguments."""
    if given is None:
        if kernel is None:
            side = round(taps ** (1 / st.dims))
            if side**st.dims != taps:
                raise ValueError(f"weight has {taps} taps, which is no cube: pass plan=")
            kernel = (side,) * st.dims
        return plan(st, kernel, **how)
    if not isinstance(given, SparsePlan):
        raise TypeError(f"plan is a {type(given).__name__}; expected is a SparsePlan")
    if how["mode"] == "inverse" and given.mode != "inverse":
        given = plan(st, mode="inverse", of=given)
    if given._source[0] is not st.sites and not np.array_equal(given._source[0].coords(), st.coords):
        raise ValueError("plan is for other sites than those of st")
    if kernel is not None and kernel != given.kernel_size:
        raise ValueError(f"weight has a kernel of {kernel}, and the plan one of {given.kernel_size}")
    if taps != math.prod(given.kernel_size):
        raise ValueError(f"weight has {taps} taps, and the plan has {math.prod(given.kernel_size)}")
    return given


def tensor_of(chosen: SparsePlan, features: Any, batch_size: int, check: bool = True) -> SparseTensor:
    """A tensor at the sites of a plan's output; unchecked, its features may be int32 or have an axis of time."""
    sites, shape, plans = chosen._target
    return SparseTensor._of(sites, features, shape, batch_size, plans, check)


def conv(
    st: SparseTensor,
    weight: Any,
    bias: Any = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | None = None,
    dilation: int | Sequence[int] = 1,
    mode: str = "subm",
    groups: int = 1,
    plan: SparsePlan | None = None,
    weight_layout: str = "oidhw",
    scale: Any = None,
    residual: Any = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    out: Any = None,
) -> SparseTensor:
    """Convolve: ``activation(scale * sums + bias + residual)`` at the sites of the output.

    Parameters
    ----------
    st : SparseTensor
        A SpikeTensor goes to `spike_conv`, if the weights are int8; else its counts are taken as floats.
    weight : array
        [Co, Ci / groups, *kernel]; in layout "taps" [taps, Ci / groups, Co], in layout "spconv"
        [Co, *kernel, Ci / groups]. A cross-correlation, as in PyTorch. The features' dtype.
    bias, scale : array [Co], optional
    stride, padding, dilation, mode
        As in `plan`; not looked at where `plan` is given.
    groups : int
    plan : SparsePlan, optional
        Left out, it is made, and kept with the sites. For mode "inverse" the plan to go back from, or its inverse.
    weight_layout : {"oidhw", "taps", "spconv"}
    residual : SparseTensor or array [M, Co], optional
        At the sites of the output, in their order.
    activation : str, optional
        As in `omniconv.conv2d`.
    out : array [M, Co], optional
        Where the features of the result go.

    Returns
    -------
    SparseTensor
        float32 sums are taken in float32, tap by tap in blocks of at most 256 terms; float64 is computed plainly.
    """
    from omniconv.sparse.spikes import SpikeTensor, SpikeWeight, spike_conv

    if isinstance(st, SpikeTensor):
        if isinstance(weight, SpikeWeight) or str(getattr(weight, "dtype", "")).removeprefix("torch.") == "int8":
            if activation is not None or out is not None:
                raise ValueError("activation and out are not for spikes; spike_conv lets a neuron fire")
            return spike_conv(
                st, weight, bias, stride=stride, padding=padding, dilation=dilation, mode=mode, groups=groups,
                plan=plan, weight_layout=weight_layout, scale=scale, residual=residual,
            )  # fmt: skip
        st = st.as_floats(describe(weight, "weight").dtype)
    like = describe(st.features, "features")
    describe(weight, "weight")
    w, kernel = weight_view(np.asarray(export(weight, "weight")), weight_layout, st.dims)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "mode": mode}
    chosen = plan_for(st, kernel, w.shape[2], plan, how)
    if isinstance(residual, SparseTensor):
        residual = residual.features
    if out is None:
        y = np.empty((chosen._target[0].rows, w.shape[0]), dtype=like.dtype)
    else:
        check_out(out)
        y = export(out, "out")
    b, s, r = (
        None if a is None else export(a, n) for a, n in ((bias, "bias"), (scale, "scale"), (residual, "residual"))
    )
    _core.sparse_conv(
        chosen.map, export(st.features, "features"), w, groups, b, s, r, activation or "none", negative_slope, y
    )
    return tensor_of(chosen, like_numpy(y, like) if out is None else out, st.batch_size)


def conv_grad_input(grad: Any, weight: Any, plan: SparsePlan, *, groups: int = 1, weight_layout: str = "oidhw") -> Any:
    """Gradient of sum(y * grad) by the features: [N, Ci] for grad [M, Co], y = conv(..., plan=plan)."""
    like = describe(grad, "grad")
    dims = len(plan.kernel_size)
    w, _ = weight_view(np.asarray(export(weight, "weight")), weight_layout, dims)
    if groups < 1 or w.shape[0] % groups:
        raise ValueError(f"groups is {said(groups)}, which does not divide {w.shape[0]} output channels")
    outs, ins, taps = w.shape[0] // groups, w.shape[1], w.shape[2]
    turned = w.reshape(groups, outs, ins, taps).swapaxes(1, 2).reshape(groups * ins, outs, taps)
    dx = np.empty((plan._source[0].rows, groups * ins), dtype=like.dtype)
    _core.sparse_conv(plan.adjoint_map, export(grad, "grad"), turned, groups, None, None, None, "none", 0.0, dx)
    return like_numpy(dx, like)


def conv_grad_weight(
    grad: Any, features: Any, weight_shape: Sequence[int], plan: SparsePlan, *, groups: int = 1,
    weight_layout: str = "oidhw",
) -> Any:  # fmt: skip
    """Gradient of sum(y * grad) by the weight, of shape `weight_shape`, for y = conv(..., plan=plan)."""
    like = describe(grad, "grad")
    dw = np.empty(tuple(weight_shape), dtype=like.dtype)
    view, _ = weight_view(dw, weight_layout, len(plan.kernel_size))
    _core.sparse_grad_weight(plan.map, export(features, "features"), export(grad, "grad"), groups, view)
    return like_numpy(dw, like)
