"""The waterline picture: over the layers of a network, what bounds each, and what the bound leaves to gain.

Above, the operations of each layer per byte, and the waterline; below, the efficiency gap: ideal, floor and measured
time of each layer. Needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from omniconv.bench.conv import busy_warning
from omniconv.bench.style import FAINT, INK, OURS, PEER, STYLE
from omniconv.bench.text import seconds_text

__all__ = ["waterline_picture"]


def _intensities(axes: Axes, rows: list[dict[str, Any]], line: float) -> None:
    heights = [row["intensity"] for row in rows]
    low, high = min([*heights, line]) / 2, max([*heights, line]) * 2
    colours = [PEER if row["bound"] == "memory" else OURS for row in rows]
    axes.bar(range(len(rows)), heights, width=0.8, color=colours, zorder=3)
    axes.axhspan(low, line, color=FAINT, alpha=0.35, lw=0)
    axes.axhline(line, color=INK, lw=1.4, zorder=4)
    axes.text(1.005, line, f"waterline\n{line:.3g}", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set(yscale="log", ylim=(low, high), ylabel="flop / byte")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.bar(0, 0, color=OURS, label="bound by arithmetic")
    axes.bar(0, 0, color=PEER, label="under water: bound by memory")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, borderpad=0.1)


def _times(axes: Axes, rows: list[dict[str, Any]]) -> None:
    places = range(len(rows))
    for word, label, colour, width in (
        ("measured", "measured", "#b9d4e2", 0.86),
        ("floor_seconds", "floor: the larger of arithmetic and memory", PEER, 0.5),
        ("ideal_seconds", "ideal: arithmetic alone", OURS, 0.5),
    ):
        heights = [1e3 * (row["seconds"]["omniconv"] if word == "measured" else row[word]) for row in rows]
        axes.bar(places, heights, width=width, color=colour, label=label, zorder=3)
    best = [min((s for n, s in row["seconds"].items() if n != "omniconv"), default=None) for row in rows]
    if all(s is not None for s in best):
        axes.scatter(places, [1e3 * s for s in best], s=14, color=INK, zorder=5, label="best peer", lw=0)
    axes.set(ylabel="ms")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, borderpad=0.1)


def waterline_picture(report: dict[str, Any], path: Path) -> None:
    """Draw the report of `omniconv.bench.waterline.measure` into a file; its ending names the format.

    ValueError when matplotlib does not know the ending.
    """
    rows = [report["layers"][i] for i in report["sequence"]]
    at, settings, total = report["machine"], report["settings"], report["totals"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(8.0, 2.5 + 0.13 * len(rows)), 6.2), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True)
        _intensities(above, rows, total["waterline"])
        _times(below, rows)
        for axes in (above, below):
            axes.grid(axis="y", color=FAINT, lw=0.5, alpha=0.7)
            axes.tick_params(length=0, which="both")
        step = max(1, len(rows) // 60)
        below.set_xticks(range(0, len(rows), step), [row["name"] for row in rows[::step]], rotation=90, fontsize=6.5)
        below.set_xlim(-0.7, len(rows) - 0.3)
        seconds = total["seconds"]["omniconv"]
        figure.suptitle(
            f"{settings['target']}, batch {settings['batch']}, precision {settings['precision']}: "
            f"{seconds_text(total['ideal_seconds'])} ideal, {seconds_text(total['floor_seconds'])} floor, "
            f"{seconds_text(seconds)} measured: {100 * total['ideal_seconds'] / seconds:.0f} % of ideal",
            x=0.012,
            ha="left",
            fontsize=11,
            fontweight="bold",
        )
        figure.supxlabel(
            f"omniconv {at['omniconv']}, {at['cpu']}, {at['isa']}, {at['threads']} thread(s), {at['date'][:10]}. "
            f"{report['multiply_rate']['gflops']:.0f} GFLOP/s and {report['copy_rate']['gbytes']:.1f} GB/s, measured.\n"
            "Operations are those of the direct sum: Winograd may pass the ideal, layers in the caches the floor. "
            + busy_warning(report),
            x=0.012,
            ha="left",
            fontsize=7,
        )
        figure.savefig(path, dpi=150)
