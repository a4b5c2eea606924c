"""``omniconv models`` and ``omniconv run``: what models there are, and what one makes of images, sounds or arrays."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress
from rich.table import Table

import omniconv.models
from omniconv.cli.console import print_json, stderr, stdout
from omniconv.cli.samples import Sample, read, save
from omniconv.nn import functional as F

__all__ = ["models", "run"]


def models(
    family: Annotated[str | None, typer.Argument(help="A family, such as convnext; all if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the models that `omniconv run` and `omniconv.models.create` know."""
    found = [e for e in omniconv.models.entries().values() if family in (None, e.family)]
    if not found:
        families = sorted({e.family for e in omniconv.models.entries().values()})
        raise typer.BadParameter(f"{family!r} is no family; there are {', '.join(families)}")
    rows = [
        {"name": e.name, "family": e.family, "parameters": e.build(**e.options).num_parameters, "paper": e.paper}
        for e in found
    ]
    if as_json:
        print_json(rows)
        return
    table = Table()
    for column in ("name", "family", "parameters", "paper"):
        table.add_column(column, justify="right" if column == "parameters" else "left")
    for row in rows:
        table.add_row(row["name"], row["family"], f"{row['parameters']:,}", row["paper"])
    stdout().print(table)


def _options(words: list[str]) -> dict[str, Any]:
    """NAME=VALUE words; values as Python writes them, or plain text."""
    options: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise typer.BadParameter(f"option {word!r} is not NAME=VALUE")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text
    return options


def _channels(model: Any) -> int:
    """Channels of the images that a model takes: those of its first convolution."""
    return next((p.shape[1] for p in model.named_parameters().values() if len(p.shape) == 4), 3)


def _run(model: Any, x: np.ndarray) -> np.ndarray:
    """The result for a batch; images of sizes that the model cannot take are mirrored at their high ends, and cut."""
    if model.waveform and x.ndim == 3:
        return np.moveaxis(model(x.mean(1)), -1, 1)
    multiple = model.multiple
    if hasattr(model, "detect"):
        return model.detect(F.pad(x, [(0, -x.shape[2] % multiple), (0, -x.shape[3] % multiple)]))
    if multiple == 1 or x.ndim != 4:
        return model(x)
    high, wide = x.shape[2:]
    y = model(F.pad(x, [(0, -high % multiple), (0, -wide % multiple)], mode="reflect"))
    scale = y.shape[2] // (high + -high % multiple)
    return y[:, :, : high * scale, : wide * scale]


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Neighbours of one shape together, at most `size` of them; no more are read than one batch needs."""
    batch: list[Sample] = []
    for sample in samples:
        if batch and (len(batch) == size or batch[0].array.shape != sample.array.shape):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _classes(logits: np.ndarray, top: int, labels: list[str] | None) -> list[dict[str, Any]]:
    chances = F.softmax(logits.astype(np.float64))
    best = np.argsort(-chances, kind="stable")[:top]
    return [{"class": int(i), "label": labels[i] if labels else None, "probability": float(chances[i])} for i in best]


def _told(
    y: Any, sample: Sample, classifies: bool, name: str, labels: list[str] | None, top: int, out: Path
) -> dict[str, Any]:
    """One result: its best classes, the objects found, or the file to which it was written."""
    if isinstance(y, dict):
        if labels is not None and max(y["classes"], default=0) >= len(labels):
            raise typer.BadParameter(f"the file of labels has {len(labels)} lines, and {name} more classes")
        named = [labels[c] if labels else None for c in y["classes"]]
        found = zip(y["classes"].tolist(), named, y["scores"].tolist(), y["boxes"].tolist(), strict=True)
        words = ("class", "label", "probability", "box")
        return {"objects": [dict(zip(words, one, strict=True)) for one in found]}
    if not classifies or y.ndim != 1:
        return {"output": save(y, sample, out), "shape": list(y.shape)}
    if labels is not None and len(labels) != len(y):
        raise typer.BadParameter(f"the file of labels has {len(labels)} lines, and {name} {len(y)} classes")
    return {"classes": _classes(y, top, labels)}


def run(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A name that `omniconv models` lists.")],
    inputs: Annotated[list[Path], typer.Argument(help="Images, .wav sounds, or .npy arrays of one sample each.")],
    weights: Annotated[
        Path | None, typer.Option(help=".safetensors, .npz or .pth; without, parameters are random numbers.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the model, such as num_classes=10.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of the square that a classifier sees of an image.")] = 224,
    standardise: Annotated[
        bool, typer.Option(help="Whether a classifier sees colours standardised by ImageNet's statistics.")
    ] = True,
    labels: Annotated[Path | None, typer.Option(help="A text file, one class per line.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to print.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 8,
    out: Annotated[Path, typer.Option(help="Folder for results that are pictures, sounds or arrays.")] = Path(
        "omniconv-run"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Run a model on images, sounds or arrays.

    Classes and objects are printed; pictures, sounds and arrays go to a folder.
    """
    try:
        model = omniconv.models.create(name, **_options(option or []))
        if weights is not None:
            model.load(weights)
        words = labels.read_text(encoding="utf-8").splitlines() if labels else None
    except (ImportError, OSError, TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    if weights is None:
        stderr().print("No weights given: the parameters are random, and the results mean nothing.")
    classifies = model.main == "logits"
    channels = _channels(model) if any(path.suffix.lower() not in (".npy", ".wav") for path in inputs) else 0
    samples = (
        read(p, size=size if classifies else None, channels=channels, standardise=classifies and standardise)
        for p in inputs
    )
    report: list[dict[str, Any]] = []
    with Progress(console=stderr(), transient=True) as progress:
        bar = progress.add_task(name, total=len(inputs))
        for group in _batches(samples, batch):
            try:
                y = _run(model, np.stack([sample.array for sample in group]))
            except (TypeError, ValueError, IndexError) as error:
                raise typer.BadParameter(f"{name} cannot run on {group[0].path}: {error}") from None
            for sample, one in zip(group, y, strict=True):
                report.append({"input": str(sample.path)} | _told(one, sample, classifies, name, words, top, out))
            progress.advance(bar, len(group))
    if as_json:
        print_json({"model": name, "weights": weights and str(weights), "results": report})
        return
    for row in report:
        if "output" in row:
            stdout().print(f"{row['input']}: {row['output']}, {'x'.join(map(str, row['shape']))}", markup=False)
            continue
        table = Table(title=row["input"], title_justify="left")
        columns = ("class", "label", "probability", "box")[: 4 if "objects" in row else 3]
        for column in columns:
            table.add_column(column, justify="left" if column == "label" else "right")
        for c in row.get("objects", row.get("classes")):
            box = [" ".join(f"{v:.0f}" for v in c["box"])] if "box" in c else []
            table.add_row(str(c["class"]), c["label"] or "", f"{c['probability']:.4f}", *box)
        stdout().print(table)
