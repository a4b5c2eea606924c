"""Networks of more or fewer FLOPs: the rule of Dollar et al., "Fast and Accurate Model Scaling", arXiv:2103.06877."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from omniconv.array import said

__all__ = ["Scaled", "scale"]


class Scaled(NamedTuple):
    """The stages of a scaled network."""

    depths: list[int]
    widths: list[int]
    group_widths: list[int] | None
    resolution: int


def scale(
    depths: Sequence[int],
    widths: Sequence[int],
    resolution: int,
    factor: float,
    *,
    group_widths: Sequence[int] | None = None,
    weights: tuple[float, float, float] = (1.0, 8.0, 1.0),
    group_weight: float | None = None,
) -> Scaled:
    """A network of about `factor` times the FLOPs, which grow with depth and with the squares of width and resolution.

    Depth grows by ``factor^(d / W)``, width by ``factor^(w / 2W)``, group width by ``factor^(g / 2W)``, resolution by
    ``factor^(r / 2W)``, for `weights` (d, w, r) and W their sum. The default is fast compound scaling: mostly
    width grows, for activations, and so the time on hardware that waits for memory, then grow least.

    Parameters
    ----------
    depths, widths : sequence of int
        Blocks and channels of each stage. Widths become multiples of 8 and of their group.
    resolution : int
        Side of the images in pixels; becomes a multiple of 4.
    factor : float
        Positive; below one for a smaller network.
    group_widths : sequence of int, optional
        Channels of a group of each stage's grouped convolutions; they become multiples of 8, or 1, 2 and 4. Depthwise
        convolutions have no entry here: their groups stay at one channel.
    weights : three floats
        (d, w, r), such as (1, 0, 0) to scale depth alone.
    group_weight : float, optional
        g; default is w.
    """
    d, w, r = weights
    total, g = d + w + r, w if group_weight is None else group_weight
    if factor <= 0:
        raise ValueError(f"factor is {said(factor)}; expected is a positive number")
    if min(d, w, r) < 0 or total <= 0:
        raise ValueError(f"weights is {said(weights)}; expected are three numbers, none negative, not all zero")
    if len(depths) != len(widths) or (group_widths is not None and len(group_widths) != len(widths)):
        raise ValueError(f"depths has {len(depths)} stages and widths has {len(widths)}; all must have as many")
    wide = [max(8, round(n * factor ** (w / total / 2) / 8) * 8) for n in widths]
    groups = None
    if group_widths is not None:
        groups = [_group(n * factor ** (g / total / 2), top) for n, top in zip(group_widths, wide, strict=True)]
        wide = [max(each, round(n / each) * each) for n, each in zip(wide, groups, strict=True)]
    return Scaled(
        [max(1, round(n * factor ** (d / total))) for n in depths], wide, groups,
        max(4, round(resolution * factor ** (r / total / 2) / 4) * 4),
    )  # fmt: skip


def _group(exact: float, top: int) -> int:
    each = max(1, round(exact)) if exact <= 2 else 4 if exact <= 5 else round(exact / 8) * 8
    return min(each, top)
