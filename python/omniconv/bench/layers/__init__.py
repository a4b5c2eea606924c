"""Layer sets: the CSV files beside this one, any file of the same form, and the layers of any model of images.

A file has a line of column names (lines that begin with # are left out): name, ci, h, co, kh are needed; w, kw and
padding_w are those of the height if left out; stride, dilation, groups and count are 1, padding is 0.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

__all__ = ["Layer", "distinct", "load", "names"]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Layer:
    """A two-dimensional convolution layer, without the batch; the same stride and dilation on both axes."""

    name: str
    ci: int
    h: int
    co: int
    kh: int
    w: int = 0  # 0: as the height
    kw: int = 0
    stride: int = 1
    padding: int = 0
    padding_w: int = -1  # -1: as the height
    dilation: int = 1
    groups: int = 1
    count: int = 1  #: how often a network has it

    def __post_init__(self) -> None:
        object.__setattr__(self, "w", self.w or self.h)
        object.__setattr__(self, "kw", self.kw or self.kh)
        object.__setattr__(self, "padding_w", self.padding if self.padding_w == -1 else self.padding_w)
        for field in fields(self)[1:]:
            value, least = getattr(self, field.name), 0 if field.name.startswith("padding") else 1
            if value < least:
                raise ValueError(f"{field.name} is {value}; allowed is {least} and more")
        if self.ci % self.groups or self.co % self.groups:
            raise ValueError(f"groups is {self.groups}; it must divide ci = {self.ci} and co = {self.co}")
        if min(self.out) < 1:
            raise ValueError(f"a {self.kh}x{self.kw} kernel does not fit into {self.h}x{self.w}")

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        sizes = []
        for size, kernel, padding in ((self.h, self.kh, self.padding), (self.w, self.kw, self.padding_w)):
            sizes.append((size + 2 * padding - self.dilation * (kernel - 1) - 1) // self.stride + 1)
        return sizes[0], sizes[1]

    @property
    def geometry(self) -> dict[str, Any]:
        """What `omniconv.conv2d` and ``torch.conv2d`` have to be told beside x and w."""
        padding = self.padding, self.padding_w
        return {"stride": self.stride, "padding": padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """[Co, Ci / groups, kh, kw]."""
        return self.co, self.ci // self.groups, self.kh, self.kw

    def x_shape(self, batch: int) -> tuple[int, int, int, int]:
        """[N, Ci, h, w]."""
        return batch, self.ci, self.h, self.w

    def y_shape(self, batch: int) -> tuple[int, int, int, int]:
        """[N, Co, oh, ow]."""
        return batch, self.co, *self.out

    def flops(self, batch: int) -> int:
        """Of the direct algorithm, two per multiply-add, taps on the border included."""
        oh, ow = self.out
        return 2 * batch * self.co * oh * ow * (self.ci // self.groups) * self.kh * self.kw

    def elements(self, batch: int) -> int:
        """Numbers that must be moved at least: input and weights once, output once."""
        oh, ow = self.out
        weights = self.co * (self.ci // self.groups) * self.kh * self.kw
        return batch * (self.ci * self.h * self.w + self.co * oh * ow) + weights

    def describe(self) -> str:
        """On one line, for tables."""
        text = f"{self.ci}→{self.co} {self.h}x{self.w} k{self.kh}x{self.kw}"
        p = self.padding if self.padding == self.padding_w else f"{self.padding}x{self.padding_w}"
        extra = (("s", self.stride, 1), ("p", p, 0), ("d", self.dilation, 1), ("g", self.groups, 1))
        return text + "".join(f" {letter}{value}" for letter, value, usual in extra if value != usual)


def names() -> list[str]:
    """The layer sets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def distinct(layers: list[Layer]) -> list[Layer]:
    """Layers of one geometry become one, with the name of the first and the `count` of all."""
    found: dict[Layer, Layer] = {}
    for layer in layers:
        key = replace(layer, name="", count=1)
        known = found.get(key)
        found[key] = replace(known, count=known.count + layer.count) if known else layer
    return list(found.values())


def load(layers: str) -> list[Layer]:
    """The layers of a set of the package, of a CSV file, or the distinct ones of a model that `omniconv.models` knows.

    ValueError says what is wrong, and where.
    """
    path = FOLDER / f"{layers}.csv" if layers in names() else Path(layers)
    if not path.is_file():
        from omniconv import models

        if layers in models.list():
            from omniconv.bench.layers.of_model import of_model

            return distinct(of_model(layers).layers)
        raise ValueError(
            f"layers is {layers!r}; allowed are {', '.join(names())}, a model of images, and the path of a CSV file"
        )
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    reader = csv.DictReader(lines, skipinitialspace=True)
    columns = reader.fieldnames or []
    known = [field.name for field in fields(Layer)]
    missing, strange = [c for c in known[:5] if c not in columns], [c for c in columns if c not in known]
    if missing or strange:
        wrong = f"has no column {missing[0]}" if missing else f"has a column {strange[0]!r}"
        raise ValueError(f"{path} {wrong}; needed are {', '.join(known[:5])}, allowed {', '.join(known[5:])}")
    found = [_layer(path, row) for row in reader]
    if not found:
        raise ValueError(f"{path} has no layers")
    twice = {layer.name for layer in found if sum(other.name == layer.name for other in found) > 1}
    if twice:
        raise ValueError(f"{path} has two layers of the name {min(twice)!r}")
    return found


def _layer(path: Path, row: dict[str, str]) -> Layer:
    try:
        # A row that is longer or shorter than the head has a key or values that are None.
        if None in row or None in row.values():
            raise ValueError("it has not as many values as there are columns")
        return Layer(row["name"], **{column: int(value) for column, value in row.items() if column != "name"})
    except ValueError as error:
        raise ValueError(f"{path}, layer {row.get('name')!r}: {error}") from None
