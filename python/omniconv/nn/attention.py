"""Attention, and other sums with weights that depend on the position: definitions over the array API."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from omniconv.array import said
from omniconv.nn.arrays import constant, pair
from omniconv.nn.functional import pad, softmax
from omniconv.nn.summary import note

__all__ = ["attention", "deform_conv2d", "gated_attention", "grid_sample", "window_conv2d"]

LOGITS = 1 << 22  # at once, of all heads together: beyond, queries go in blocks, each with all of its keys


def attention(
    q: Any, k: Any, v: Any, *, scale: float | None = None, bias: Any = None, mask: Any = None, causal: bool = False,
    factor: Any = None,
) -> Any:  # fmt: skip
    """``softmax(factor * scale * q k^T + bias) v`` over the keys; at most 2^22 logits are in memory at a time.

    Parameters
    ----------
    q, k, v : array
        [..., Lq, D], [..., Lk, D] and [..., Lk, Dv].
    scale : float, optional
        Default D^-1/2.
    bias, factor : array, optional
        Added to the logits, and multiplied with them before; they broadcast to [..., Lq, Lk].
    mask : boolean array, optional
        True where a query sees a key. A row without a True gives zeros.
    causal : bool
        Query i sees the keys up to i + Lk - Lq.
    """
    xp = array_namespace(q, k, v)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    count, keys = q.shape[-2], k.shape[-2]
    kt = xp.permute_dims(k, (*range(k.ndim - 2), k.ndim - 1, k.ndim - 2))
    batch = int(np.prod(q.shape[:-2]))
    block = max(1, min(count, LOGITS // max(1, batch * keys)))

    def rows(term: Any, at: slice) -> Any:
        return term if term.ndim < 2 or term.shape[-2] == 1 else term[..., at, :]

    parts = []
    for start in range(0, count, block):
        at = slice(start, min(start + block, count))
        logits = xp.matmul(q[..., at, :] * scale, kt)
        logits = logits if factor is None else logits * rows(factor, at)
        logits = logits if bias is None else logits + rows(bias, at)
        seen = None if mask is None else rows(mask, at)
        if causal:
            i = np.arange(at.start, at.stop)[:, None] + keys - count
            below = constant(np.arange(keys) <= i, logits)
            seen = below if seen is None else xp.logical_and(seen, below)
        if seen is None:
            weights = softmax(logits)
        else:
            low = xp.where(seen, logits, logits * 0 - 3e38)
            top = xp.max(low, axis=-1, keepdims=True)
            e = xp.where(seen, xp.exp(xp.where(seen, logits - top, logits * 0)), logits * 0)
            total = xp.sum(e, axis=-1, keepdims=True)
            weights = e / xp.where(total > 0, total, total * 0 + 1)
        parts.append(xp.matmul(weights, v))
    y = parts[0] if len(parts) == 1 else xp.concat(parts, axis=-2)
    note("attention", y, batch * count * keys * (q.shape[-1] + v.shape[-1]))
    return y


def gated_attention(q: Any, k: Any, v: Any, place: Any, gate: Any, **options: Any) -> Any:
    """`attention` mixed with weights of positions: ``(1 - gate) attention(q, k, v) + gate place v`` (arXiv:2103.10697).

    Parameters
    ----------
    q, k, v, **options
        As for `attention`.
    place : array
        [..., Lq, Lk], rows that sum to one: so do those of the mixture.
    gate : array
        From 0 to 1; it broadcasts to [..., Lq, 1], such as [heads, 1, 1].
    """
    return (1 - gate) * attention(q, k, v, **options) + array_namespace(v).matmul(gate * place, v)


def window_conv2d(x: Any, weight: Any, *, stride: Any = 1, padding: Any = None, dilation: Any = 1) -> Any:
    """Depthwise convolution with taps of their own at every position (TVConv, arXiv:2203.10489).

    ``y[n, c, i, j] = sum_t weight[c, t, i, j] x[n, c, i s + t_y d - p, j s + t_x d - p]``, zeros outside.

    Parameters
    ----------
    x : array
        [N, C, H, W].
    weight : array
        [C, k * k, Hout, Wout], the taps row by row; or [N, C, k * k, Hout, Wout], one set for each sample. C may be 1
        for all channels.
    padding : int or two, optional
        Default (k - 1) // 2 times the dilation.
    """
    count, (oh, ow) = weight.shape[-3], weight.shape[-2:]
    k = round(count**0.5)
    if k * k != count:
        raise ValueError(f"weight has {count} taps; expected is a square number")
    (sy, sx), (dy, dx) = pair(stride), pair(dilation)
    py, px = ((k - 1) // 2 * dy, (k - 1) // 2 * dx) if padding is None else pair(padding)
    high = [max(0, (o - 1) * s + (k - 1) * d + 1 - n - p) for o, s, d, n, p in (
        (oh, sy, dy, x.shape[2], py), (ow, sx, dx, x.shape[3], px))]  # fmt: skip
    wide = pad(x, [(py, high[0]), (px, high[1])])
    y = None
    for t in range(count):
        top, left = t // k * dy, t % k * dx
        part = wide[:, :, top : top + (oh - 1) * sy + 1 : sy, left : left + (ow - 1) * sx + 1 : sx]
        part = part * weight[..., t, :, :]
        y = part if y is None else y + part
    return y


def _reflected(xp: Any, g: Any, size: int, align_corners: bool) -> Any:
    """G folded back into the image, at its corner pixels' centres or at its edges."""
    low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
    if span <= 0:
        return g * 0
    g = xp.abs(g - low)
    turns = xp.floor(g / span)
    rest = g - turns * span
    odd = turns - 2 * xp.floor(turns / 2)
    return xp.clip(low + rest + odd * (span - 2 * rest), 0, size - 1)


def _cubic(t: Any) -> list[Any]:
    """Weights of the four neighbours of a point at t in [0, 1) beyond the second (Keys, 1981; a = -0.75)."""
    near = [(1.25 * d - 2.25) * d * d + 1 for d in (t, 1 - t)]
    far = [((-0.75 * d + 3.75) * d - 6) * d + 3 for d in (1 + t, 2 - t)]
    return [far[0], near[0], near[1], far[1]]


def _taps(xp: Any, g: Any, mode: str) -> list[tuple[Any, Any]]:
    """(place, weight) of the pixels that a coordinate reads along an axis."""
    if mode == "nearest":
        return [(xp.round(g), g * 0 + 1)]
    low = xp.floor(g)
    if mode == "linear":
        return [(low, 1 - (g - low)), (low + 1, g - low)]
    return [(low + i - 1, w) for i, w in enumerate(_cubic(g - low))]


def _sampled(x: Any, gy: Any, gx: Any, border: str, mode: str = "linear", align_corners: bool = False) -> Any:
    """X [N, C, H, W] at points [N, P]: [N, C, P]."""
    xp, (n, c, h, w) = array_namespace(x), x.shape

    def inside(g: Any, size: int) -> Any:
        if border == "replicate":
            return xp.clip(g, 0, size - 1)
        return _reflected(xp, g, size, align_corners) if border == "reflect" else g

    if mode != "cubic":  # whose taps are brought inside one by one
        gy, gx = inside(gy, h), inside(gx, w)
    flat = xp.reshape(x, (n, c, h * w))
    out = None
    for yy, wy in _taps(xp, gy, mode):
        for xx, wx in _taps(xp, gx, mode):
            py, px = (inside(yy, h), inside(xx, w)) if mode == "cubic" else (yy, xx)
            there = (py >= 0) & (py <= h - 1) & (px >= 0) & (px <= w - 1)
            at = xp.clip(py, 0, h - 1) * w + xp.clip(px, 0, w - 1)
            at = xp.astype(xp.where(there, at, at * 0), xp.int64)
            at = xp.broadcast_to(at[:, None, :], (n, c, at.shape[-1]))
            value = xp.take_along_axis(flat, at, axis=2)
            weight = wy * wx
            part = value * xp.where(there, weight, weight * 0)[:, None, :]
            out = part if out is None else out + part
    return out


def grid_sample(x: Any, grid: Any, *, mode: str = "linear", border: str = "zeros", align_corners: bool = False) -> Any:
    """X [N, C, H, W] at points grid [N, Ho, Wo, 2], which are (x, y) from -1 to 1 over the image: [N, C, Ho, Wo].

    As ``torch.nn.functional.grid_sample``: mode is "nearest", "linear" (its bilinear) or "cubic"; border, what points
    outside see, is "zeros", "replicate" (its border) or "reflect"; align_corners tells whether -1 and 1 are the centres
    of the corner pixels or the edges of the image.
    """
    for name, value, allowed in (
        ("mode", mode, ("nearest", "linear", "cubic")),
        ("border", border, ("zeros", "replicate", "reflect")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {said(value)}; allowed are {', '.join(map(repr, allowed))}")
    xp, (n, ho, wo, _) = array_namespace(x), grid.shape
    h, w = x.shape[2:]

    def place(g: Any, size: int) -> Any:
        return (g + 1) * ((size - 1) / 2) if align_corners else ((g + 1) * size - 1) / 2

    gx = xp.reshape(place(grid[..., 0], w), (n, -1))
    gy = xp.reshape(place(grid[..., 1], h), (n, -1))
    return xp.reshape(_sampled(x, gy, gx, border, mode, align_corners), (n, x.shape[1], ho, wo))


def deform_conv2d(
    x: Any, offset: Any, weight: Any, bias: Any = None, *, mask: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Deformable convolution: every tap reads at its place plus an offset, bilinear, zeros outside (arXiv:1703.06211).

    Parameters
    ----------
    x : array
        [N, Ci, H, W].
    offset : array
        [N, 2 G k k, Ho, Wo]: (dy, dx) of the taps, row by row, for each of G equal parts of the input's channels.
    weight : array
        [Co, Ci / groups, k, k].
    mask : array, optional
        [N, G k k, Ho, Wo]: factors of the taps (version 2, arXiv:1811.11168).
    """
    xp, (n, ci, _, _) = array_namespace(x), x.shape
    co, each, kh, kw = weight.shape
    (sy, sx), (py, px), (dy, dx) = pair(stride), pair(padding), pair(dilation)
    ho, wo = offset.shape[2:]
    parts, rest = divmod(offset.shape[1], 2 * kh * kw)
    if rest or not parts or ci % parts:
        raise ValueError(
            f"offset has {offset.shape[1]} channels; expected are {2 * kh * kw} for {kh} x {kw} taps, or as many for "
            f"each of several equal parts of the {ci} channels of x"
        )
    if each * groups != ci or co % groups:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; groups={groups} and {ci} channels of x do not fit it"
        )
    y = None
    for t in range(kh * kw):
        base_y = np.arange(ho)[:, None] * sy - py + t // kw * dy + np.zeros((1, wo))
        base_x = np.arange(wo)[None, :] * sx - px + t % kw * dx + np.zeros((ho, 1))
        samples = []
        for g in range(parts):
            at = g * kh * kw + t
            gy = xp.reshape(offset[:, 2 * at] + constant(base_y, x), (n, -1))
            gx = xp.reshape(offset[:, 2 * at + 1] + constant(base_x, x), (n, -1))
            sample = _sampled(x[:, g * ci // parts : (g + 1) * ci // parts], gy, gx, "zeros")
            samples.append(sample if mask is None else sample * xp.reshape(mask[:, at], (n, 1, -1)))
        sample = samples[0] if parts == 1 else xp.concat(samples, axis=1)
        sample = xp.reshape(sample, (n, groups, each, ho * wo))
        tap = xp.reshape(weight[:, :, t // kw, t % kw], (groups, co // groups, each))
        part = xp.matmul(tap, sample)
        y = part if y is None else y + part
    y = xp.reshape(y, (n, co, ho, wo))
    return y if bias is None else y + xp.reshape(bias, (-1, 1, 1))
