"""The efficiency picture: how far each layer is from what the machine could do, and what holds it back.

Left, the efficiency gap (after Lavin, On the Efficiency of Convolutional Neural Networks): per layer the time of
omniconv and of the peers beside the ideal, the larger of flops / multiply rate and bytes / copy rate. Right, the roof
that both rates make over arithmetic intensity, and where the layers are under it. Needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from omniconv.bench.conv import busy_warning
from omniconv.bench.peers import TORCH_NCHW
from omniconv.bench.style import FAINT, INK, OURS, PEER, STYLE
from omniconv.bench.text import seconds_text

__all__ = ["efficiency_picture"]

_NCHW = "#9aa3ad"


class _Point:
    """One layer: ideal seconds, and those of omniconv's choice, of the best peer and of PyTorch NCHW."""

    def __init__(self, entry: dict[str, Any], report: dict[str, Any], several: bool) -> None:
        rows = entry["results"]
        ours = [row for row in rows if row["kind"] == "algorithm"]
        peers = [row for row in rows if row["kind"] == "peer"]
        self.name = f"{entry['name']} · {entry['batch']}" if several else entry["name"]
        self.short = entry["name"].removeprefix("conv")
        self.flops, self.intensity = entry["flops"], entry["flops"] / entry["bytes"]
        self.compute = entry["flops"] / report["multiply_rate"]["gflops"] * 1e-9
        self.memory = entry["bytes"] / report["copy_rate"]["gbytes"] * 1e-9
        self.ideal = max(self.compute, self.memory)
        # What "auto" chose; where --algorithms left that out, the best of those that ran.
        chosen = [row for row in ours if row["name"] == entry["auto"]] or ours
        self.ours = min((row["seconds"] for row in chosen), default=None)
        self.best = min((row["seconds"] for row in peers), default=None)
        self.nchw = next((row["seconds"] for row in peers if row["name"] == TORCH_NCHW), None)


def _gap(axes: Axes, points: list[_Point]) -> None:
    for y, p in enumerate(points):
        end = p.ours or p.best or p.ideal
        axes.plot([p.ideal, end], [y, y], color=OURS, alpha=0.18, lw=7, solid_capstyle="butt", zorder=1)
        axes.plot([p.ideal] * 2, [y - 0.3, y + 0.3], color=INK, lw=1.8, zorder=4)
    marks = (
        ("nchw", "PyTorch NCHW", _NCHW, "D", 30),
        ("best", "best peer", PEER, "o", 40),
        ("ours", "omniconv", OURS, "o", 46),
    )
    for field, label, colour, marker, size in marks:
        found = [(getattr(p, field), y) for y, p in enumerate(points) if getattr(p, field)]
        if found:
            x, y = zip(*found, strict=True)
            axes.scatter(x, y, s=size, color=colour, marker=marker, label=label, zorder=5, lw=0.8, edgecolor="white")
    axes.plot([], [], color=INK, lw=1.8, label="ideal")
    right = axes.get_yaxis_transform()
    for y, p in enumerate(points):
        if p.ours:
            bound = "memory" if p.memory > p.compute else "compute"
            axes.text(1.06, y, f"{100 * p.ideal / p.ours:.0f} %", transform=right, va="center", ha="right", fontsize=8)
            axes.text(1.075, y, bound, transform=right, va="center", fontsize=8)
    axes.text(1.02, -0.85, "of ideal, set by", transform=right, va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(points)), [p.name for p in points])
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: seconds_text(s).replace(".00", "")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color=FAINT, lw=0.5, alpha=0.7)
    axes.tick_params(length=0, which="both")
    axes.set_title("Efficiency gap: time of one call, ideal to measured", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, handletextpad=0.4, borderpad=0.1)


def _roof(axes: Axes, points: list[_Point], rate: float, copy: float) -> None:
    ridge = rate / copy
    intensities = [p.intensity for p in points] + [ridge]
    left, right = min(intensities) / 1.8, max(intensities) * 1.8
    axes.fill_between([left, ridge, right], [left * copy, rate, rate], 1e-3, color=FAINT, alpha=0.25, lw=0)
    axes.plot([left, ridge, right], [left * copy, rate, rate], color=INK, lw=1.4)
    axes.text(right, rate * 1.04, f"{rate:.0f} GFLOP/s", ha="right", va="bottom", fontsize=8)
    axes.text(left * 1.1, left * copy * 1.5, f"{copy:.0f} GB/s", ha="left", va="bottom", fontsize=8)
    lowest = rate
    for p in points:
        speeds = {f: p.flops / getattr(p, f) * 1e-9 for f in ("best", "ours") if getattr(p, f)}
        if len(speeds) == 2:
            axes.plot([p.intensity] * 2, list(speeds.values()), color=FAINT, lw=1, zorder=2)
        for field, colour in (("best", PEER), ("ours", OURS)):
            if field in speeds:
                axes.scatter(p.intensity, speeds[field], s=34, color=colour, zorder=4, lw=0.8, edgecolor="white")
        if "ours" in speeds:
            axes.annotate(
                p.short, (p.intensity, speeds["ours"]), (5, 3), textcoords="offset points", fontsize=7.5, color=OURS
            )
        lowest = min([lowest, *speeds.values()])
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(lowest / 1.7, rate * 1.6))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color=FAINT, lw=0.5, alpha=0.7)
    axes.tick_params(length=0, which="both")
    axes.set_xlabel("flop per byte that must be moved")
    axes.set_ylabel("GFLOP/s")
    axes.set_title("Roof: measured rates of this machine", pad=26)


def efficiency_picture(report: dict[str, Any], path: Path) -> None:
    """Draw the report of `omniconv.bench.conv.measure` into a file; its ending names the format.

    ValueError when the report has no results or matplotlib does not know the ending.
    """
    entries = [entry for entry in report["layers"] if entry["results"]]
    if not entries:
        raise ValueError("the report has no layer with results; there is nothing to draw")
    several = len({entry["batch"] for entry in entries}) > 1
    with matplotlib.rc_context(STYLE):
        points = [_Point(entry, report, several) for entry in entries]
        figure = Figure(figsize=(12.5, max(4.2, 1.9 + 0.34 * len(points))), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        _gap(left, points)
        _roof(right, points, report["multiply_rate"]["gflops"], report["copy_rate"]["gbytes"])
        at, settings = report["machine"], report["settings"]
        batches = ", ".join(map(str, settings["batches"]))
        figure.suptitle(
            f"omniconv {at['omniconv']}, float32 convolution, precision {settings['precision']}, batch {batches}",
            x=0.012,
            ha="left",
            fontsize=13,
            fontweight="bold",
        )
        figure.supxlabel(
            f"{at['cpu']}, {at['isa']}, {at['threads']} thread(s), {at['date'][:10]}.  Ideal: the larger of flops / "
            f"multiply rate and bytes / copy rate, both measured;\n"
            f"a layer that stays in the caches may beat the copy rate.  {busy_warning(report)}",
            x=0.012,
            ha="left",
            fontsize=7.5,
        )
        figure.savefig(path, dpi=150)
