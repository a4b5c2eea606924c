"""``omniconv bench waterline``: what bounds each layer of a network, and how far from it the layers are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

import omniconv
from omniconv.bench import layers as layer_sets
from omniconv.bench import peers as all_peers
from omniconv.bench import waterline as race_of_layers
from omniconv.bench.conv import busy_warning
from omniconv.bench.text import seconds_text
from omniconv.bench.waterline import OURS
from omniconv.cli.console import stderr, stdout, writable, write_json

__all__ = ["waterline"]


def _table(report: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True, max_width=26)
    table.add_column("", no_wrap=True)
    several = len(report["layers"][0]["seconds"]) > 1
    for column in ("x", "flop/byte", "ideal", "floor", OURS, *(["best peer"] if several else []), "of ideal"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in report["layers"]:
        seconds, under = row["seconds"], "~" if row["bound"] == "memory" else ""
        best = [seconds_text(min(s for name, s in seconds.items() if name != OURS))] if several else []
        times = [seconds_text(s) for s in (row["ideal_seconds"], row["floor_seconds"], seconds[OURS])]
        table.add_row(
            row["name"], row["text"], str(row["count"]), f"{under}{row['intensity']:.1f}", *times, *best,
            f"{100 * row['efficiency']:.0f} %",
        )  # fmt: skip
    return table


def _totals(report: dict[str, Any]) -> str:
    total, at = report["totals"], report["machine"]
    seconds = total["seconds"]
    ours = seconds[OURS]
    rows = [
        ("ideal", total["ideal_seconds"], "the operations at the multiply rate"),
        ("fused", total["fused_seconds"], "floor of all layers in one kernel: weights, first input, last output"),
        ("floor", total["floor_seconds"], "floor of a kernel for each layer"),
        *((name, s, "measured, the sum over the layers") for name, s in seconds.items()),
    ]
    if report["model_seconds"] is not None:
        rows.append(("model", report["model_seconds"], "measured, a call of the whole model"))
    lines = [
        f"{name:14} {seconds_text(s):>10}  {100 * total['ideal_seconds'] / s:4.0f} %  {what}" for name, s, what in rows
    ]
    rate, copy = report["multiply_rate"]["gflops"], report["copy_rate"]["gbytes"]
    lines += [
        f"Waterline: {total['waterline']:.3g} flop/byte ({rate:.0f} GFLOP/s, {copy:.1f} GB/s, measured). "
        f"{total['under_water']} of {total['layers']} layers are under it (~).",
        f"Efficiency gap: {seconds_text(max(0.0, ours - total['ideal_seconds']))}, of which "
        f"{seconds_text(total['floor_seconds'] - total['ideal_seconds'])} are the memory's.",
        f"{at['cpu']}, {at['isa']}, {at['threads']} thread(s); omniconv {at['omniconv']}. Operations are those of the "
        "direct sum: Winograd may pass the ideal, layers in the caches the floor.",
    ]
    if report["left_out"]:
        lines.append(f"Left out, with multiplications: {', '.join(report['left_out'])}")
    return "\n".join(lines)


def waterline(
    target: Annotated[
        str,
        typer.Argument(help=f"A model, {', '.join(layer_sets.names())}, or a CSV file.", metavar="MODEL|SET|FILE.csv"),
    ],
    batch: Annotated[int, typer.Option(min=1, help="Images.")] = 1,
    size: Annotated[int, typer.Option(min=1, help="Height and width of a model's images.")] = 224,
    precision: Annotated[str, typer.Option(help="highest, high or medium.")] = "highest",
    layout: Annotated[str, typer.Option(help="Memory layout of omniconv's x: nchw or nhwc.")] = "nchw",
    peers: Annotated[str, typer.Option(help=f"{', '.join(all_peers.names())}, all or none.")] = "none",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of omniconv and the peers alike.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per distinct layer; 3 rounds run at least.")] = 1.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the waterline picture to this file (PNG, SVG, PDF).")] = None,
) -> None:
    """Hold the layers of a network against the roofline: waterline and efficiency gap."""
    try:
        if precision not in ("highest", "high", "medium"):
            raise ValueError(f"precision is {precision!r}; allowed are highest, high, medium")
        if layout not in ("nchw", "nhwc"):
            raise ValueError(f"layout is {layout!r}; allowed are nchw, nhwc")
        chosen = all_peers.choose(peers)
        writable(json, "json")
        writable(plot, "plot")
        if plot is not None:
            import matplotlib  # noqa: F401
        if threads is not None:
            omniconv.set_num_threads(threads)
        with Progress(TextColumn("{task.description}"), BarColumn(), console=stderr(), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            report = race_of_layers.measure(
                target, batch, size=size, precision=precision, layout=layout, chosen=chosen, repeat=repeat,
                budget=budget, progress=lambda what, part: bar.update(task, description=what, completed=part),
            )  # fmt: skip
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(f"--plot needs {missing.name}: pip install 'omniconv[plot]'") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = stdout()
    console.print(_table(report))
    console.print()
    console.print(_totals(report), markup=False, soft_wrap=True)
    if warning := busy_warning(report):
        console.print(warning, style="yellow")
    if json is not None:
        write_json(report, str(json))
        console.print(f"JSON: {json}", markup=False)
    if plot is not None:
        from omniconv.bench.waterline_plot import waterline_picture

        waterline_picture(report, plot)
        console.print(f"Picture: {plot}", markup=False)
