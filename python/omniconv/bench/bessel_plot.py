"""The error map: how far log I and log K are off over (v, x), omniconv beside SciPy. Needs matplotlib and mpmath."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from omniconv import special
from omniconv.bench.bessel import FUNCTIONS, PEERS, map_of_errors

__all__ = ["error_picture"]


def error_picture(path: Path, side: int = 48) -> None:
    """One panel per function and library; grey: the value is finite, what was found is not."""
    makers = {"omniconv": lambda name: getattr(special, name), "SciPy": PEERS["scipy"]}
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(8.6, 7.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(FUNCTIONS), len(makers), sharex=True, sharey=True)
        colours = matplotlib.colormaps["viridis"].with_extremes(bad="#9aa3ad")
        for row, name in zip(panels, FUNCTIONS, strict=True):
            for axes, (library, make) in zip(row, makers.items(), strict=True):
                grid, error = map_of_errors(name, make(name), side)
                shown = np.ma.masked_invalid(np.maximum(error.T, 0.1))
                image = axes.pcolormesh(grid, grid, shown, norm=LogNorm(0.1, 1e4), cmap=colours, shading="nearest")
                axes.set(xscale="log", yscale="log")
                finite = np.isfinite(error)
                axes.set_title(
                    f"{name}, {library}: at most {error[finite].max():.3g}, not finite {1 - finite.mean():.0%}",
                    fontsize=9,
                )
        for axes in panels[-1]:
            axes.set_xlabel("order v")
        for axes in panels[:, 0]:
            axes.set_ylabel("argument x")
        figure.colorbar(image, ax=panels, label="error / (eps max(1, |value|))", shrink=0.8)
        figure.savefig(path, dpi=150)
