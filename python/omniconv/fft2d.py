"""Convolutions of images by transforms: large kernels, and filters given by their spectra.

An image whose rows are followed by as many zeros as the kernel reaches over is convolved in 2-D as a single row: its
rows one after the other, with the rows of the kernel laid out alike. `fft_conv` does that, in blocks that are strips of
the image where they are faster. Per axis the border is zeros, or periodic ("circular").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omniconv.array import said
from omniconv.fft import fft_conv

__all__ = ["affnet_filter2d", "fft_conv2d", "global_filter2d"]


def _pair(value: Any, name: str, kind: type) -> tuple:
    pair = (value, value) if isinstance(value, kind) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, kind) for v in pair):
        raise ValueError(f"{name} is {said(value)}; expected is one {kind.__name__} or two, for height and width")
    return pair


def _padding(padding: Any, taps: tuple[int, int]) -> tuple[int, int]:
    if padding == "same":
        if not all(t % 2 for t in taps):
            raise ValueError(f"padding is 'same' and the kernel is {taps[0]} x {taps[1]}; it needs odd sizes")
        return taps[0] // 2, taps[1] // 2
    pair = _pair(padding, "padding", int)
    if not all(0 <= p < t for p, t in zip(pair, taps, strict=True)):
        raise ValueError(f"padding is {pair}; allowed are 0 to the kernel's size, {taps}, less one")
    return pair


def _periodic(xp: Any, x: Any, axis: int, count: int) -> Any:
    if not count:
        return x
    before = [slice(None)] * x.ndim
    after = list(before)
    before[axis], after[axis] = slice(x.shape[axis] - count, None), slice(None, count)
    return xp.concat([x[tuple(before)], x, x[tuple(after)]], axis=axis)


def _zeros(xp: Any, x: Any, axis: int, before: int, after: int) -> Any:
    def block(n: int) -> Any:
        return xp.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), dtype=x.dtype)

    parts = [*([block(before)] if before else []), x, *([block(after)] if after else [])]
    return xp.concat(parts, axis=axis) if len(parts) > 1 else x


def depthwise(xp: Any, conv: Callable[..., Any], x: Any, weight: Any, padding: Any, modes: tuple[str, str]) -> Any:
    """Cross-correlate x [B, C, H, W] with weight [M, C, Kh, Kw] to [B, M, C, Hout, Wout]; conv is an `fft_conv`."""
    kh, kw = weight.shape[-2:]
    ph, pw = padding
    out_h, out_w = x.shape[2] + 2 * ph - kh + 1, x.shape[3] + 2 * pw - kw + 1
    if out_h < 1 or out_w < 1:
        raise ValueError(f"weight of {kh} x {kw} is larger than the padded x of {x.shape[2]} x {x.shape[3]}")
    inside = modes == ("zeros", "zeros") and 2 * ph + 1 == kh and 2 * pw + 1 == kw
    if inside:  # zeros after every row serve the one before it and the one after it
        x = _zeros(xp, x, 3, 0, pw)
    else:
        for axis, count, mode in ((2, ph, modes[0]), (3, pw, modes[1])):
            x = _periodic(xp, x, axis, count) if mode == "circular" else _zeros(xp, x, axis, count, count)
    pitch = x.shape[3]
    rows = xp.reshape(x, (*x.shape[:2], x.shape[2] * pitch))
    taps = xp.flip(weight, axis=(-2, -1))
    taps = _zeros(xp, taps, 3, 0, pitch - kw) if pitch > kw else taps
    taps = xp.reshape(taps, (*taps.shape[:2], kh * pitch))[..., : (kh - 1) * pitch + kw]
    single = taps.shape[0] == 1
    y = conv(rows, taps[0, ...] if single else taps, mode="same" if inside else "valid")
    y = y[:, None, ...] if single else y
    y = _zeros(xp, y, 3, 0, out_h * pitch - y.shape[-1]) if y.shape[-1] < out_h * pitch else y
    return xp.reshape(y[..., : out_h * pitch], (*y.shape[:3], out_h, pitch))[..., :out_w]


def conv2d_by_rows(
    xp: Any, conv: Callable[..., Any], x: Any, weight: Any, bias: Any, padding: Any, padding_mode: Any, groups: Any
) -> Any:
    """`fft_conv2d` with the array functions xp and the 1-D convolution conv."""
    if len(x.shape) != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected are four axes, [B, C, H, W]")
    channels = x.shape[1]
    if len(weight.shape) != 4 or weight.shape[2] < 1 or weight.shape[3] < 1:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected is [Cout, C / groups, Kh, Kw]")
    groups = channels if groups is None else groups
    if not isinstance(groups, int) or groups < 1 or channels % groups or weight.shape[0] % groups:
        raise ValueError(
            f"groups is {said(groups)}; it must divide the {channels} channels and {weight.shape[0]} outputs"
        )
    each, many = channels // groups, weight.shape[0] // groups
    if weight.shape[1] != each:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; with {groups} groups its axis 1 is {each}")
    modes = _pair(padding_mode, "padding_mode", str)
    if not set(modes) <= {"zeros", "circular"}:
        raise ValueError(f"padding_mode is {said(padding_mode)}; allowed are 'zeros' and 'circular'")
    padding = _padding(padding, tuple(weight.shape[2:]))
    for size, pad, mode in zip(x.shape[2:], padding, modes, strict=True):
        if mode == "circular" and pad > size:
            raise ValueError(f"padding is {padding}, more than a period of x, {tuple(x.shape[2:])}")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected is ({weight.shape[0]},)")
    w = xp.reshape(weight, (groups, many, each, *weight.shape[2:]))
    y = None
    for c in range(each):
        part = xp.permute_dims(w[:, :, c, ...], (1, 0, 2, 3))
        one = depthwise(xp, conv, x[:, c::each, ...] if each > 1 else x, part, padding, modes)
        y = one if y is None else y + one
    y = xp.reshape(xp.permute_dims(y, (0, 2, 1, 3, 4)), (x.shape[0], weight.shape[0], *y.shape[3:]))
    return y if bias is None else y + bias[:, None, None]


def fft_conv2d(
    x: Any, weight: Any, bias: Any = None, *, padding: Any = "same", padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Any:  # fmt: skip
    """Cross-correlate images with large kernels, as `omniconv.conv` does with stride 1; for few channels per group.

    Parameters
    ----------
    x : array, float32 or float64
        [B, C, H, W].
    weight : array
        [Cout, C / groups, Kh, Kw].
    bias : array, optional
        [Cout].
    padding : "same", int or two of them
        Less than the kernel's size; "same" needs odd sizes.
    padding_mode : "zeros" or "circular", or two of them, for height and width
    groups : int, optional
        Default C: one kernel, or Cout / C of them, per channel. Each channel of a group costs as much as a depthwise
        convolution.

    Returns
    -------
    array
        [B, Cout, H + 2 padding - Kh + 1, W + 2 padding - Kw + 1]. Errors are those of `omniconv.fft_conv`: relative to
        the norm of an image, not to single elements.
    """
    from array_api_compat import array_namespace

    return conv2d_by_rows(array_namespace(x, weight), fft_conv, x, weight, bias, padding, padding_mode, groups)


def _complex(xp: Any, w: Any) -> Any:
    return w if xp.isdtype(w.dtype, "complex floating") else w[..., 0] + 1j * w[..., 1]


def global_filter2d(x: Any, weight: Any) -> Any:
    """Filter images by a spectrum: ``irfft2(weight * rfft2(x))``, both orthonormal (GFNet, arXiv:2107.00645).

    x is [B, H, W, C]; weight [H, W // 2 + 1, C] complex, or with a last axis of real and imaginary parts. Any array-API
    array, differentiable where its framework is.
    """
    from array_api_compat import array_namespace

    xp = array_namespace(x, weight)
    w = _complex(xp, weight)
    if len(x.shape) != 4 or tuple(w.shape) != (x.shape[1], x.shape[2] // 2 + 1, x.shape[3]):
        shapes = f"x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}"
        raise ValueError(f"{shapes}; expected are [B, H, W, C] and [H, W // 2 + 1, C]")
    spectrum = _rfft2(xp, x, 1, 2) * w
    return _irfft2(xp, spectrum, x.shape[1], x.shape[2], 1, 2)


def _rfft2(xp: Any, x: Any, rows: int, columns: int) -> Any:
    return xp.fft.fft(xp.fft.rfft(x, axis=columns, norm="ortho"), axis=rows, norm="ortho")


def _irfft2(xp: Any, z: Any, height: int, width: int, rows: int, columns: int) -> Any:
    return xp.fft.irfft(xp.fft.ifft(z, n=height, axis=rows, norm="ortho"), n=width, axis=columns, norm="ortho")


def _relu(xp: Any, x: Any) -> Any:
    return xp.where(x > 0, x, xp.zeros_like(x))


def affnet_filter2d(
    x: Any, w1: Any, b1: Any, w2: Any, b2: Any, *, threshold: float = 0.01,
    activation: Callable[[Any], Any] | None = None,
) -> Any:  # fmt: skip
    """Filter images by spectra made of their own: ``x + irfft2(mask * X)``, X = rfft2(x) (AFFNet, arXiv:2307.14008).

    ``mask = softshrink(W2 activation(W1 X + b1) + b2)`` per frequency, for complex, block-diagonal W1 and W2;
    activation (default: ReLU) and softshrink act on real and imaginary parts apart.

    x is [B, C, H, W]; w1 and w2 are [2, blocks, C / blocks, C / blocks]: real and imaginary part, block, input, output;
    b1 and b2 [2, blocks, C / blocks]. Any array-API array, differentiable where its framework is.
    """
    from array_api_compat import array_namespace

    xp = array_namespace(x, w1)
    if len(x.shape) != 4 or len(w1.shape) != 4 or w1.shape[0] != 2 or w1.shape[1] * w1.shape[2] != x.shape[1]:
        shapes = f"x has shape {tuple(x.shape)} and w1 {tuple(w1.shape)}"
        raise ValueError(f"{shapes}; expected are [B, C, H, W] and [2, blocks, C / blocks, C / blocks]")
    batch, _, height, width = x.shape
    blocks, size = w1.shape[1:3]
    spectrum = _rfft2(xp, x, 2, 3)
    z = xp.permute_dims(xp.reshape(spectrum, (batch, blocks, size, -1)), (0, 1, 3, 2))  # [B, blocks, frequency, size]
    re, im = xp.real(z), xp.imag(z)

    def layer(re: Any, im: Any, w: Any, b: Any) -> tuple[Any, Any]:
        bias = b[:, None, :, None, :]
        return (
            xp.matmul(re, w[0, ...]) - xp.matmul(im, w[1, ...]) + bias[0, ...],
            xp.matmul(im, w[0, ...]) + xp.matmul(re, w[1, ...]) + bias[1, ...],
        )

    act = activation or (lambda v: _relu(xp, v))
    re, im = (act(v) for v in layer(re, im, w1, b1))
    parts = (v - xp.clip(v, -threshold, threshold) for v in layer(re, im, w2, b2))
    re, im = (xp.reshape(xp.permute_dims(v, (0, 1, 3, 2)), spectrum.shape) for v in parts)
    mask = re + 1j * im
    return x + _irfft2(xp, mask * spectrum, height, width, 2, 3)
