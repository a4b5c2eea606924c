"""``omniconv tune``: measures a set of layers, and keeps the times for ``algorithm="auto"``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

import omniconv
from omniconv.bench import layers as layer_sets
from omniconv.bench.text import seconds_text
from omniconv.cli.console import stderr, stdout

__all__ = ["tune"]

OPS = ("forward", "grad_input", "grad_weight")


def tune(
    layers: Annotated[
        str,
        typer.Argument(help=f"{', '.join(layer_sets.names())}, a model, or a CSV file.", metavar="SET|MODEL|FILE.csv"),
    ],
    out: Annotated[Path, typer.Option(help="JSON file that the times are added to.")],
    batch: Annotated[int, typer.Option(min=1, help="Batch size to measure with.")] = 1,
    op: Annotated[list[str] | None, typer.Option(help=f"{', '.join(OPS)}; may be given several times.")] = None,
    precision: Annotated[str, typer.Option(help="highest, high or medium.")] = "highest",
    seconds: Annotated[float, typer.Option(min=0.001, help="For each problem, both layouts together.")] = 0.3,
    threads: Annotated[int | None, typer.Option(min=1, max=1024)] = None,
) -> None:
    """Measure every algorithm on the layers of a network; OMNICONV_TUNING=FILE then has "auto" take the fastest."""
    try:
        chosen = layer_sets.load(layers)
        if threads is not None:
            omniconv.set_num_threads(threads)
        if out.exists():
            omniconv.tuning.load(out)  # before an hour is spent on what could not be added to it
        table = Table("layer", "op", "predicted", "measured", "fastest", "gain")
        for layer in track(chosen, "measuring", console=stderr(), transient=True):
            for each in op or OPS[:1]:
                how = {"op": each, "precision": precision, **layer.geometry}
                shapes = layer.x_shape(batch), layer.w_shape
                before = omniconv.algorithms(*shapes, **how)[0].name
                after = omniconv.tuning.tune(*shapes, seconds=seconds, **how)
                old, new = next(a for a in after if a.name == before), after[0]
                gain = f"{old.measured / new.measured:.2f}x" if old.measured and new.measured else "–"
                table.add_row(
                    layer.name,
                    each,
                    old.name,
                    seconds_text(old.measured),
                    f"{new.name} {seconds_text(new.measured)}",
                    gain,
                )
        kept = omniconv.tuning.save(out)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    console = stdout()
    console.print(table)
    console.print(f"{out}: {kept} problem(s) of this machine. To use them: OMNICONV_TUNING={out}")
