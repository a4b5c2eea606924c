"""``omniconv demo``: a photograph through a bank of filters, by every algorithm, checked, timed and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

import omniconv
from omniconv.bench.layers import Layer
from omniconv.bench.oracle import conv2d_float64, relative_error
from omniconv.bench.race import race
from omniconv.bench.text import bytes_text, error_text, seconds_text
from omniconv.cli import filters
from omniconv.cli.console import print_json, stderr, stdout

__all__ = ["demo"]

TOLERANCE = 1e-6  # what precision="highest" promises
_PADDING = {"padding": "same", "padding_mode": "reflect", "layout": "NHWC"}


def _truth(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The responses [1, h, w, Co] in float64, by NumPy: omniconv's own could share a mistake with the others."""
    border = weight.shape[-1] // 2
    padded = np.pad(x.transpose(0, 3, 1, 2), ((0, 0), (0, 0), (border, border), (border, border)), mode="reflect")
    layer = Layer("bank", ci=3, h=padded.shape[2], w=padded.shape[3], co=len(weight), kh=weight.shape[-1])
    return conv2d_float64(padded, weight, layer).transpose(0, 2, 3, 1)


def run(x: np.ndarray, bank: list[filters.Filter], budget: float = 1.0) -> tuple[dict[str, Any], np.ndarray]:
    """Race the algorithms on x [1, h, w, 3]; the report that ``--json`` prints, and the responses [1, h, w, Co]."""
    weight = filters.weights(bank)
    truth = _truth(x, weight)
    survey = omniconv.algorithms(x.shape, weight.shape, **_PADDING)
    plans = {a.name: omniconv.plan_conv2d(x.shape, weight, algorithm=a.name, **_PADDING) for a in survey if a.usable}
    results: dict[str, np.ndarray] = {}

    def call(name: str) -> None:
        results[name] = plans[name](x)

    timings = race({name: lambda name=name: call(name) for name in plans}, budget=budget)
    rows = [
        {
            "name": name,
            "seconds": timings[name].median,
            "runs": len(timings[name].runs),
            "gflops": plan.flops / timings[name].median * 1e-9,
            "workspace_bytes": plan.workspace_bytes,
            "error": relative_error(results[name], truth),
        }
        for name, plan in plans.items()
    ]
    rows.sort(key=lambda row: row["seconds"])
    auto = omniconv.plan_conv2d(x.shape, weight, **_PADDING).algorithm
    report = {
        "schema": "omniconv-demo/1",
        "image": {"height": x.shape[1], "width": x.shape[2]},
        "filters": [f.name for f in bank],
        "flops": plans[auto].flops,
        "isa": omniconv.isa(),
        "threads": omniconv.get_num_threads(),
        "tolerance": TOLERANCE,
        "algorithms": rows,
        "declined": {a.name: a.reason for a in survey if not a.usable},
        "fastest": rows[0]["name"],
        "auto": auto,
        "agree": all(row["error"] <= TOLERANCE for row in rows),
    }
    return report, results[auto]


def _tiles(x: np.ndarray, bank: list[filters.Filter], y: np.ndarray) -> list[tuple[str, np.ndarray]]:
    from omniconv.cli.photograph import to_grey

    tiles, first = [("the photograph", x[0])], 0
    for f in bank:
        response = y[0, :, :, first : first + len(f.weight)]
        tiles.append((f.name, response if len(f.weight) == 3 else to_grey(response[..., 0])))
        first += len(f.weight)
    return tiles


def _show(report: dict[str, Any], out: Path) -> None:
    console, image = stdout(), report["image"]
    table = Table(
        title=f"{len(report['filters'])} filters of {filters.SIZE}x{filters.SIZE} on "
        f"{image['width']}x{image['height']} pixels, {report['flops'] * 1e-9:.2f} GFLOP",
        title_justify="left",
    )
    table.add_column("algorithm")
    for column in ("time", "GFLOP/s", "workspace", "error"):
        table.add_column(column, justify="right")
    for row in report["algorithms"]:
        table.add_row(
            row["name"],
            seconds_text(row["seconds"]),
            f"{row['gflops']:.1f}",
            bytes_text(row["workspace_bytes"]),
            error_text(row["error"]),
            style="bold" if row["name"] == report["fastest"] else None,
        )
    console.print(table)
    console.print(
        f"{report['isa']}, {report['threads']} thread(s); error: relative L2 against float64 by NumPy, "
        f"allowed is {TOLERANCE:.0e}",
        markup=False,
        style="dim",
    )
    for name, reason in report["declined"].items():
        console.print(f"{name} declined: {reason}", markup=False)
    chosen = "so it was" if report["auto"] == report["fastest"] else f"{report['auto']} was"
    console.print(f'{report["fastest"]} won; {chosen} the choice of algorithm="auto".', markup=False)
    verdict = (
        "The algorithms agree." if report["agree"] else "THE ALGORITHMS DO NOT AGREE: an error is above the limit."
    )
    console.print(verdict)
    console.print(f"The picture: {out}", markup=False)


def demo(
    image: Annotated[
        Path | None,
        typer.Argument(help="An image file; if left out, a public-domain photograph that matplotlib carries."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the picture is written.")] = Path("omniconv-demo.png"),
    size: Annotated[int, typer.Option(min=16, max=4096, help="Longest side; a larger image is made smaller.")] = 400,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Convolve a photograph with a bank of filters by every algorithm; check that they agree; write the picture.

    Ends with status 1 if an algorithm's error exceeds what precision="highest" promises.
    """
    try:
        from omniconv.cli import photograph
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(f"the demo needs {missing.name}: pip install 'omniconv[models]'") from None
    try:
        photograph.check_target(out)
        path = image or photograph.find_default()
        x = photograph.load(path, size)
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    bank = filters.bank()
    with stderr().status("every algorithm in turn; the reference takes seconds ..."):
        report, y = run(x, bank)
    title = f"omniconv {omniconv.__version__}: one convolution, {len(bank)} filters, algorithm {report['auto']}"
    sheet = photograph.contact_sheet(_tiles(x, bank, y), title)
    sheet.save(out)
    report = {"picture": str(out), "photograph": str(path), **report}
    if as_json:
        print_json(report)
    else:
        _show(report, out)
    if not report["agree"]:
        raise typer.Exit(1)
