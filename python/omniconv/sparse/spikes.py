"""Spikes at the sites of a grid: counts, neurons, exact convolution by 8-bit weights, and what it costs.

A neuron gives a small whole number per channel and step, 0 to D: the integer leaky integrate-and-fire neuron (I-LIF)
of X. Luo et al., "Integer-valued training and spike-driven inference spiking neural network" (ECCV 2024); or 0 and 1,
the leaky integrate-and-fire neuron. Convolution of counts by int8 weights is exact, so it does not matter in which
order or by which algorithm it is added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import _core
from omniconv.array import describe, export, np, said
from omniconv.sparse.conv import SparsePlan, plan_for, tensor_of, weight_view
from omniconv.sparse.tensor import SparseTensor

__all__ = ["SpikeTensor", "SpikeWeight", "ilif", "lif", "operations", "spike_conv"]

ROUNDINGS = ("half_up", "half_even")
PICOJOULES = {"mac": 4.6, "ac": 0.9}  # float32 at 45 nm: M. Horowitz, "Computing's energy problem" (ISSCC 2014)


def _levels(levels: Any) -> int:
    if not isinstance(levels, (int, np.integer)) or not 1 <= levels <= 255:
        raise ValueError(f"levels is {said(levels)}; allowed is 1 to 255")
    return int(levels)


class SpikeTensor(SparseTensor):
    """Spike counts at the occupied sites of a grid.

    Parameters
    ----------
    coords : integers [N, 1 + D]
        As of a `SparseTensor`.
    counts : uint8 [N, C] or [T, N, C]
        How often each channel fires, in one time step or in T; kept as NumPy.
    levels : int
        The largest count there can be, 1 to 255: D of the neuron.
    spatial_shape, batch_size
        As of a `SparseTensor`.
    """

    def __init__(
        self,
        coords: Any,
        counts: Any,
        levels: int = 4,
        spatial_shape: Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.levels = _levels(levels)
        super().__init__(coords, counts, spatial_shape, batch_size)

    def _set(self, features: Any) -> None:
        counts = np.ascontiguousarray(features.numpy() if hasattr(features, "numpy") else features)
        if counts.dtype != np.uint8:
            raise TypeError(f"counts have dtype {counts.dtype}; supported is uint8")
        if counts.ndim not in (2, 3) or counts.shape[-2] != self.sites.rows:
            raise ValueError(
                f"counts have shape {counts.shape}; expected is ({self.sites.rows}, C) or (T, {self.sites.rows}, C)"
            )
        if counts.size and counts.max() > self.levels:
            raise ValueError(f"counts go to {counts.max()}, and levels is {self.levels}")
        self.features = counts

    @classmethod
    def at(cls, st: SparseTensor, counts: Any, levels: int = 4) -> SpikeTensor:
        """Counts [N, C] or [T, N, C] at the sites of `st`, whose plans are shared."""
        self = cls._fired(st, levels)
        self._set(counts)
        return self

    @classmethod
    def _fired(cls, st: SparseTensor, levels: int, counts: Any = None) -> SpikeTensor:
        """Counts that are known to be in range."""
        self = cls.__new__(cls)
        self.levels = _levels(levels)
        self.sites, self.spatial_shape, self.batch_size, self._plans = (
            st.sites, st.spatial_shape, st.batch_size, st._plans,
        )  # fmt: skip
        self.features = counts
        return self

    @property
    def counts(self) -> np.ndarray:
        """uint8 [N, C] or [T, N, C]."""
        return self.features

    @property
    def steps(self) -> int:
        """T; 1 where the counts have no axis of time."""
        return self.counts.shape[0] if self.counts.ndim == 3 else 1

    @property
    def firing_rate(self) -> float:
        """The part of the counts that is not zero; of 4096 rows where there are more."""
        return _core.spike_rate(self._timed())

    def _timed(self) -> np.ndarray:
        return self.counts if self.counts.ndim == 3 else self.counts[None]

    def replace(self, features: Any) -> SpikeTensor:
        """The same sites with other counts."""
        return SpikeTensor.at(self, features, self.levels)

    def as_floats(self, dtype: str = "float32") -> SparseTensor:
        """The counts as features [N, C]: what a convolution in floating point takes."""
        if self.counts.ndim == 3:
            raise ValueError(f"counts have {self.steps} time steps; features have none")
        return SparseTensor._of(self.sites, self.counts.astype(dtype), self.spatial_shape, self.batch_size, self._plans)

    def packed(self) -> np.ndarray:
        """Bits, uint8 [..., N, ceil(C / 8)], the first channel highest: an eighth of the memory. For one level."""
        if self.levels != 1:
            raise ValueError(f"levels is {self.levels}; bits hold 1")
        return np.packbits(self.counts, axis=-1)

    @classmethod
    def from_packed(cls, st: SparseTensor, bits: Any, channels: int) -> SpikeTensor:
        """The inverse of `packed`, at the sites of `st`."""
        return cls.at(st, np.unpackbits(np.asarray(bits, dtype=np.uint8), axis=-1, count=channels), 1)

    def __repr__(self) -> str:
        return f"SpikeTensor({len(self)} sites, counts {self.counts.shape} to {self.levels})"


def _membrane(x: Any) -> tuple[np.ndarray, SparseTensor | None]:
    rows = x.features if isinstance(x, SparseTensor) else x
    return np.ascontiguousarray(export(rows, "x")), x if isinstance(x, SparseTensor) else None


def _rounding(rounding: str) -> str:
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding is {said(rounding)}; allowed are {', '.join(ROUNDINGS)}")
    return rounding


def _fire(u: np.ndarray, levels: int, rounding: str) -> np.ndarray:
    if u.dtype == np.float32:
        spikes = np.empty(u.shape, np.uint8)
        _core.spike_fire(np.ascontiguousarray(u).reshape(-1), levels, rounding, spikes.reshape(-1))
        return spikes
    u = np.minimum(np.where(u > 0, u, 0), levels)
    return (np.floor(u + 0.5) if rounding == "half_up" else np.rint(u)).astype(np.uint8)


def ilif(x: Any, levels: int = 4, *, beta: float | None = None, rounding: str = "half_up") -> Any:
    """The integer leaky integrate-and-fire neuron.

    ``s = round(clip(u, 0, levels))``. Without `beta` u is x. With it the first axis is time: ``u_t = beta * (u_{t-1} -
    s_{t-1}) + x_t``, from 0.

    Parameters
    ----------
    x : SparseTensor or array
        float32 or float64.
    levels : int
        D, 1 to 255.
    beta : float, optional
        What is left of the membrane after a step, such as 0.25.
    rounding : {"half_up", "half_even"}
        ``floor(u + 0.5)``, as E-3DSNN does it, or to the even neighbour of a half, as SpikeYOLO does it.

    Returns
    -------
    SpikeTensor, or uint8 array for an array
        NaN does not fire.

    See Also
    --------
    omniconv.torch.sparse.ilif : the same under autograd.
    """
    u, st = _membrane(x)
    levels, rounding = _levels(levels), _rounding(rounding)
    if beta is None:
        counts = _fire(u, levels, rounding)
    else:
        counts, left = np.empty(u.shape, np.uint8), np.zeros(u.shape[1:], u.dtype)
        for t in range(len(u)):
            left = u.dtype.type(beta) * left + u[t]
            counts[t] = _fire(left, levels, rounding)
            left = left - counts[t]
    return counts if st is None else SpikeTensor._fired(st, levels, counts)


def lif(
    x: Any,
    tau: float = 2.0,
    *,
    threshold: float = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
) -> Any:
    """The leaky integrate-and-fire neuron over time, with the words and defaults of SpikingJelly.

    ``h = v + (x_t - (v - v_reset)) / tau``, or ``h = v - (v - v_reset) / tau + x_t`` where the input does not decay; it
    fires where h >= threshold. Then v is v_reset where it fired and h elsewhere; without a v_reset, h - threshold * s.

    Parameters
    ----------
    x : SparseTensor with features [T, N, C], or array [T, ...]
        float32 or float64; input currents.
    tau, threshold : float
    v_reset : float or None
        The potential after a spike and at the start; None subtracts the threshold, from 0.
    decay_input : bool

    Returns
    -------
    SpikeTensor with one level, or uint8 array for an array
    """
    current, st = _membrane(x)
    if not tau >= 1:
        raise ValueError(f"tau is {said(tau)}; allowed is 1 and more")
    number = current.dtype.type
    rest = number(0 if v_reset is None else v_reset)
    v, counts = np.full(current.shape[1:], rest, current.dtype), np.empty(current.shape, np.uint8)
    for t, now in enumerate(current):
        h = v + (now - (v - rest)) / number(tau) if decay_input else v - (v - rest) / number(tau) + now
        fired = h >= number(threshold)
        counts[t] = fired
        v = h - number(threshold) * fired if v_reset is None else np.where(fired, rest, h)
    return counts if st is None else SpikeTensor._fired(st, 1, counts)


class SpikeWeight:
    """int8 weights, packed once for the kernels.

    Parameters
    ----------
    values : int8 array
        [Co, Ci / groups, *kernel], or as `weight_layout` says.
    scale : float32 [Co], optional
        What a unit of each output channel is worth.
    weight_layout : {"oidhw", "taps", "spconv"}
        As in `conv`.
    groups : int
    """

    def __init__(self, values: Any, scale: Any = None, *, weight_layout: str = "oidhw", groups: int = 1) -> None:
        self.values = np.asarray(values.numpy() if hasattr(values, "numpy") else values)
        if self.values.dtype != np.int8:
            raise TypeError(f"weight has dtype {self.values.dtype}; supported is int8 for spikes")
        dims = self.values.ndim - 2 if weight_layout != "taps" else 3
        view, kernel = weight_view(self.values, weight_layout, dims)
        self.kernel_size = None if kernel is None else tuple(int(k) for k in kernel)
        self.shape = view.shape  #: output channels, input channels of a group, taps
        self.groups = groups
        self.scale = None if scale is None else np.ascontiguousarray(scale, dtype=np.float32)
        if self.scale is not None and self.scale.shape != view.shape[:1]:
            raise ValueError(f"scale has shape {self.scale.shape}; expected is ({view.shape[0]},)")
        self.packed = _core.SpikeWeight(np.ascontiguousarray(view), groups)

    @classmethod
    def quantize(cls, weight: Any, **options: Any) -> SpikeWeight:
        """Symmetric, per output channel: ``round(w / scale)`` in -127 to 127, scale being max |w| / 127.

        weight : array [Co, Ci / groups, *kernel]
        """
        w = np.asarray(export(weight, "weight"))
        largest = np.abs(w.reshape(len(w), -1)).max(1, initial=0)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        values = np.rint(w / scale.reshape(-1, *[1] * (w.ndim - 1)).astype(w.dtype)).clip(-127, 127).astype(np.int8)
        return cls(values, scale, **options)


def _row(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    if value is None:
        return None
    array = np.ascontiguousarray(export(value, name), dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected is {shape}")
    return array


def spike_conv(
    st: SpikeTensor,
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
    levels: int | None = None,
    rounding: str = "half_up",
    membrane: bool = True,
    algorithm: str = "auto",
) -> Any:
    """Convolve counts by int8 weights, exactly, and let a neuron fire in the same pass.

    Sums are int32. Where any of scale, bias, residual and levels is given, the membrane is
    ``scale * float32(sums) + bias + residual``; the scale includes that of the weight.

    Parameters
    ----------
    st : SpikeTensor
    weight : SpikeWeight or int8 array
        An array is packed at each call; its layout and groups are those given here.
    bias, scale : float32 [Co], optional
    stride, padding, dilation, mode, plan
        As in `conv`.
    residual : SparseTensor or float32 array, optional
        Added to the membrane; [M, Co], or [T, M, Co] for counts over time.
    levels : int, optional
        Fire as `ilif` does, with this D. One time step alone.
    rounding : {"half_up", "half_even"}
    membrane : bool
        False leaves the membrane out, where `levels` is given.
    algorithm : {"auto", "dense", "events", "reference"}
        "dense" multiplies every count, "events" adds the weights of those that are not zero, to counts of 128;
        "auto" measures the firing rate and takes the faster one on this machine. All give the same integers.

    Returns
    -------
    SparseTensor
        int32 sums, or float32 membrane. With `levels`, (membrane, SpikeTensor); with ``membrane=False`` the spikes.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.
    NotImplementedError
        For "events" with counts above 128, and for more than 65536 products in a sum.
    """
    if not isinstance(st, SpikeTensor):
        raise TypeError(f"st is a {type(st).__name__}; expected is a SpikeTensor")
    if not isinstance(weight, SpikeWeight):
        weight = SpikeWeight(weight, weight_layout=weight_layout, groups=groups)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "mode": mode}
    chosen = plan_for(st, weight.kernel_size, weight.shape[2], plan, how)
    outs, rows = weight.shape[0], chosen._target[0].rows
    if weight.scale is not None:
        scale = weight.scale if scale is None else weight.scale * np.asarray(export(scale, "scale"))
    shape = (st.steps, rows, outs)
    if isinstance(residual, SparseTensor):
        residual = residual.features
    if residual is not None:
        residual = _row(residual, "residual", shape if st.counts.ndim == 3 else shape[1:]).reshape(shape)
    floats = levels is not None or any(a is not None for a in (scale, bias, residual))
    if levels is not None and st.counts.ndim == 3:
        raise ValueError(f"levels is {levels}, and the counts have an axis of time: let ilif or lif fire afterwards")
    sums = None if floats else np.empty(shape, np.int32)
    u = np.empty(shape, np.float32) if floats and (membrane or levels is None) else None
    spikes = None if levels is None else np.empty(shape, np.uint8)
    _core.spike_conv(
        chosen.map, st._timed(), st.levels, weight.packed, _row(scale, "scale", (outs,)), _row(bias, "bias", (outs,)),
        residual, 0 if levels is None else _levels(levels), _rounding(rounding), sums, u, spikes, algorithm,
    )  # fmt: skip
    first = None if sums is None and u is None else _tensor(chosen, st, u if floats else sums)
    if levels is None:
        return first
    fired = SpikeTensor._fired(_tensor(chosen, st, spikes), levels, spikes[0])
    return fired if first is None else (first, fired)


def _tensor(chosen: SparsePlan, st: SpikeTensor, rows: np.ndarray) -> SparseTensor:
    return tensor_of(chosen, rows if st.counts.ndim == 3 else rows[0], st.batch_size, check=False)


def operations(st: SpikeTensor | SparseTensor, plan: SparsePlan, out_channels: int) -> dict[str, float]:
    """What a convolution of `st` costs, counted exactly, pair by pair of the plan.

    Returns
    -------
    dict
        ``macs``: multiply-adds of a layer that multiplies every value, sites that are empty left out.
        ``synaptic_operations``: additions of a weight, one for each unit of each count, at each output it reaches:
        what a machine of binary spikes does. ``events``: the same, each count that is not zero taken once.
        ``picojoules_dense``, ``picojoules``: 4.6 for a multiply-add, 0.9 for an addition, float32 at 45 nm
        (M. Horowitz, ISSCC 2014). Real features, not spikes, are multiplied: theirs are the macs.
    """
    spikes = isinstance(st, SpikeTensor)
    reach = np.bincount(plan.triples()[:, 0], minlength=len(st)).astype(np.int64)
    channels = st.features.shape[-1]
    steps = st.steps if spikes else 1
    macs = int(reach.sum()) * channels * out_channels * steps
    found = {"macs": macs, "synaptic_operations": 0, "events": 0, "picojoules_dense": macs * PICOJOULES["mac"]}
    if spikes:
        counts = st._timed()
        found["synaptic_operations"] = int(counts.sum((0, 2), dtype=np.int64) @ reach) * out_channels
        found["events"] = int(np.count_nonzero(counts, axis=(0, 2)) @ reach) * out_channels
        found["picojoules"] = found["synaptic_operations"] * PICOJOULES["ac"]
    else:
        describe(st.features, "features")
        found["picojoules"] = found["picojoules_dense"]
    return found
