"""YOLOv9: Wang, Yeh, Liao, "Learning What You Want to Learn Using Programmable Gradient Information", arXiv:2402.13616.

The network of inference, without the auxiliary branch of training. Names are those of the authors' MIT repository: the
number of a layer, then its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import concat, constant, namespace, pad, softmax

Layer = Mapping[str, Any]


def _layers(
    stem: Sequence[int], first: str, down: str, widths: Sequence[int], parts: Sequence[int], back: Sequence[int],
    repeat: int,
) -> list[Layer]:  # fmt: skip
    """A backbone of four stages, and a neck that goes up to stride 8 and down again; `back` are the ways down."""

    def layer(kind: str, tags: str | None = None, source: Any = None, **args: Any) -> Layer:
        return {"type": kind, "args": args} | ({"tags": tags} if tags else {}) | ({"source": source} if source else {})

    def stage(width: int, part: int, tags: str | None = None) -> Layer:
        return layer("RepNCSPELAN", tags, out_channels=width, part_channels=part, csp_args={"repeat_num": repeat})

    found = [layer("Conv", out_channels=c, kernel_size=3, stride=2) for c in stem]
    if first == "ELAN":
        found.append(layer("ELAN", out_channels=widths[0], part_channels=parts[0]))
    else:
        found.append(stage(widths[0], parts[0]))
    lows = widths[1:] if down == "AConv" else widths[:-1]  # ADown keeps the width, and the next stage widens
    for i, low in enumerate(lows, 1):
        found += [layer(down, out_channels=low), stage(widths[i], parts[i], f"B{i + 2}")]
    found.append(layer("SPPELAN", "N3", out_channels=widths[3]))
    for width, part, other, tag in ((widths[2], parts[2], "B4", "N4"), (widths[1], parts[1], "B3", "P3")):
        if down == "ADown" and tag == "P3":
            width = part = widths[0]
        found.append(layer("UpSample", scale_factor=2, mode="nearest"))
        found += [layer("Concat", source=[-1, other]), stage(width, part, tag)]
    for i, low, other in ((2, back[0], "N4"), (3, back[1], "N3")):
        found += [layer(down, out_channels=low), layer("Concat", source=[-1, other])]
        found.append(stage(widths[i], parts[i], f"P{i + 2}"))
    return [*found, layer("MultiheadDetection", "Main", ["P3", "P4", "P5"])]


VARIANTS = {
    "yolov9_t": {"layers": _layers((16, 32), "ELAN", "AConv", (32, 64, 96, 128), (32, 64, 96, 128), (48, 64), 3)},
    "yolov9_s": {"layers": _layers((32, 64), "ELAN", "AConv", (64, 128, 192, 256), (64, 128, 192, 256), (96, 128), 3)},
    "yolov9_m": {
        "layers": _layers((32, 64), "CSP", "AConv", (128, 240, 360, 480), (128, 240, 360, 480), (184, 240), 1),
    },
    "yolov9_c": {
        "layers": _layers((64, 128), "CSP", "ADown", (256, 512, 512, 512), (128, 256, 512, 512), (256, 512), 1),
    },
}  # fmt: skip


class Unit(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, ci: int, co: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ci, co, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm(co, eps=1e-3)

    def forward(self, x: Any, activation: str | None = "silu", residual: Any = None) -> Any:
        """X [N, Ci, H, W]."""
        return self.conv(x, norm=self.bn, activation=activation, residual=residual)

    def _fold(self) -> None:
        nn.fold_norm(self.conv, self.bn)
        self.bn = nn.Identity()


class RepUnit(nn.Module):
    """A 3x3 and a 1x1 convolution side by side, which folding makes one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Unit(channels, channels, 3), Unit(channels, channels)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.conv1(x, residual=None if self.conv2 is None else self.conv2(x, activation=None))

    def _fold(self) -> None:
        if self.conv2 is None:
            return
        self.conv1._fold()
        self.conv2._fold()
        wide, point = self.conv1.conv, self.conv2.conv
        wide.weight = wide.weight + pad(point.weight, [(1, 1), (1, 1)])
        wide.bias = wide.bias + point.bias
        self.conv2 = None


class Bottleneck(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = RepUnit(channels), Unit(channels, channels, 3)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return x + self.conv2(self.conv1(x))


class CrossStage(nn.Module):
    """Bottlenecks on one half of the channels, nothing on the other."""

    def __init__(self, ci: int, co: int, repeat: int) -> None:
        super().__init__()
        half = co // 2
        self.conv1, self.conv2, self.conv3 = Unit(ci, half), Unit(ci, half), Unit(2 * half, co)
        self.bottleneck = nn.Sequential(*(Bottleneck(half) for _ in range(repeat)))

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W]."""
        return self.conv3(concat([self.bottleneck(self.conv1(x)), self.conv2(x)]))


class Aggregation(nn.Module):
    """ELAN: a chain whose every link is kept; `repeat` bottlenecks per link, or with None a plain convolution."""

    def __init__(self, ci: int, co: int, part: int, repeat: int | None = None) -> None:
        super().__init__()
        half = part // 2

        def link() -> nn.Module:
            plain = Unit(half, half, 3)
            return plain if repeat is None else nn.Sequential(CrossStage(half, half, repeat), plain)

        self.conv1 = Unit(ci, part)
        self.conv2, self.conv3 = link(), link()
        self.conv4 = Unit(2 * part, co)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W]."""
        y = self.conv1(x)
        half = y.shape[1] // 2
        links = [y[:, :half], y[:, half:]]
        links.append(self.conv2(links[-1]))
        links.append(self.conv3(links[-1]))
        return self.conv4(concat(links))


class AConv(nn.Module):
    """Halves a map: means of 2x2, then a 3x3 convolution with stride 2."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.conv = Unit(ci, co, 3, 2)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W]."""
        return self.conv(nn.avg_pool(x, 2, 1))


class ADown(nn.Module):
    """Halves a map: means of 2x2, then half of the channels convolved, and the largest of the other half."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Unit(ci // 2, co // 2, 3, 2), Unit(ci // 2, co // 2)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W]."""
        x = nn.avg_pool(x, 2, 1)
        half = x.shape[1] // 2
        return concat([self.conv1(x[:, :half]), self.conv2(nn.max_pool(x[:, half:], 3, 2, 1))])


class SpatialPyramid(nn.Module):
    """Three pools of 5x5 one after another, all kept."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.conv1, self.conv5 = Unit(ci, co // 2), Unit(2 * co, co)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W]."""
        maps = [self.conv1(x)]
        for _ in range(3):
            maps.append(nn.max_pool(maps[-1], 5, 1, 2))
        return self.conv5(concat(maps))


class Head(nn.Module):
    """Logits of classes, and of distances in bins, at every cell of a map."""

    def __init__(self, ci: int, first: int, classes: int, bins: int) -> None:
        super().__init__()
        a = max(-(-(first // 4) // 4) * 4, 4 * bins)
        c = max(first, min(2 * classes, 128))
        self.anchor_conv = nn.Sequential(Unit(ci, a, 3), Unit(a, a, 3, groups=4), nn.Conv2d(a, 4 * bins, 1, groups=4))
        self.class_conv = nn.Sequential(Unit(ci, c, 3), Unit(c, c, 3), nn.Conv2d(c, classes, 1))

    def forward(self, x: Any) -> Any:
        """[N, classes + 4 bins, H W]."""
        y = concat([self.class_conv(x), self.anchor_conv(x)])
        return y.reshape(*y.shape[:2], -1)


class _Joined(nn.Module):
    """Maps one after another along the channels."""


class _Doubled(nn.Module):
    """A map of twice the size, its cells repeated."""

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return nn.resize(x, (2 * x.shape[2], 2 * x.shape[3]), mode="nearest")


def _built(layer: Layer, ci: int) -> tuple[nn.Module, int]:
    """(module, channels) of a layer of the backbone or neck."""
    kind, args = layer["type"], dict(layer.get("args", {}))
    co = args.get("out_channels", ci)
    if kind == "Conv":
        return Unit(ci, co, args.get("kernel_size", 1), args.get("stride", 1)), co
    if kind in ("ELAN", "RepNCSPELAN"):
        repeat = None if kind == "ELAN" else args.get("csp_args", {}).get("repeat_num", 1)
        return Aggregation(ci, co, args["part_channels"], repeat), co
    simple = {"AConv": AConv, "ADown": ADown, "SPPELAN": SpatialPyramid}
    if kind in simple:
        return simple[kind](ci, co), co
    if kind == "UpSample":
        if args.get("scale_factor", 2) != 2 or args.get("mode", "nearest") != "nearest":
            raise ValueError(f"a layer is UpSample with {args}; supported is the nearest of factor 2")
        return _Doubled(), ci
    if kind == "Concat":
        return _Joined(), ci
    raise ValueError(
        f"a layer has type {kind!r}; known are Conv, ELAN, RepNCSPELAN, {', '.join(simple)}, UpSample, Concat"
    )


@register(VARIANTS, paper="arXiv:2402.13616")
class YOLOv9(Model):
    """YOLOv9, a detector.

    Parameters
    ----------
    layers : sequence of mappings
        What stands where: "type", "args", "source" (a tag, -1 for the layer before, 0 for the image, or several to be
        joined) and "tags"; the last one is the head, on three maps.
    num_classes : int
    reg_max : int
        Bins of a distance.
    in_channels : int
    """

    main = "heads"
    multiple = 32
    ignored = (*Model.ignored, r"anc2vec\.weight$")

    def __init__(
        self, layers: Sequence[Layer] = VARIANTS["yolov9_s"]["layers"], num_classes: int = 80, reg_max: int = 16,
        in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes, self.bins, self.plan = num_classes, reg_max, []
        channels, tags = [in_channels], {}
        for i, layer in enumerate(layers):
            source = layer.get("source", -1)
            sources = [source] if isinstance(source, (int, str)) else list(source)
            # Place 0 is the image, and place i + 1 the result of layer i.
            at = [tags[s] if isinstance(s, str) else 0 if s == 0 else i + 1 + s for s in sources]
            if i == len(layers) - 1:
                first = channels[at[0]]
                module: nn.Module = nn.Module()
                module.heads = nn.ModuleList(Head(channels[a], first, num_classes, reg_max) for a in at)
                co = 0
            else:
                module, co = _built(layer, sum(channels[a] for a in at))
            setattr(self, str(i), module)
            tag = layer.get("tags")
            if tag:
                tags[tag] = i + 1
            channels.append(co)
            self.plan.append((str(i), at))
        self.named = {place: tag.lower() for tag, place in tags.items() if tag[0] in "BN" and tag != "N4"}

    def outputs(self, x: Any) -> dict[str, Any]:
        """b3, b4, b5 and n3, maps of the backbone; heads [N, classes + 4 bins, P] and vector [N, 4, P] of images.

        heads are logits of classes, then of the bins of each side's distance, at all P cells of the three maps, whose
        strides are 8, 16 and 32, row by row. vector is the expected distance to the left, top, right and bottom side,
        in strides.
        """
        places, found = [x], {}
        for name, at in self.plan[:-1]:
            inputs = [places[a] for a in at]
            module = self._modules[name]
            y = concat(inputs) if isinstance(module, _Joined) else module(inputs[0])
            if len(places) in self.named:
                found[self.named[len(places)]] = y
            places.append(y)
        name, at = self.plan[-1]
        heads = concat([head(places[a]) for head, a in zip(self._modules[name].heads, at, strict=True)], axis=2)
        bins = softmax(heads[:, self.classes :].reshape(heads.shape[0], 4, self.bins, -1), axis=2)
        value = constant(np.arange(self.bins, dtype=np.float64), bins)
        return found | {"heads": heads, "vector": namespace(bins).sum(bins * value.reshape(-1, 1), axis=2)}

    def detect(
        self, x: Any, *, confidence: float = 0.25, iou: float = 0.45, limit: int = 300
    ) -> list[dict[str, np.ndarray]]:
        """What is where in images x [N, 3, H, W], each by itself, best first.

        "boxes" [K, 4] are x0, y0, x1, y1 in pixels; "scores" and "classes" are [K].

        Parameters
        ----------
        confidence : float
            Least probability of a class.
        iou : float
            Of two boxes of one class with more overlap than this the weaker goes.
        limit : int
            Most boxes of an image.
        """
        found = self.outputs(x)
        heads, vector = (np.asarray(found[name], dtype=np.float32) for name in ("heads", "vector"))
        boxes = anchored(vector, x.shape[2:])
        results = []
        for logits, box in zip(heads[:, : self.classes], boxes, strict=True):
            scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
            classes, cells = np.nonzero(scores >= confidence)
            kept = suppress(box[cells], scores[classes, cells], classes, iou)[:limit]
            results.append({
                "boxes": box[cells][kept], "scores": scores[classes, cells][kept].astype(np.float32),
                "classes": classes[kept],
            })  # fmt: skip
        return results


def anchored(vector: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Boxes [N, P, 4] in pixels of distances [N, 4, P] from the middles of cells, for images of (height, width)."""
    centres, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        centres.append(np.stack([x.ravel(), y.ravel()], axis=-1) * stride + stride // 2)
        strides.append(np.full(y.size, stride))
    middle, far = np.concatenate(centres), vector.transpose(0, 2, 1) * np.concatenate(strides)[:, None]
    return np.concatenate([middle - far[..., :2], middle + far[..., 2:]], axis=-1).astype(np.float32)


def suppress(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float) -> np.ndarray:
    """Indices of the boxes [K, 4] that no better one of the same class overlaps by more than `iou`, best first."""
    order, kept = np.argsort(-scores, kind="stable"), []
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.clip(high - low, 0, None), axis=1)
        same = classes[rest] == classes[best]
        order = rest[~(same & (common > iou * (area[best] + area[rest] - common)))]
    return np.array(kept, dtype=np.int64)
