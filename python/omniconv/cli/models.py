"""``omniconv models`` and ``omniconv run``: what models there are, and what one makes of images or arrays."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track
from rich.table import Table

import omniconv.models
from omniconv.cli.console import print_json, stderr, stdout
from omniconv.nn import functional as F

__all__ = ["models", "run"]

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # of ImageNet, which published classifiers expect
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


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
    return next(p.shape[1] for p in model.named_parameters().values() if len(p.shape) == 4)


def _image(path: Path, size: int | None, channels: int, standardise: bool) -> np.ndarray:
    """[C, H, W] in 0 to 1: of classifiers the middle square of the image, `size` pixels wide, and standardised."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(f"images need {missing.name}: pip install 'omniconv[models]'") from None
    try:
        with Image.open(path) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise typer.BadParameter(f"{path} cannot be read as an image: {error}") from None
    if size:
        factor = size / min(image.size)
        wide, high = (max(size, round(n * factor)) for n in image.size)
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = (wide - size) // 2, (high - size) // 2
        image = image.crop((left, top, left + size, top + size))
    x = np.asarray(image, np.float32) / np.float32(255)
    x = x[..., None] if x.ndim == 2 else x
    x = (x - MEAN) / DEVIATION if standardise and x.shape[-1] == 3 else x
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def _array(path: Path) -> np.ndarray:
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read as an array: {error}") from None
    return x.astype(np.float32) if x.dtype.kind == "f" else x


def _run(model: Any, x: np.ndarray) -> np.ndarray:
    """The result for a batch; images of sizes that the model cannot take are mirrored at their high ends, and cut."""
    multiple = model.multiple
    if multiple == 1 or x.ndim != 4:
        return model(x)
    high, wide = x.shape[2:]
    y = model(F.pad(x, [(0, -high % multiple), (0, -wide % multiple)], mode="reflect"))
    scale = y.shape[2] // (high + -high % multiple)
    return y[:, :, : high * scale, : wide * scale]


def _saved(y: np.ndarray, source: Path, folder: Path) -> str:
    """Write one result, as a picture if it is one; the path."""
    folder.mkdir(parents=True, exist_ok=True)
    if y.ndim == 3 and y.shape[0] in (1, 3) and source.suffix.lower() != ".npy":
        from PIL import Image

        pixels = np.clip(y.transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
        path = folder / f"{source.stem}.png"
        Image.fromarray(pixels[..., 0] if y.shape[0] == 1 else pixels).save(path)
    else:
        path = folder / f"{source.stem}.npy"
        np.save(path, np.ascontiguousarray(y))
    return str(path)


def _batches(items: list[tuple[Path, np.ndarray]], size: int) -> list[list[tuple[Path, np.ndarray]]]:
    """Neighbours of one shape together, at most `size` of them."""
    batches: list[list[tuple[Path, np.ndarray]]] = []
    for item in items:
        if batches and len(batches[-1]) < size and batches[-1][0][1].shape == item[1].shape:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def _classes(logits: np.ndarray, top: int, labels: list[str] | None) -> list[dict[str, Any]]:
    chances = F.softmax(logits.astype(np.float64))
    best = np.argsort(-chances, kind="stable")[:top]
    return [{"class": int(i), "label": labels[i] if labels else None, "probability": float(chances[i])} for i in best]


def run(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A name that `omniconv models` lists.")],
    inputs: Annotated[list[Path], typer.Argument(help="Images, or .npy arrays of one sample each.")],
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
    out: Annotated[Path, typer.Option(help="Folder for results that are pictures or arrays.")] = Path("omniconv-run"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Run a model on images or arrays: classes are printed, pictures and arrays written to a folder."""
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
    samples = []
    for path in inputs:
        if path.suffix.lower() == ".npy":
            samples.append((path, _array(path)))
        else:
            samples.append(
                (path, _image(path, size if classifies else None, _channels(model), classifies and standardise))
            )
    report: list[dict[str, Any]] = []
    for group in track(_batches(samples, batch), description=name, console=stderr(), transient=True):
        try:
            y = _run(model, np.stack([x for _, x in group]))
        except (TypeError, ValueError, IndexError) as error:
            raise typer.BadParameter(f"{name} cannot run on {group[0][0]}: {error}") from None
        for (path, _), one in zip(group, y, strict=True):
            if classifies and one.ndim == 1:
                if words is not None and len(words) != len(one):
                    raise typer.BadParameter(f"{labels} has {len(words)} lines, and {name} {len(one)} classes")
                report.append({"input": str(path), "classes": _classes(one, top, words)})
            else:
                report.append({"input": str(path), "output": _saved(one, path, out), "shape": list(one.shape)})
    if as_json:
        print_json({"model": name, "weights": weights and str(weights), "results": report})
        return
    for row in report:
        if "output" in row:
            stdout().print(f"{row['input']}: {row['output']}, {'x'.join(map(str, row['shape']))}", markup=False)
            continue
        table = Table(title=row["input"], title_justify="left")
        for column in ("class", "label", "probability"):
            table.add_column(column, justify="left" if column == "label" else "right")
        for c in row["classes"]:
            table.add_row(str(c["class"]), c["label"] or "", f"{c['probability']:.4f}")
        stdout().print(table)
