"""Windows of maps, for attention that looks at neighbours: definitions over the array API.

Maps are [..., H, W, C] here, so that heads may stand among the first axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from omniconv.nn.arrays import moved, pair, take
from omniconv.nn.functional import pad
from omniconv.nn.summary import note

__all__ = ["halo_windows", "merge_windows", "relative_bias", "split_windows", "window_av", "window_qk"]


def _blocks(x: Any, size: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of a window and how many there are down and across."""
    (h, w), (sh, sw) = x.shape[-3:-1], pair(size)
    if min(sh, sw) < 1 or h % sh or w % sw:
        raise ValueError(f"size is {sh} x {sw}; it must divide the map of x, {h} x {w}")
    return (sh, sw), (h // sh, w // sw)


def split_windows(x: Any, size: Any) -> Any:
    """[N, H, W, C] cut into windows, row by row: [N, windows, sh * sw, C] for a size, one number or two (Swin)."""
    xp, (n, *_, c) = array_namespace(x), x.shape
    (sh, sw), (rows, columns) = _blocks(x, size)
    y = xp.permute_dims(xp.reshape(x, (n, rows, sh, columns, sw, c)), (0, 1, 3, 2, 4, 5))
    return xp.reshape(y, (n, rows * columns, sh * sw, c))


def merge_windows(y: Any, size: Any, shape: tuple[int, int]) -> Any:
    """The inverse of `split_windows`: [N, H, W, C] for the shape (H, W)."""
    xp, (n, *_, c), (sh, sw), (h, w) = array_namespace(y), y.shape, pair(size), shape
    if y.shape[1:3] != (h // sh * (w // sw), sh * sw):
        raise ValueError(f"y has shape {tuple(y.shape)}; {h} x {w} in windows of {sh} x {sw} is another number of them")
    y = xp.permute_dims(xp.reshape(y, (n, h // sh, w // sw, sh, sw, c)), (0, 1, 3, 2, 4, 5))
    return xp.reshape(y, (n, h, w, c))


def halo_windows(x: Any, size: Any, halo: int) -> Any:
    """Windows of [N, H, W, C] with `halo` more on every side, zeros outside the map (HaloNet, arXiv:2103.12731).

    [N, windows, (sh + 2 halo) * (sw + 2 halo), C], for the windows of `split_windows`.
    """
    (sh, sw), (rows, columns) = _blocks(x, size)
    wide = pad(x, [(halo, halo), (halo, halo), (0, 0)])
    for axis, count, each in ((1, rows, sh), (3, columns, sw)):
        at = np.arange(count)[:, None] * each + np.arange(each + 2 * halo)[None]
        wide = take(wide, at.ravel(), axis)
        wide = wide.reshape(*wide.shape[:axis], count, each + 2 * halo, *wide.shape[axis + 1 :])
    xp, (n, *_, c) = array_namespace(x), x.shape
    return xp.reshape(xp.permute_dims(wide, (0, 1, 3, 2, 4, 5)), (n, rows * columns, -1, c))


def relative_bias(table: Any, size: Any) -> Any:
    """The bias [heads, L, L] of a window of L = sh * sw cells, for `attention`, from one number per offset (Swin).

    table is [(2 sh - 1) * (2 sw - 1), heads], by row offset then column offset of query minus key, lowest first:
    the layout of ``relative_position_bias_table`` in public checkpoints.
    """
    xp, (sh, sw) = array_namespace(table), pair(size)
    if table.shape[0] != (2 * sh - 1) * (2 * sw - 1):
        raise ValueError(f"table has {table.shape[0]} rows; a window of {sh} x {sw} has {(2 * sh - 1) * (2 * sw - 1)}")
    y, x = (a.ravel() for a in np.mgrid[:sh, :sw])
    at = (y[:, None] - y[None] + sh - 1) * (2 * sw - 1) + x[:, None] - x[None] + sw - 1
    return moved(xp.reshape(take(table, at.ravel(), 0), (sh * sw, sh * sw, -1)), -1, 0)


def _neighbours(x: Any, kernel: int, dilation: int) -> list[Any]:
    """[..., H, W, C] shifted, one for each tap of a window around a cell, row by row; zeros beyond the map."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}; expected is an odd number, for a window has a middle")
    h, w, edge = *x.shape[-3:-1], kernel // 2 * dilation
    wide = pad(x, [(edge, edge), (edge, edge), (0, 0)])
    starts = [(i * dilation, j * dilation) for i in range(kernel) for j in range(kernel)]
    return [wide[..., i : i + h, j : j + w, :] for i, j in starts]


def window_qk(q: Any, k: Any, kernel: int, *, dilation: int = 1) -> Any:
    """Products of each query with the keys of a window around it: ``q[..., y, x, :] . k[..., y + i d, x + j d, :]``.

    Parameters
    ----------
    q, k : array
        [..., H, W, D].
    kernel : int
        Odd; of both sides of the window.

    Returns
    -------
    array
        [..., H, W, kernel * kernel], taps row by row, zero beyond the map: mask those before a softmax.
    """
    xp = array_namespace(q, k)
    y = xp.stack([xp.sum(q * shifted, axis=-1) for shifted in _neighbours(k, kernel, dilation)], axis=-1)
    note("window_qk", y, int(np.prod(y.shape)) * q.shape[-1])
    return y


def window_av(weights: Any, v: Any, *, dilation: int = 1) -> Any:
    """Sums of the values of a window around each cell, with its own weights [..., H, W, k * k]: [..., H, W, D]."""
    kernel = round(weights.shape[-1] ** 0.5)
    if kernel * kernel != weights.shape[-1]:
        raise ValueError(f"weights has {weights.shape[-1]} taps; expected is a square number")
    y = None
    for t, shifted in enumerate(_neighbours(v, kernel, dilation)):
        part = weights[..., t : t + 1] * shifted
        y = part if y is None else y + part
    note("window_av", y, int(np.prod(weights.shape)) * v.shape[-1])
    return y
