"""The look of the pictures."""

from __future__ import annotations

__all__ = ["FAINT", "INK", "OURS", "PEER", "STYLE"]

INK, FAINT, OURS, PEER = "#22262b", "#c9ced6", "#0b6e99", "#d9822b"
#: for `matplotlib.rc_context`
STYLE = {
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "svg.fonttype": "none",
}
