"""``omniconv bench``: races against peers, as tables, JSON and pictures."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

import omniconv
from omniconv.bench import bessel as race_of_bessel
from omniconv.bench import blocks as race_of_blocks
from omniconv.bench import conv as race_of_conv
from omniconv.bench import dfp16 as race_of_dfp16
from omniconv.bench import fft as race_of_fft
from omniconv.bench import layers as layer_sets
from omniconv.bench import models as race_of_models
from omniconv.bench import peers as all_peers
from omniconv.bench import sparse as race_of_sparse
from omniconv.bench.text import bytes_text, error_text, seconds_text
from omniconv.cli.console import stderr, stdout, writable, write_json
from omniconv.cli.waterline import waterline

__all__ = ["app"]

LAYERS = f"{', '.join(layer_sets.names())}, a model, or a CSV file."


class _Races(TyperGroup):
    """``omniconv bench --waterline X`` is ``omniconv bench waterline X``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if args and args[0].partition("=")[0] == "--waterline":
            args = ["waterline", *args[0].split("=", 1)[1:], *args[1:]]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Races, help="Time every algorithm beside its peers, with the error of each.", no_args_is_help=True
)
app.command("waterline")(waterline)


@app.callback()
def _bench() -> None:
    """Time every algorithm beside its peers, with the error of each."""


_FOLDED = "float32, folded weights for all. Times are medians; error: relative L2 of the result against float64."


def _save(console: Console, report: dict[str, Any], json: Path | None) -> None:
    if json is not None:
        write_json(report, str(json))
        console.print(f"JSON: {json}", markup=False)


def _print_conditions(console: Console, at: dict[str, Any], words: str) -> None:
    console.print(
        f"{at['cpu']}, {at['isa']}, {at['threads']} thread(s); omniconv {at['omniconv']}, {words}",
        style="dim",
        markup=False,
    )


def _ratio(value: float | None) -> str:
    if value is None:
        return "–"
    return f"[green]{value:.2f}x[/]" if value >= 1 else f"[red]{value:.2f}x[/]"


def _layer_table(entry: dict[str, Any]) -> Table:
    table = Table(
        title=f"[bold]{entry['name']}[/]  {entry['text']}, batch {entry['batch']}: {entry['flops'] * 1e-9:.3g} GFLOP",
        title_justify="left",
        box=None,
        pad_edge=False,
        min_width=100,
    )
    table.add_column("", width=16)
    for column in ("time", "GFLOP/s", "of rate", "x best peer", "x torch-nchw", "workspace", "error"):
        table.add_column(column, justify="right", style="dim" if column == "error" else None)
    for row in sorted(entry["results"], key=lambda row: row["seconds"]):
        auto = row["name"] == entry["auto"]
        table.add_row(
            f"{'[bold cyan]' if auto else ''}{row['name']}{' *' if auto else ''}",
            seconds_text(row["seconds"]),
            f"{row['gflops']:.1f}",
            f"{row['peak_percent']:.0f} %",
            _ratio(row["vs_best_peer"]),
            _ratio(row["vs_torch_nchw"]),
            bytes_text(row["workspace_bytes"]),
            error_text(row["error"]),
        )
    return table


def _summary_table(lines: list[dict[str, Any]], batch: str) -> Table:
    table = Table(
        title=f"[bold]batch {batch}[/]: geometric means over the layers each one ran, and the least ratio",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("", width=16)
    for column in ("layers", "fastest on", "of rate", "x best peer", "least", "x torch-nchw", "least", "error"):
        table.add_column(column, justify="right", style="dim" if column == "error" else None)
    for line in lines:
        ratios = []
        for ratio in ("vs_best_peer", "vs_torch_nchw"):
            least = line[f"{ratio}_least"]
            ratios += [_ratio(line[ratio]), f"{least[0]:.2f} {least[1]}" if least else "–"]
        table.add_row(
            line["name"],
            f"{line['layers']} of {line['of']}",
            str(line["fastest_on"]),
            f"{line['peak_percent']:.0f} %",
            *ratios,
            error_text(line["largest_error"]),
        )
    return table


def _show_layer(console: Console, entry: dict[str, Any]) -> None:
    if entry["results"]:
        console.print(_layer_table(entry))
    else:
        console.print(f"{entry['name']}, batch {entry['batch']}", markup=False)
    for name, reason in entry["skipped"].items():
        console.print(f"{'the layer' if name == '*' else name} left out: {reason}", style="dim", markup=False)
    console.print()


def _show_end(console: Console, report: dict[str, Any]) -> None:
    for batch, lines in report["summary"].items():
        if lines:
            console.print(_summary_table(lines, batch))
    at, rate, copy = report["machine"], report["multiply_rate"], report["copy_rate"]
    console.print(
        f"{at['cpu']}, {at['isa']}, {at['threads']} thread(s); omniconv {at['omniconv']} ({at['compiler']}); "
        f"precision {report['settings']['precision']}, x {report['settings']['layout'].upper()}.\n"
        f'*: the choice of algorithm="auto". x: times as fast as; the peers\' rows have it too. Times are medians.\n'
        f"rate: {rate['gflops']:.0f} GFLOP/s, {rate['how']}: a lower bound on the peak of the machine. "
        f"Memory: {copy['gbytes']:.1f} GB/s, {copy['how']}.\n"
        f"error: relative L2 against float64 on the first image.",
        markup=False,
        style="dim",
    )
    if warning := race_of_conv.busy_warning(report):
        console.print(warning, style="yellow")


def _settings(
    algorithms: str | None, peers: str | None, precision: str, layout: str, repeat: int | None, budget: float
) -> race_of_conv.Settings:
    """ValueError for a word that is not allowed."""
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"precision is {precision!r}; allowed are highest, high, medium")
    if layout not in ("nchw", "nhwc"):
        raise ValueError(f"layout is {layout!r}; allowed are nchw, nhwc")
    chosen = race_of_conv.choose_algorithms(algorithms)
    return race_of_conv.Settings(chosen, all_peers.choose(peers), precision, layout, repeat, budget)


def _plot(report: dict[str, Any], path: Path) -> None:
    from omniconv.bench.plot import efficiency_picture

    efficiency_picture(report, path)


@app.command("conv")
def conv(
    layers: Annotated[str, typer.Option(help=LAYERS, metavar="SET|MODEL|FILE.csv")] = "im2win12",
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch size; may be given several times. 1 if left out.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of omniconv and the peers alike.")] = None,
    algorithms: Annotated[
        str | None, typer.Option(help="Names with commas between, or all. All but reference if left out.")
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(all_peers.names())}, all or none. [default: all that are installed]"),
    ] = None,
    precision: Annotated[str, typer.Option(help="highest, high or medium.")] = "highest",
    layout: Annotated[str, typer.Option(help="Memory layout of omniconv's x: nchw or nhwc.")] = "nchw",
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per layer; 3 rounds run at least.")] = 3.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write an efficiency picture to this file (PNG, SVG, PDF).")] = None,
) -> None:
    """Race dense convolution over a set of layers."""
    try:
        chosen = layer_sets.load(layers)
        settings = _settings(algorithms, peers, precision, layout, repeat, budget)
        writable(json, "json")
        writable(plot, "plot")
        if plot is not None:
            import matplotlib  # noqa: F401
        if threads is not None:
            omniconv.set_num_threads(threads)
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(f"--plot needs {missing.name}: pip install 'omniconv[plot]'") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = stdout()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn()
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        report = race_of_conv.measure(
            chosen,
            batch or [1],
            settings,
            progress=lambda what, part: bar.update(task, description=what, completed=part),
            done=lambda entry: _show_layer(bar.console if console.is_terminal else console, entry),
        )
    _show_end(console, report)
    _save(console, report, json)
    if plot is not None and any(entry["results"] for entry in report["layers"]):
        _plot(report, plot)
        console.print(f"Picture: {plot}", markup=False)
    if any(math.isnan(row["error"]) for entry in report["layers"] for row in entry["results"]):
        raise typer.Exit(1)


def _dfp16_table(entry: dict[str, Any]) -> Table:
    table = Table(
        title=f"[bold]{entry['name']}[/]  {entry['text']}, batch {entry['batch']}",
        title_justify="left",
        box=None,
        pad_edge=False,
        min_width=80,
    )
    table.add_column("", width=16)
    for column in ("time", "GMAC/s", "x best float32 peer", "error"):
        table.add_column(column, justify="right", style="dim" if column == "error" else None)
    for row in sorted(entry["results"], key=lambda row: row["seconds"]):
        ours = "[bold cyan]" if row["name"] == "dfp16" else ""
        columns = f"{row['gmacs']:.1f}", _ratio(row["vs_best_float32"]), error_text(row["error"])
        table.add_row(f"{ours}{row['name']}", seconds_text(row["seconds"]), *columns)
    return table


@app.command("dfp16")
def dfp16(
    layers: Annotated[str, typer.Option(help=LAYERS, metavar="SET|MODEL|FILE.csv")] = "im2win12",
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch size; may be given several times. 1 if left out.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of omniconv and the peers alike.")] = None,
    peers: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(race_of_dfp16.PEERS)}, all or none. [default: all that are installed]"),
    ] = None,
    channels: Annotated[int, typer.Option(min=1, help="Layers with fewer input channels are left out.")] = 64,
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per layer; 3 rounds run at least.")] = 3.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
) -> None:
    """Race integer convolution with float32, ours and PyTorch's, and with PyTorch's int8."""
    try:
        chosen = layer_sets.load(layers)
        others = [name for name in all_peers.choose(peers) if name in race_of_dfp16.PEERS]
        writable(json, "json")
        if threads is not None:
            omniconv.set_num_threads(threads)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = stdout()
    report = race_of_dfp16.measure(
        chosen, batch or [1], others, least_channels=channels, repeat=repeat, budget=budget,
        done=lambda entry: console.print(_dfp16_table(entry)),
    )  # fmt: skip
    means = ", ".join(f"{name} {value:.2f}" for name, value in report["summary"].items())
    at = report["machine"]
    console.print(
        f"{at['cpu']}, {at['isa']}, {at['threads']} thread(s). Quantising and dequantising are timed.\n"
        f"Geometric means of the speed over PyTorch's best float32: {means or 'no peer ran'}",
        markup=False,
    )
    _save(console, report, json)


def _bessel_table(report: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in ("points", "function", "", "ns / value", "x omniconv", "largest error", "mean error", "not finite"):
        table.add_column(column, justify="left" if column in ("points", "function", "") else "right")
    for entry in report["entries"]:
        for i, row in enumerate(entry["results"]):
            table.add_row(
                entry["set"] if i == 0 else "",
                entry["function"] if i == 0 else "",
                row["name"],
                f"{row['ns']:.1f}",
                "" if row["name"] == "omniconv" else _ratio(row["ratio"]),
                "–" if row["largest_error"] is None else f"{row['largest_error']:.3g}",
                "–" if row["mean_error"] is None else f"{row['mean_error']:.2g}",
                f"{row['not_finite']:.0%}" if row["not_finite"] else "",
            )
    return table


@app.command("bessel")
def bessel(
    values: Annotated[int, typer.Option(min=1, help="Values per set of points.")] = 200_000,
    checked: Annotated[int, typer.Option(min=1, help="Of these, how many are held against 50 digits.")] = 200,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Of omniconv; the peers use one.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per function and set.")] = 2.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a map of the errors over (v, x) (PNG, SVG, PDF).")] = None,
) -> None:
    """Race the logarithms of the Bessel functions, and show the error of each contestant."""
    try:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype is {dtype!r}; allowed are float32, float64")
        writable(json, "json")
        writable(plot, "plot")
        import mpmath  # noqa: F401

        if plot is not None:
            import matplotlib  # noqa: F401
            import scipy  # noqa: F401
        omniconv.set_num_threads(threads)
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(f"this needs {missing.name}: pip install {missing.name}") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = stdout()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn()
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        report = race_of_bessel.measure(
            values, checked, dtype, budget=budget, repeat=repeat,
            progress=lambda what, part: bar.update(task, description=what, completed=part),
        )  # fmt: skip
    console.print(_bessel_table(report))
    for peer, reason in report["entries"][0]["skipped"].items():
        console.print(f"{peer} left out: {reason}", style="dim", markup=False)
    checked = report["entries"][0]["checked"]
    _print_conditions(
        console, report["machine"],
        f"{dtype}. Times are medians.\n"
        f"error: in units of eps * max(1, |value|), over {checked} values against 50 digits.",
    )  # fmt: skip
    _save(console, report, json)
    if plot is not None:
        from omniconv.bench.bessel_plot import error_picture

        error_picture(plot)
        console.print(f"Picture: {plot}", markup=False)


def _fft_table(report: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in ("kind", "B, H, L", "K", "", "time", "ns / output", "x omniconv", "error"):
        table.add_column(column, justify="left" if column in ("kind", "") else "right")
    for entry in report["entries"]:
        for i, row in enumerate(entry["results"]):
            table.add_row(
                entry["kind"] if i == 0 else "",
                f"{entry['batch']}, {entry['channels']}, {entry['length']}" if i == 0 else "",
                str(entry["taps"]) if i == 0 else "",
                f"omniconv ({entry['algorithm']})" if i == 0 else row["name"],
                seconds_text(row["seconds"]),
                f"{row['ns']:.2f}",
                "" if i == 0 else _ratio(row["ratio"]),
                error_text(row["error"]),
            )
    return table


@app.command("fft")
def fft(
    length: Annotated[
        list[int] | None, typer.Option(min=1, help="L; may be given several times. 1024 to 2^20 if left out.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(race_of_fft.KINDS)}; may be given several times. All if left out."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Outputs of a problem, about: B H L.")] = 1 << 22,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of omniconv and the peers alike.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per problem.")] = 2.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
) -> None:
    """Race long convolutions beside FFT recipes and direct sums."""
    try:
        kinds = kind or list(race_of_fft.KINDS)
        if not set(kinds) <= set(race_of_fft.KINDS):
            raise ValueError(f"kind is {kinds}; allowed are {', '.join(race_of_fft.KINDS)}")
        writable(json, "json")
        if threads is not None:
            omniconv.set_num_threads(threads)
        all_peers.set_threads(["torch"] if find_spec("torch") else [], omniconv.get_num_threads())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    work = race_of_fft.problems(length or [1 << e for e in range(10, 21, 2)], kinds, samples)
    console = stdout()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn()
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        report = race_of_fft.measure(
            work, budget=budget, repeat=repeat,
            progress=lambda what, part: bar.update(task, description=what, completed=part),
        )  # fmt: skip
    console.print(_fft_table(report))
    means = ", ".join(f"{k} {r:.1f}" for k, r in report["ratios"].items() if r is not None)
    _print_conditions(
        console, report["machine"],
        "float32, causal. Times are medians.\n"
        f"x omniconv over torch rfft, geometric means: {means}. error: relative L2 of a row against float64.",
    )  # fmt: skip
    _save(console, report, json)


@app.command("sparse")
def sparse(
    beams: Annotated[int, typer.Option(min=1, help="Beams of the synthetic LiDAR, each of 3600 points.")] = 64,
    voxel: Annotated[float, typer.Option(min=0.001, help="Size of a voxel in metres.")] = 0.1,
    channels: Annotated[list[int] | None, typer.Option(min=1, help="May be given several times. 16, 32, 64.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of omniconv and the peers alike.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per problem.")] = 3.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
) -> None:
    """Race sparse and masked convolution and graphs beside their peers."""
    try:
        writable(json, "json")
        if threads is not None:
            omniconv.set_num_threads(threads)
        all_peers.set_threads(["torch"] if find_spec("torch") else [], omniconv.get_num_threads())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = stdout()
    with Progress(TextColumn("{task.description}"), BarColumn(), console=stderr(), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        report = race_of_sparse.measure(
            beams, voxel, channels or [16, 32, 64], budget=budget, repeat=repeat,
            progress=lambda what, part: bar.update(task, description=what, completed=part),
        )  # fmt: skip
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in ("", "channels", "by", "time", "GFLOP/s", "x omniconv", "error"):
        table.add_column(column, justify="left" if column in ("", "by") else "right")
    for entry in report["entries"]:
        for i, row in enumerate(entry["results"]):
            table.add_row(
                entry["kind"] if i == 0 else "", str(entry["channels"] or "") if i == 0 else "", row["name"],
                seconds_text(row["seconds"]), f"{row['gflops']:.1f}" if row["gflops"] else "",
                "" if i == 0 else _ratio(row["ratio"]), "" if row["error"] is None else error_text(row["error"]),
            )  # fmt: skip
    console.print(table)
    at = report["machine"]
    console.print(
        f"{report['sites']} voxels, {report['pairs']} pairs under 3x3x3 taps; {at['cpu']}, {at['isa']}, "
        f"{at['threads']} thread(s); omniconv {at['omniconv']}, float32. Times are medians; error: relative L2.",
        style="dim",
        markup=False,
    )
    _save(console, report, json)


@app.command("blocks")
def blocks(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="BLOCK...", help=f"{', '.join(race_of_blocks.BLOCKS)}; all if left out."),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="May be given several times. 1 and 16.")] = None,
    peers: Annotated[bool, typer.Option(help="Race PyTorch eager too, where it is installed.")] = True,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of omniconv and PyTorch alike.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per block, shape and batch.")] = 3.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
) -> None:
    """Race blocks in one pass beside their operations one by one, here and in PyTorch eager."""
    try:
        writable(json, "json")
        if threads is not None:
            omniconv.set_num_threads(threads)
        console = stdout()
        with Progress(TextColumn("{task.description}"), BarColumn(), console=stderr(), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            report = race_of_blocks.measure(
                names or tuple(race_of_blocks.BLOCKS), batch or [1, 16], peers=peers, repeat=repeat, budget=budget,
                progress=lambda what, part: bar.update(task, description=what, completed=part),
            )  # fmt: skip
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in ("block", "shape", "batch", "by", "time", "x omniconv", "error"):
        table.add_column(column, justify="left" if column in ("block", "shape", "by") else "right")
    for entry in report["entries"]:
        for i, row in enumerate(entry["results"]):
            head = (entry["block"], "x".join(map(str, entry["shape"])), str(entry["batch"])) if i == 0 else ("",) * 3
            table.add_row(
                *head, row["name"], seconds_text(row["seconds"]), "" if i == 0 else _ratio(row["ratio"]),
                error_text(row["error"]),
            )  # fmt: skip
    console.print(table)
    for name, means in report["means"].items():
        for peer, mean in means.items():
            what = peer.replace("_", " ")
            console.print(f"{name}: geometric mean {mean:.2f}x the speed of {what}", highlight=False)
    _print_conditions(console, report["machine"], _FOLDED)
    _save(console, report, json)


@app.command("models")
def models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help=f"{', '.join(race_of_models.DEFAULT)} if left out.")
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="May be given several times. 1 and 16.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images.")] = 224,
    peers: Annotated[
        str | None, typer.Option(help=f"all, none, or {', '.join(race_of_models.PEERS)}; what is installed.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of omniconv and the peers alike.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, help="Rounds. As many as the budget allows if left out.")] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Seconds per model and batch.")] = 10.0,
    truth: Annotated[bool, typer.Option(help="Compare with float64, which takes its time.")] = True,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
) -> None:
    """Race whole models beside PyTorch, eager and compiled, and ONNX Runtime."""
    try:
        writable(json, "json")
        chosen = race_of_models.choose(peers)
        if threads is not None:
            omniconv.set_num_threads(threads)
        console = stdout()
        with Progress(TextColumn("{task.description}"), BarColumn(), console=stderr(), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            report = race_of_models.measure(
                names or race_of_models.DEFAULT, batch or [1, 16], size=size, peers=chosen, repeat=repeat,
                budget=budget, truth=truth,
                progress=lambda what, part: bar.update(task, description=what, completed=part),
            )  # fmt: skip
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in ("model", "batch", "by", "time", "x omniconv", "error"):
        table.add_column(column, justify="left" if column in ("model", "by") else "right")
    for entry in report["entries"]:
        for i, row in enumerate(entry["results"]):
            table.add_row(
                entry["model"] if i == 0 else "", str(entry["batch"]) if i == 0 else "", row["name"],
                seconds_text(row["seconds"]), "" if i == 0 else _ratio(row["ratio"]),
                "" if row["error"] is None else error_text(row["error"]),
            )  # fmt: skip
    console.print(table)
    for peer, means in report["means"].items():
        for b, mean in means.items():
            console.print(f"batch {b}: geometric mean {mean:.2f}x the speed of {peer}'s best", highlight=False)
    _print_conditions(console, report["machine"], _FOLDED)
    _save(console, report, json)
