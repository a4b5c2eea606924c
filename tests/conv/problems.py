"""Random convolutions, the arrays they run on, and what float64 torch says about them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
import torch.nn.functional as F

import omniconv

torch.set_num_threads(1)

# Under OMNICONV_DEVICE=emu these tests are those of the CUDA kernels.
EMULATED = omniconv.array_device() == "emu"
SCHEDULES = ["lock-step", "run-ahead", "random:1"]

# The steps that lead to CUDA's im2win_full are left to tests/cuda.
STEPS = [f"im2win_{step}" for step in ("naive", "shared", "tiled", "micro", "buffered")]
ALGORITHMS = ["auto", *(a.name for a in omniconv.algorithms((1, 1, 4), (1, 1, 1)) if a.name not in STEPS)]
MODES = ["zeros", "reflect", "replicate", "circular"]
CHANNELS = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33]  # around the widths of vectors
EXTENT = {1: 24, 2: 7, 3: 4} if EMULATED else {1: 40, 2: 12, 3: 6}  # most elements of an axis, by the number of axes


@dataclass(frozen=True)
class Problem:
    """One convolution; channels are per group, padding is (low, high) per axis."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    batch: int = 1
    groups: int = 1
    ci: int = 1
    co: int = 1
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    mode: str = "zeros"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, otherwise in (("stride", 1), ("dilation", 1), ("padding", (0, 0))):
            if not getattr(self, name):
                object.__setattr__(self, name, (otherwise,) * self.nd)

    @property
    def nd(self) -> int:
        return len(self.size)

    @property
    def windows(self) -> tuple[int, ...]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, self.groups * self.ci, *self.size)

    @property
    def w_shape(self) -> tuple[int, ...]:
        return (self.groups * self.co, self.ci, *self.kernel)

    @property
    def y_shape(self) -> tuple[int, ...]:
        axes = zip(self.size, self.padding, self.windows, self.stride, strict=True)
        return (self.batch, self.groups * self.co, *((n + lo + hi - w) // s + 1 for n, (lo, hi), w, s in axes))

    @property
    def options(self) -> dict[str, Any]:
        return {
            "stride": self.stride, "dilation": self.dilation, "padding": self.padding, "padding_mode": self.mode,
            "groups": self.groups,
        }  # fmt: skip

    def array(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
        return np.random.default_rng((self.seed, zlib.crc32(name.encode()))).standard_normal(shape).astype(dtype)

    def x(self, dtype: str = "float32") -> np.ndarray:
        return self.array("x", self.x_shape, dtype)

    def w(self, dtype: str = "float32") -> np.ndarray:
        return self.array("w", self.w_shape, dtype)

    def g(self, dtype: str = "float32") -> np.ndarray:
        return self.array("g", self.y_shape, dtype)


@st.composite
def problems(draw: st.DrawFn, nd: int | None = None, modes: list[str] = MODES, batch: int | None = None) -> Problem:
    """Any legal convolution of a small size."""
    nd = draw(st.integers(1, 3)) if nd is None else nd
    mode = draw(st.sampled_from(modes))
    axes = [draw(axis(EXTENT[nd], mode)) for _ in range(nd)]
    groups = draw(st.sampled_from([1, 1, 2, 3, 5]))
    most = max(1, 64 // groups)
    return Problem(
        size=tuple(a[0] for a in axes), kernel=tuple(a[1] for a in axes), stride=tuple(a[2] for a in axes),
        dilation=tuple(a[3] for a in axes), padding=tuple(a[4] for a in axes), mode=mode, groups=groups,
        ci=min(most, draw(st.sampled_from(CHANNELS))), co=min(most, draw(st.sampled_from(CHANNELS))),
        batch=draw(st.integers(1, 3)) if batch is None else batch, seed=draw(st.integers(0, 2**32 - 1)),
    )  # fmt: skip


@st.composite
def axis(draw: st.DrawFn, extent: int, mode: str) -> tuple[int, int, int, int, tuple[int, int]]:
    """Size, taps, stride, dilation and padding of one axis."""
    taps, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    stride = draw(st.integers(1, 4))
    size = draw(st.integers(1, extent))
    most = {"zeros": 6, "replicate": 6, "circular": size, "reflect": size - 1}[mode]
    lo, hi = draw(st.integers(0, min(most, 6))), draw(st.integers(0, min(most, 6)))
    short = (taps - 1) * dilation + 1 - size - lo - hi  # the kernel must fit
    return size + max(short, 0), taps, stride, dilation, (lo, hi)


# ---- layouts -------------------------------------------------------------------------------------------------------

LAYOUTS = ["nchw", "nhwc", "last axis first", "every second", "backwards", "a window", "unaligned"]


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another arrangement in memory; what is between them is NaN."""
    if layout == "nchw":
        return np.ascontiguousarray(array)
    if layout == "nhwc":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
    if layout == "last axis first":
        return np.ascontiguousarray(array.T).T
    view = room_for(array.shape, array.dtype, layout)
    view[...] = array
    return view


def channels_inside(x: np.ndarray) -> bool:
    """Whether the channels of x lie side by side, so that `direct` can read them."""
    return x.shape[1] > 1 and x.strides[1] == x.itemsize


def room_for(shape: tuple[int, ...], dtype: Any, layout: str) -> np.ndarray:
    """A writable view of that shape; its base is larger, and NaN all over."""
    if layout == "nchw":
        return np.full(shape, np.nan, dtype)
    if layout in ("nhwc", "last axis first"):
        return laid_out(np.full(shape, np.nan, dtype), layout)
    if layout == "every second":
        return np.full([2 * n for n in shape], np.nan, dtype)[tuple(slice(None, None, 2) for _ in shape)]
    if layout == "backwards":
        return np.full(shape, np.nan, dtype)[tuple(slice(None, None, -1) for _ in shape)]
    if layout == "a window":
        return np.full([n + 3 for n in shape], np.nan, dtype)[tuple(slice(1, n + 1) for n in shape)]
    assert layout == "unaligned"
    return np.full(int(np.prod(shape)) + 1, np.nan, dtype)[1:].reshape(shape)


# ---- the oracle ----------------------------------------------------------------------------------------------------


def _double(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float64))


def _convolve(p: Problem, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    pads = [n for pair in reversed(p.padding) for n in pair]
    if any(pads):
        x = F.pad(x, pads, mode="constant" if p.mode == "zeros" else p.mode)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[p.nd - 1]
    return convolve(x, w, stride=p.stride, dilation=p.dilation, groups=p.groups)


def forward(p: Problem, x: Any, w: Any) -> np.ndarray:
    return _convolve(p, _double(x), _double(w)).numpy()


def gradients(p: Problem, x: Any, w: Any, g: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of sum(conv(x, w) * g), with respect to x and w."""
    x, w = _double(x).requires_grad_(), _double(w).requires_grad_()
    dx, dw = torch.autograd.grad(_convolve(p, x, w), (x, w), _double(g))
    return dx.numpy(), dw.numpy()


# Of the sum of the absolute values of all terms: what rounding errors are proportional to. Sums of a few hundred
# products err by 1e-7 of it, a term that is missing or misplaced by far more.
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


def assert_close(
    got: Any, want: np.ndarray, magnitude: np.ndarray, dtype: str, tolerance: float = 0.0, how: Any = ""
) -> None:
    """Each element of got is want, but for rounding. `how` is said when it is not."""
    assert got.shape == want.shape, how
    assert str(got.dtype) == dtype, how
    if "fft" in how:  # errs relative to the largest outputs of an image, where border leaves others fewer terms
        magnitude = magnitude.max(axis=tuple(range(2, magnitude.ndim)), keepdims=True)
    error = np.abs(np.asarray(got, np.float64) - want)
    bound = (tolerance or TOLERANCE[dtype]) * magnitude
    wrong = ~(error <= bound)  # true for NaN
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} elements are off, by up to {error[wrong].max()}; {how}"


def each_way(dtype: str = "float32") -> Iterator[tuple[str, str]]:
    """(instruction set or schedule, algorithm), the former set. One oracle serves all: it is what takes time."""
    if EMULATED:
        # One schedule each, another one in the next test: tests/cuda compares the bits of all.
        turn = zlib.crc32(os.environ["PYTEST_CURRENT_TEST"].encode())
        for i, algorithm in enumerate(ALGORITHMS):
            schedule = SCHEDULES[(turn + i) % len(SCHEDULES)]
            os.environ["OMNICONV_EMU_SCHEDULE"] = schedule
            yield schedule, algorithm
        return
    yield omniconv.isa(), "reference"  # the same code on all of them, and all there is for float64
    for isa in omniconv.available_isas() if dtype == "float32" else [omniconv.isa()]:
        omniconv.set_isa(isa)
        for algorithm in ALGORITHMS:
            if algorithm != "reference":
                yield isa, algorithm


def function(name: str, nd: int) -> Any:
    """omniconv's function for `nd` axes: of "conv{}_grad_input" and 2, `omniconv.conv2d_grad_input`."""
    return getattr(omniconv, name.format(f"{nd}d"))


def declines(
    p: Problem, algorithm: str, op: str = "forward", dtype: str = "float32", channels_last: bool = False
) -> str:
    """Why an algorithm declines a problem, or an empty string."""
    if algorithm == "auto":
        return ""
    x_shape = (p.batch, *p.size, p.groups * p.ci) if channels_last else p.x_shape
    listed = omniconv.algorithms(
        x_shape, p.w_shape, op=op, dtype=dtype, layout="NHWC" if channels_last else None, **p.options
    )
    return next(a.reason for a in listed if a.name == algorithm)
