"""Long convolutions of rows: one kernel per channel, of a few taps or as long as the sequence and longer.

All are true convolutions: ``k[0]`` multiplies the current sample. With ``v = pre_gate * u`` and, for t from 0 to
L + K - 2, ``full[t] = sum_j k[j] v[t - j]``,

    y = post_gate * activation(conv + skip * v + bias)

where conv is ``full[:L]`` (causal), ``full[K // 2 : K // 2 + L]`` (same), ``full[K - 1 : L]`` (valid), ``full``, or
the sum with indices modulo L (circular). A weight of ``torch.nn.Conv1d`` holds its taps in the other order:
`flip_taps` converts.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

from omniconv import _core
from omniconv.array import Described, check_out, describe, empty, export, finish, said
from omniconv.conv import Algorithm
from omniconv.conv_spec import _slope, _words
from omniconv.halves import is_half, like_dtype, widened

__all__ = ["FFTConvGrads", "KernelSpectrum", "fft_conv", "fft_conv_algorithms", "fft_conv_grad", "flip_taps"]

MODES = ("causal", "circular", "same", "full", "valid")
ALGORITHMS = ("auto", "direct", "fft", "overlap_save", "reference")


# ---- arguments -----------------------------------------------------------------------------------------------------


def _blh(layout: Any) -> bool:
    if layout not in ("BHL", "BLH"):
        raise ValueError(f"layout is {said(layout)}; allowed are 'BHL' and 'BLH'")
    return layout == "BLH"


def _check_words(mode: Any, precision: Any, algorithm: Any, activation: Any) -> None:
    if mode not in MODES:
        raise ValueError(f"mode is {said(mode)}; allowed are {', '.join(map(repr, MODES))}")
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {said(algorithm)}; allowed are {', '.join(map(repr, ALGORITHMS))}")
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"precision is {said(precision)}; allowed are 'highest', 'high' and 'medium'")
    _words("zeros", activation, precision, "auto")


def _length(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {said(value)}; expected is an integer") from None
    if number < 1:
        raise ValueError(f"{name} is {number}; it must be at least 1")
    return number


@functools.lru_cache(maxsize=64)
def _cached_plan(
    dtype: str, mode: str, length: int, taps: int, reverse_taps: int, algorithm: str, isa: str
) -> _core.FftConvPlan:
    return _core.FftConvPlan(dtype, mode, length, taps, reverse_taps, algorithm)


def plan_of(dtype: str, mode: str, length: int, taps: int, reverse_taps: int, algorithm: str) -> _core.FftConvPlan:
    """The plan of a problem on the instruction set in force, from a cache of 64."""
    return _cached_plan(dtype, mode, length, taps, reverse_taps, algorithm, _core.isa())


def low_passed(xp: Any, k: Any, length: int, keep: Any) -> tuple[Any, Any]:
    """(k, k_rev) that convolve as k does without the frequencies of a transform of 2 L above keep times the highest.

    A kernel without its high frequencies reaches both ways around the 2 L points: the taps past L are what multiplies
    later samples.
    """
    if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep <= 1:
        raise ValueError(f"frequency_keep is {said(keep)}; allowed are 0 < frequency_keep <= 1")
    size = 2 * length
    if k.shape[-1] > size:
        raise ValueError(f"k has {k.shape[-1]} taps; with frequency_keep allowed are 2 L = {size}")
    spectrum = xp.fft.rfft(k, n=size)[..., : int(keep * length) + 1]
    whole = xp.fft.irfft(spectrum, n=size)  # absent frequencies are zeros
    now = xp.zeros((*k.shape[:-1], 1), dtype=whole.dtype)
    return whole[..., :length], xp.concat([now, xp.flip(whole[..., length + 1 :], axis=-1)], axis=-1)


def _banded(k: Any, k_rev: Any, mode: Any, length: int, keep: Any) -> tuple[Any, Any]:
    """`low_passed` of a kernel that is not a spectrum."""
    if isinstance(k, KernelSpectrum):
        raise ValueError("frequency_keep is given beside a KernelSpectrum; it belongs into the spectrum")
    if mode != "causal" or k_rev is not None:
        raise ValueError(f"frequency_keep needs mode 'causal' and no k_rev; mode is {said(mode)}")
    from array_api_compat import array_namespace

    found = describe(k, "k")
    xp = array_namespace(k)
    if found.kind != "numpy":
        return low_passed(xp, k, length, keep)
    pair = low_passed(xp, k.astype("float64"), length, keep)
    return tuple(a.astype(found.dtype) for a in pair)


def lower_rate(k: Any, length: int, keep: float, dtype: str, halvings: int) -> tuple[Any, Any]:
    """(k, k_rev) between the filters of a plan with `halvings`: they do together what `low_passed` gives; float64."""
    import numpy as np

    samples = _core.fft_lower_rate_length(dtype, length, keep, halvings)
    spectrum = np.fft.rfft(k, n=2 * length)[..., : int(keep * length) + 1]
    period = 2 * length >> halvings
    lags = np.fft.irfft(spectrum, n=period)[..., np.arange(1 - samples, samples) % period]
    back = lags[..., samples - 1 :: -1].copy()
    back[..., 0] = 0  # lag 0 counts once
    return lags[..., samples - 1 :], back


class _Kernel(NamedTuple):
    """Kernels as they came in: described, exported, not transformed."""

    dtype: str
    shape: tuple[int, ...]
    array: Any
    reverse_taps: int
    reverse: Any
    per_sample: bool

    def plan(self, mode: str, length: int, algorithm: str) -> _core.FftConvPlan:
        return plan_of(self.dtype, mode, length, self.shape[-1], self.reverse_taps, algorithm)

    def spectrum(self, plan: _core.FftConvPlan, adjoint: bool = False) -> _core.FftSpectrum:
        return plan.transform(self.array, self.reverse, self.per_sample, adjoint)


def _kernel(k: Any, k_rev: Any, per_sample: bool) -> _Kernel:
    found = describe(k, "k")
    if len(found.shape) not in (2, 3) or (per_sample and len(found.shape) != 3):
        wanted = "[B, H, K] with per_sample=True" if per_sample else "[H, K] or [C, H, K]"
        raise ValueError(f"k has shape {found.shape}; expected is {wanted}")
    if found.shape[-1] < 1:
        raise ValueError(f"k has shape {found.shape}: its rows are empty")
    taps, reverse = 0, None
    if k_rev is not None:
        back = describe(k_rev, "k_rev")
        _same_dtype(back, "k_rev", found.dtype, "k")
        if back.shape[:-1] != found.shape[:-1] or back.shape[-1] < 1:
            raise ValueError(f"k_rev has shape {back.shape}; expected is {found.shape[:-1]} and at least one tap")
        taps, reverse = back.shape[-1], export(k_rev, "k_rev")
    return _Kernel(found.dtype, found.shape, export(k, "k"), taps, reverse, per_sample)


def _same_dtype(array: Described, name: str, dtype: str, other: str) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype} and {other} has {dtype}; they must be the same")


def _check_u(like: Described, k_shape: tuple[int, ...], per_sample: bool, blh: bool, dtype: str) -> int:
    """The length of rows; an error where u and k do not belong together."""
    order = "[B, L, H]" if blh else "[B, H, L]"
    if len(like.shape) != 3:
        raise ValueError(f"u has shape {like.shape}; expected are three axes, {order}")
    _same_dtype(like, "u", dtype, "k")
    batch, channels, length = (like.shape[0], *(like.shape[:0:-1] if blh else like.shape[1:]))
    if channels != k_shape[-2]:
        raise ValueError(
            f"u of shape {like.shape}, {order}, has {channels} channels; k of shape {k_shape} has {k_shape[-2]}"
        )
    if per_sample and batch != k_shape[0]:
        raise ValueError(f"u of shape {like.shape} has {batch} samples; k of shape {k_shape} has {k_shape[0]}")
    if length < 1:
        raise ValueError(f"u has shape {like.shape}: its rows are empty")
    return length


def _time(like: Described, blh: bool) -> int:
    if len(like.shape) != 3:
        raise ValueError(f"u has shape {like.shape}; expected are three axes, {'[B, L, H]' if blh else '[B, H, L]'}")
    return like.shape[1 if blh else 2]


def _y_shape(like: Described, k_shape: tuple[int, ...], per_sample: bool, blh: bool, outputs: int) -> tuple[int, ...]:
    kernels = k_shape[:1] if len(k_shape) == 3 and not per_sample else ()
    rows = (outputs, k_shape[-2]) if blh else (k_shape[-2], outputs)
    return (like.shape[0], *kernels, *rows)


def _operand(array: Any, name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    """An optional array exported, or an error where it is not of this dtype and shape."""
    if array is None:
        return None
    found = describe(array, name)
    _same_dtype(found, name, dtype, "u")
    if found.shape != shape:
        raise ValueError(f"{name} has shape {found.shape}; expected is {shape}")
    return export(array, name)


# ---- spectra -------------------------------------------------------------------------------------------------------


class KernelSpectrum:
    """Kernels transformed once, for `fft_conv` to use wherever it takes k.

    Parameters
    ----------
    k : array, float32 or float64
        [H, K], or [C, H, K]: C outputs per channel, or with ``per_sample=True`` [B, H, K].
    length : int
        L of the u to come.
    mode : "causal", "circular", "same", "full" or "valid"
    k_rev : array, optional
        As in `fft_conv`.
    algorithm : "auto", "direct", "fft", "overlap_save" or "reference"
    frequency_keep : float, optional
        As in `fft_conv`.

    Immutable, and bound to the instruction set that was in force when it was made. Pickling keeps the kernels alone:
    what is loaded is transformed for the machine that loads it.
    """

    def __init__(
        self,
        k: Any,
        *,
        length: int,
        mode: str = "causal",
        k_rev: Any = None,
        per_sample: bool = False,
        algorithm: str = "auto",
        frequency_keep: float | None = None,
    ) -> None:
        _check_words(mode, "highest", algorithm, None)
        given = None
        if frequency_keep is not None:
            given = widened(k)
            k, k_rev = _banded(given, k_rev, mode, _length(length, "length"), frequency_keep)
        self._mode, self._length, self._algorithm = mode, _length(length, "length"), algorithm
        import numpy as np

        kernel = _kernel(widened(k), widened(k_rev), bool(per_sample))
        kept = [None if a is None else np.asarray(a).copy() for a in (kernel.array, kernel.reverse)]
        self._kernel = kernel._replace(array=kept[0], reverse=kept[1])
        self._halvings, self._keep = 0, frequency_keep
        self._given = None if given is None else np.asarray(export(given, "k")).copy()
        if frequency_keep is not None and algorithm in ("auto", "fft"):
            self._halvings = _core.fft_halvings(kernel.dtype, self._length, frequency_keep)
        if not self._halvings:
            self._plan, self._spectrum = self._whole
            return
        wide = self._given.astype("float64")
        pair = lower_rate(wide, self._length, frequency_keep, kernel.dtype, self._halvings)
        k, back = (np.ascontiguousarray(a, dtype=kernel.dtype) for a in pair)
        self._plan = _core.FftConvPlan(
            kernel.dtype, mode, self._length, k.shape[-1], k.shape[-1], "fft", self._halvings, frequency_keep
        )
        self._spectrum = self._plan.transform(k, back, self._kernel.per_sample)

    mode = property(operator.attrgetter("_mode"), doc="What it was transformed for.")
    length = property(operator.attrgetter("_length"), doc="L of the u it serves.")
    algorithm = property(lambda self: self._plan.algorithm, doc="Name of the algorithm that runs.")
    shape = property(lambda self: self._kernel.shape, doc="Shape of k.")
    dtype = property(lambda self: self._kernel.dtype, doc="Name of the dtype of k.")
    halvings = property(lambda self: self._halvings, doc="Rows are convolved at 1 / 2^halvings of their rate.")
    nbytes = property(lambda self: self._spectrum.nbytes, doc="Memory of the spectrum.")
    workspace_bytes = property(
        lambda self: self._plan.workspace_bytes, doc="Scratch memory of one call with the current number of threads."
    )

    @functools.cached_property
    def _whole(self) -> tuple[_core.FftConvPlan, _core.FftSpectrum]:
        """Plan and spectrum of all frequencies: what gradients take."""
        plan = self._kernel.plan(self._mode, self._length, self._algorithm)
        return plan, self._kernel.spectrum(plan)

    def explain(self) -> str:
        """The problem, and what every algorithm says about it."""
        return self._plan.explain()

    def __reduce__(self) -> tuple:
        how = {"length": self._length, "mode": self._mode, "per_sample": self._kernel.per_sample}
        how |= {"algorithm": self._algorithm, "frequency_keep": self._keep}
        if self._keep is not None:
            return _restored, (self._given, None, how)
        return _restored, (self._kernel.array, self._kernel.reverse, how)

    def __repr__(self) -> str:
        return f"<omniconv.KernelSpectrum {self.algorithm} k {self.shape} {self.mode} length {self.length}>"


def _restored(k: Any, k_rev: Any, how: dict[str, Any]) -> KernelSpectrum:
    return KernelSpectrum(k, k_rev=k_rev, **how)


# ---- convolution ---------------------------------------------------------------------------------------------------


def _prepared(
    like: Described, k: Any, k_rev: Any, mode: str, per_sample: bool, algorithm: str, blh: bool
) -> tuple[_Kernel, _core.FftConvPlan, _core.FftSpectrum | None]:
    if isinstance(k, KernelSpectrum):
        if k_rev is not None:
            raise ValueError("k_rev is given beside a KernelSpectrum; it belongs into the spectrum")
        if k.mode != mode:
            raise ValueError(f"k is a spectrum for mode {k.mode!r}; mode is {mode!r}")
        length = _check_u(like, k.shape, k._kernel.per_sample, blh, k.dtype)
        if k.length != length:
            raise ValueError(f"k is a spectrum for length {k.length}; the rows of u have {length} elements")
        return k._kernel, k._plan, k._spectrum
    kernel = _kernel(k, k_rev, per_sample)
    length = _check_u(like, kernel.shape, per_sample, blh, kernel.dtype)
    return kernel, kernel.plan(mode, length, algorithm), None


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
    precision: str = "highest",
    algorithm: str = "auto",
    frequency_keep: float | None = None,
    negative_slope: float = 0.01,
    out: Any = None,
    sums: Any = None,
) -> Any:
    """Convolve every row of u with its channel's kernel: ``post_gate * activation(conv + skip * v + bias)``.

    ``v = pre_gate * u``; a true convolution, whose ``k[..., 0]`` multiplies the current sample (`flip_taps` converts
    weights of cross-correlations). Any length, any number of taps, more than L too.

    Parameters
    ----------
    u : array, float32 or float64, float16 or bfloat16
        [B, H, L], with ``layout="BLH"`` [B, L, H].
    k : array or KernelSpectrum
        [H, K]; or [C, H, K] for C outputs per channel; or [B, H, K] with ``per_sample=True``.
    mode : "causal", "circular", "same", "full" or "valid"
        Which outputs: see the text of this module. Outputs per row are L, L, L, L + K - 1 and L - K + 1.
    pre_gate : array, optional
        Shape of u; multiplies it.
    post_gate : array, optional
        Shape of the result; multiplies it.
    skip, bias : array, optional
        [H], or [C, H]. skip, also known as D, needs as many outputs as inputs.
    activation : str, optional
        As in `omniconv.conv`.
    k_rev : array, optional
        Shape of k but for the number of taps: adds ``sum_j k_rev[j] v[t + j]``, whose lag 0 is counted too.
    layout : "BHL" or "BLH"
    precision : "highest", "high" or "medium"
        A promise about the error; all are met by the same float32 kernels.
        Halves are widened to float32, and the result is rounded once; k and the others may then be float32 too.
    algorithm : str
        "auto", "direct" (sums of products, for up to 1024 taps), "fft" (one transform per row), "overlap_save" (blocks
        that fit a cache: for kernels shorter than rows, and memory that does not grow with L) or "reference" (sums in
        float64 one by one). Not used with a KernelSpectrum.
    frequency_keep : float, optional
        The part of the frequencies that k keeps, 0 to 1: those of a transform of 2 L points above it are dropped, in
        mode "causal". The result is then no longer causal. Where few are kept, long rows are convolved at a lower rate,
        which takes less time; `KernelSpectrum.halvings` says how much lower. Gradients take all frequencies.
    out : array, optional
        Written to and returned; must not overlap an input.
    sums : array, optional
        Shape of the result; ``conv + skip * v + bias`` is written to it, for `fft_conv_grad`.

    Returns
    -------
    array
        [B, H, Lout] or [B, C, H, Lout] of the kind and dtype of u, in its layout. Rows do not influence each other:
        NaN or large values stay in theirs. The relative L2 error against float64 is about 2e-7 in float32.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        Naming the argument, what was found and what is allowed.
    """
    if is_half(u):
        for name, array in (("out", out), ("sums", sums)):
            if array is not None and (str(array.dtype) != str(u.dtype) or tuple(array.shape[:1]) != tuple(u.shape[:1])):
                raise TypeError(f"{name} has dtype {array.dtype} and shape {tuple(array.shape)}; u has {u.dtype}")
        arrays = (u, k if isinstance(k, KernelSpectrum) else widened(k), pre_gate, post_gate, skip, bias, k_rev)
        u32, k, pre_gate, post_gate, skip, bias, k_rev = (widened(a) for a in arrays)
        kept = None if sums is None else widened(sums)
        y = fft_conv(
            u32, k, mode=mode, pre_gate=pre_gate, post_gate=post_gate, skip=skip, bias=bias, activation=activation,
            k_rev=k_rev, per_sample=per_sample, layout=layout, precision=precision, algorithm=algorithm,
            negative_slope=negative_slope, sums=kept, frequency_keep=frequency_keep,
        )  # fmt: skip
        if sums is not None:
            sums[...] = like_dtype(kept, sums)
        if out is None:
            return like_dtype(y, u)
        out[...] = like_dtype(y, u)
        return out
    like, blh = describe(u, "u"), _blh(layout)
    _check_words(mode, precision, algorithm, activation)
    if frequency_keep is not None:
        how = {"mode": mode, "k_rev": k_rev, "per_sample": per_sample, "algorithm": algorithm}
        k, k_rev = KernelSpectrum(k, length=_time(like, blh), frequency_keep=frequency_keep, **how), None
    kernel, plan, spectrum = _prepared(like, k, k_rev, mode, bool(per_sample), algorithm, blh)
    shape = _y_shape(like, kernel.shape, kernel.per_sample, blh, plan.output_length)
    per_channel = kernel.shape[:-1] if not kernel.per_sample else kernel.shape[1:2]
    u_shape = like.shape
    if skip is not None and plan.output_length != (u_shape[1] if blh else u_shape[2]):
        raise ValueError(f"skip needs as many outputs as inputs; mode {mode!r} has {plan.output_length} outputs")
    pre = _operand(pre_gate, "pre_gate", like.dtype, u_shape)
    post = _operand(post_gate, "post_gate", like.dtype, shape)
    small = [_operand(a, n, like.dtype, per_channel) for a, n in ((skip, "skip"), (bias, "bias"))]
    for name, array in (("out", out), ("sums", sums)):
        if array is not None:
            check_out(array, name)
            _operand(array, name, like.dtype, shape)
    u = export(u, "u")
    if spectrum is None:
        spectrum = kernel.spectrum(plan)
    result = empty(like, shape, False) if out is None else out
    plan.run(
        spectrum, u, export(result, "out"), pre, post, *small, activation or "none", _slope(negative_slope), blh,
        out2=None if sums is None else export(sums, "sums"),
    )  # fmt: skip
    return out if out is not None else finish(like, result)


class FFTConvGrads(NamedTuple):
    """Gradients of `fft_conv`; None for those that were not asked for."""

    u: Any = None
    k: Any = None
    pre_gate: Any = None
    post_gate: Any = None
    skip: Any = None
    bias: Any = None
    k_rev: Any = None


def fft_conv_grad(
    grad: Any,
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
    negative_slope: float = 0.01,
    wrt: tuple[str, ...] | None = None,
    sums: Any = None,
) -> FFTConvGrads:
    """Gradients of ``sum(grad * fft_conv(u, k, ...))`` with respect to the arguments named in `wrt`.

    Parameters
    ----------
    grad : array
        Shape of the result of `fft_conv`.
    wrt : sequence of str, optional
        Of "u", "k", "pre_gate", "post_gate", "skip", "bias", "k_rev"; default is every array that is given.

    sums : array, optional
        What `fft_conv` put into its `sums`. Without it, what precedes an activation or a gate is computed again.

    The other parameters and errors are those of `omniconv.fft_conv`. Sums over samples and elements have one order for
    any number of threads; those of skip and bias are float64.
    """
    if is_half(u):
        as_given = {"u": u, "k": k, "pre_gate": pre_gate, "post_gate": post_gate, "skip": skip, "bias": bias}
        wide = {n: a if isinstance(a, KernelSpectrum) else widened(a) for n, a in as_given.items()}
        grads = fft_conv_grad(
            widened(grad), **wide, mode=mode, activation=activation, k_rev=widened(k_rev), per_sample=per_sample,
            layout=layout, algorithm=algorithm, negative_slope=negative_slope, wrt=wrt, sums=widened(sums),
        )  # fmt: skip
        as_given["k_rev"] = k_rev
        return FFTConvGrads(
            **{n: like_dtype(getattr(grads, n), a) if hasattr(a, "dtype") else getattr(grads, n)
               for n, a in as_given.items()}
        )  # fmt: skip
    like, blh = describe(u, "u"), _blh(layout)
    _check_words(mode, "highest", algorithm, activation)
    kernel, plan, spectrum = _prepared(like, k, k_rev, mode, bool(per_sample), algorithm, blh)
    if isinstance(k, KernelSpectrum):
        plan, spectrum = k._whole
        if kernel.reverse is not None:
            k_rev = kernel.reverse
    given = {
        "u": u, "k": k, "pre_gate": pre_gate, "post_gate": post_gate, "skip": skip, "bias": bias, "k_rev": k_rev,
    }  # fmt: skip
    wanted = {n for n, a in given.items() if a is not None} if wrt is None else set(wrt)
    for name in wanted:
        if given.get(name) is None:
            raise ValueError(
                f"wrt names {name!r}, which is not given; given are {[n for n, a in given.items() if a is not None]}"
            )
    shape = _y_shape(like, kernel.shape, kernel.per_sample, blh, plan.output_length)
    per_channel = kernel.shape[:-1] if not kernel.per_sample else kernel.shape[1:2]
    g = _operand(grad, "grad", like.dtype, shape)
    if g is None:
        raise TypeError("grad is None; expected is an array")
    pre = _operand(pre_gate, "pre_gate", like.dtype, like.shape)
    post = _operand(post_gate, "post_gate", like.dtype, shape)
    skip_, bias_ = (_operand(a, n, like.dtype, per_channel) for a, n in ((skip, "skip"), (bias, "bias")))
    sums_ = _operand(sums, "sums", like.dtype, shape)
    u = export(u, "u")
    import numpy as np

    host = Described("numpy", like.shape, like.dtype, False)
    new = functools.partial(np.empty, dtype=like.dtype)
    sizes = {
        "u": like.shape, "pre_gate": like.shape, "k": kernel.shape, "post_gate": shape, "skip": per_channel,
        "bias": per_channel, "k_rev": (*kernel.shape[:-1], kernel.reverse_taps),
    }  # fmt: skip
    found = {n: new(sizes[n]) for n in sizes if n in wanted}
    arrays = {"grad": g, "u": u, "pre_gate": pre, "post_gate": post, "skip": skip_, "bias": bias_, "sums": sums_}
    how = (activation or "none", _slope(negative_slope), blh)
    if plan.algorithm == "reference":
        _reference_grad(arrays, found, kernel, plan, how)
    else:
        wide = len(shape) == 4
        each = found
        if wide:  # gradients of every kernel, then their sum
            each = found | {n: new((*shape[:2], *like.shape[1:])) for n in ("u", "pre_gate") if n in wanted}
        plan.backward(
            spectrum,
            [g, u, kernel.array, pre, post, skip_, bias_, kernel.reverse, sums_],
            [each.get(n) for n in ("u", "k", "pre_gate", "post_gate", "skip", "bias", "k_rev")],
            kernel.per_sample,
            *how,
        )
        if wide:
            found |= {n: each[n].sum(1) for n in ("u", "pre_gate") if n in wanted}
    return FFTConvGrads(**{n: _as(like, host, found[n]) for n in found})


def _reference_grad(arrays: dict, found: dict, kernel: _Kernel, plan: Any, how: tuple) -> None:
    """Step by step, every sum in float64: what the fast step back is tested against."""
    import numpy as np

    g, u, pre, post, skip = (arrays[n] for n in ("grad", "u", "pre_gate", "post_gate", "skip"))
    blh = how[-1]
    ds = np.empty_like(np.asarray(g), order="C")
    plan.run(kernel.spectrum(plan), u, ds, pre, None, skip, arrays["bias"], blh=blh)
    _core.fft_conv_epilogue_gradient(
        ds, g, post, found.get("post_gate"), u, pre, found.get("skip"), found.get("bias"), *how
    )
    if "u" in found or "pre_gate" in found:
        wide = len(kernel.shape) == 3 and not kernel.per_sample
        shape = np.asarray(u).shape
        each = np.empty((shape[0], kernel.shape[0], *shape[1:]) if wide else shape, ds.dtype)
        plan.run(kernel.spectrum(plan, adjoint=True), ds, each, skip=skip, blh=blh)
        dv = each.sum(1) if wide else each
        for name, factor in (("u", pre), ("pre_gate", u)):
            if name in found:
                found[name][...] = dv if factor is None else dv * np.asarray(factor)
    if "k" in found or "k_rev" in found:
        plan.kernel_gradient(u, pre, ds, found.get("k"), found.get("k_rev"), kernel.per_sample, blh)


def _as(like: Described, host: Described, array: Any) -> Any:
    """A NumPy array as one of the kind of `like`."""
    if array is None or like.kind == "numpy":
        return array
    import sys

    if like.kind == "torch":
        return sys.modules["torch"].from_numpy(array)
    return finish(like, array)


def linear(
    op: str, a: Any, b: Any, *, mode: str, length: int, taps: int, per_sample: bool = False, algorithm: str = "auto"
) -> Any:
    """The convolution alone and its transposes, for frameworks that differentiate by themselves; NumPy arrays.

    "forward": (v, k) to y. "adjoint": (grad of y, k) to grad of v. "kernel": (v, grad of y) to grad of k.
    `length` and `taps` are L and K of the forward convolution, rows are [B, H, L] or of y [B, C, H, L].
    """
    import numpy as np

    plan = plan_of(str(a.dtype), mode, length, taps, 0, algorithm)
    if op == "kernel":
        dk = np.empty((*_kernel_rows(b.shape, per_sample), taps), a.dtype)
        plan.kernel_gradient(a, None, b, dk, None, per_sample)
        return dk
    spectrum = plan.transform(b, None, per_sample, op == "adjoint")
    wide = b.ndim == 3 and not per_sample
    if op == "adjoint":
        y = np.empty((*a.shape[:-1], length), a.dtype)
        plan.run(spectrum, a, y)
        return y.sum(1) if wide else y
    y = np.empty((a.shape[0], *(b.shape[:1] if wide else ()), a.shape[1], plan.output_length), a.dtype)
    plan.run(spectrum, a, y)
    return y


def _kernel_rows(y_shape: tuple[int, ...], per_sample: bool) -> tuple[int, ...]:
    return y_shape[:-1] if per_sample else y_shape[1:-1]


def fft_conv_algorithms(
    length: int, taps: int, *, mode: str = "causal", reverse_taps: int = 0, dtype: str = "float32"
) -> list[Algorithm]:
    """Every algorithm for rows of `length` and kernels of `taps`, the one that "auto" takes first.

    The cost is that of one row on one core. `reverse_taps` are those of k_rev.
    """
    _check_words(mode, "highest", "auto", None)
    length, taps = _length(length, "length"), _length(taps, "taps")
    reverse = _length(reverse_taps, "reverse_taps") if reverse_taps != 0 else 0
    dtype = getattr(dtype, "name", dtype)
    return [Algorithm(*row) for row in _core.fft_conv_algorithms(dtype, mode, length, taps, reverse)]


def flip_taps(weight: Any) -> Any:
    """The kernel [H, K] that convolves as the ``torch.nn.Conv1d`` weight [H, 1, K] (groups=H) cross-correlates.

    ``conv1d(x, weight, padding=K - 1, groups=H)[..., :L]`` is ``fft_conv(x, flip_taps(weight))``. Arrays [H, K] and
    [C, H, K] are flipped along their last axis; an array of the kind of `weight` comes out, a copy for torch.
    """
    found = describe(weight, "weight")
    if len(found.shape) not in (2, 3):
        raise ValueError(f"weight has shape {found.shape}; expected is [H, 1, K], [H, K] or [C, H, K]")
    if len(found.shape) == 3 and found.shape[1] == 1:
        weight = weight.reshape(found.shape[0], found.shape[2])
    return weight.flip(-1) if found.kind == "torch" else weight[..., ::-1]
