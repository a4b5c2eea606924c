"""Attention, and other sums with weights that depend on the position: definitions over the array API."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from omniconv.nn.arrays import constant, pair
from omniconv.nn.functional import pad, softmax
from omniconv.nn.summary import note

__all__ = ["attention", "deform_conv2d", "grid_sample", "window_conv2d"]

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


def _sampled(x: Any, gy: Any, gx: Any, border: str) -> Any:
    """X [N, C, H, W] at points [N, P], bilinear: [N, C, P]."""
    xp, (n, c, h, w) = array_namespace(x), x.shape
    if border == "replicate":
        gy, gx = xp.clip(gy, 0, h - 1), xp.clip(gx, 0, w - 1)
    flat = xp.reshape(x, (n, c, h * w))
    y0, x0 = xp.floor(gy), xp.floor(gx)
    out = None
    for a in (0, 1):
        for b in (0, 1):
            yy, xx = y0 + a, x0 + b
            weight = (1 - xp.abs(gy - yy)) * (1 - xp.abs(gx - xx))
            inside = (yy >= 0) & (yy <= h - 1) & (xx >= 0) & (xx <= w - 1)
            at = xp.clip(yy, 0, h - 1) * w + xp.clip(xx, 0, w - 1)
            at = xp.astype(xp.where(inside, at, at * 0), xp.int64)
            at = xp.broadcast_to(at[:, None, :], (n, c, at.shape[-1]))
            value = xp.take_along_axis(flat, at, axis=2)
            part = value * xp.where(inside, weight, weight * 0)[:, None, :]
            out = part if out is None else out + part
    return out


def grid_sample(x: Any, grid: Any, *, border: str = "zeros", align_corners: bool = False) -> Any:
    """X [N, C, H, W] at points grid [N, Ho, Wo, 2], bilinear; points are (x, y) from -1 to 1 over the image.

    border is "zeros" or "replicate"; align_corners tells whether -1 and 1 are the centres of the corner pixels or the
    edges of the image, as in ``torch.nn.functional.grid_sample``.
    """
    if border not in ("zeros", "replicate"):
        raise ValueError(f"border is {border!r}; allowed are 'zeros' and 'replicate'")
    xp, (n, ho, wo, _) = array_namespace(x), grid.shape
    h, w = x.shape[2:]

    def place(g: Any, size: int) -> Any:
        return (g + 1) * ((size - 1) / 2) if align_corners else ((g + 1) * size - 1) / 2

    gx = xp.reshape(place(grid[..., 0], w), (n, -1))
    gy = xp.reshape(place(grid[..., 1], h), (n, -1))
    return xp.reshape(_sampled(x, gy, gx, border), (n, x.shape[1], ho, wo))


def deform_conv2d(
    x: Any, offset: Any, weight: Any, bias: Any = None, *, mask: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1,
) -> Any:  # fmt: skip
    """Deformable convolution: every tap reads at its place plus an offset, bilinear, zeros outside (arXiv:1703.06211).

    Parameters
    ----------
    x : array
        [N, Ci, H, W].
    offset : array
        [N, 2 k k, Ho, Wo]: (dy, dx) of the taps, row by row.
    weight : array
        [Co, Ci, k, k].
    mask : array, optional
        [N, k k, Ho, Wo]: factors of the taps (version 2, arXiv:1811.11168).
    """
    xp, (n, _ci, _, _) = array_namespace(x), x.shape
    co, _, kh, kw = weight.shape
    (sy, sx), (py, px), (dy, dx) = pair(stride), pair(padding), pair(dilation)
    ho, wo = offset.shape[2:]
    if offset.shape[1] != 2 * kh * kw:
        raise ValueError(f"offset has {offset.shape[1]} channels; expected are {2 * kh * kw} for {kh} x {kw} taps")
    y = None
    for t in range(kh * kw):
        base_y = np.arange(ho)[:, None] * sy - py + t // kw * dy + np.zeros((1, wo))
        base_x = np.arange(wo)[None, :] * sx - px + t % kw * dx + np.zeros((ho, 1))
        gy = xp.reshape(offset[:, 2 * t] + constant(base_y, x), (n, -1))
        gx = xp.reshape(offset[:, 2 * t + 1] + constant(base_x, x), (n, -1))
        sample = _sampled(x, gy, gx, "zeros")
        if mask is not None:
            sample = sample * xp.reshape(mask[:, t], (n, 1, -1))
        part = xp.matmul(weight[:, :, t // kw, t % kw], sample)
        y = part if y is None else y + part
    y = xp.reshape(y, (n, co, ho, wo))
    return y if bias is None else y + xp.reshape(bias, (-1, 1, 1))
