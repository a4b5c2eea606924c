"""RegNet: Radosavovic et al., "Designing Network Design Spaces", arXiv:2003.13678.

Names of parameters are timm's; those of pycls are known too. `omniconv.models.scale` scales it.

Weights of pycls want images with their channels in the order blue, green, red.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

#: depth, w0, wa, wm, group width
_X = {
    "002": (13, 24, 36.44, 2.49, 8), "004": (22, 24, 24.48, 2.54, 16), "006": (16, 48, 36.97, 2.24, 24),
    "008": (16, 56, 35.73, 2.28, 16), "016": (18, 80, 34.01, 2.25, 24), "032": (25, 88, 26.31, 2.25, 48),
    "040": (23, 96, 38.65, 2.43, 40), "064": (17, 184, 60.83, 2.07, 56), "080": (23, 80, 49.56, 2.88, 120),
    "120": (19, 168, 73.36, 2.37, 112), "160": (22, 216, 55.59, 2.1, 128), "320": (23, 320, 69.86, 2.0, 168),
}  # fmt: skip
_Y = {
    "002": (13, 24, 36.44, 2.49, 8), "004": (16, 48, 27.89, 2.09, 8), "006": (15, 48, 32.54, 2.32, 16),
    "008": (14, 56, 38.84, 2.4, 16), "016": (27, 48, 20.71, 2.65, 24), "032": (21, 80, 42.63, 2.66, 24),
    "040": (22, 96, 31.41, 2.24, 64), "064": (25, 112, 33.22, 2.27, 72), "080": (17, 192, 76.82, 2.19, 56),
    "120": (19, 168, 73.36, 2.37, 112), "160": (18, 200, 106.23, 2.48, 112), "320": (20, 232, 115.89, 2.53, 232),
}  # fmt: skip
VARIANTS = {
    f"regnet{kind}_{size}": {
        "depth": d, "w0": w0, "wa": wa, "wm": wm, "group_size": g, "se_ratio": 0.25 if kind == "y" else 0.0,
    }
    for kind, table in (("x", _X), ("y", _Y)) for size, (d, w0, wa, wm, g) in table.items()
}  # fmt: skip


def stage_sizes(w0: int, wa: float, wm: float, depth: int, group_size: int) -> tuple[list[int], list[int], list[int]]:
    """(depths, widths, group widths) of the stages: w0 + wa j, rounded to w0 wm^s for an integer s, then to eights."""
    per_block = []
    for j in range(depth):
        s = round(math.log((w0 + wa * j) / w0) / math.log(wm))
        per_block.append(round(w0 * wm**s / 8) * 8)
    widths = sorted(set(per_block))
    depths = [per_block.count(w) for w in widths]
    groups = [min(group_size, w) for w in widths]
    widths = [max(g, round(w / g) * g) for w, g in zip(widths, groups, strict=True)]
    return depths, widths, groups


def stages(
    w0: int = 24, wa: float = 36.44, wm: float = 2.49, depth: int = 13, group_size: int = 8, **_: Any
) -> dict[str, list[int]]:
    """The options depths, widths and group_widths that follow from the design parameters."""
    return dict(zip(("depths", "widths", "group_widths"), stage_sizes(w0, wa, wm, depth, group_size), strict=True))


class Unit(nn.Module):
    """Convolution and batch normalisation."""

    def __init__(self, ci: int, co: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ci, co, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm(co)

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, ...]."""
        return self.conv(x, norm=self.bn, **epilogue)

    def _fold(self) -> None:
        nn.fold_norm(self.conv, self.bn)
        self.bn = nn.Identity()


class SqueezeExcite(nn.Module):
    """Factors per channel from the means over the map."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Any) -> Any:
        """X times its factors."""
        return nn.squeeze_excite(x, self.fc1, self.fc2)


class Block(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions, all of one width, around a shortcut."""

    def __init__(self, ci: int, co: int, stride: int, group_width: int, se_ratio: float) -> None:
        super().__init__()
        self.conv1 = Unit(ci, co, 1)
        self.conv2 = Unit(co, co, 3, stride, co // group_width)
        self.se = SqueezeExcite(co, round(ci * se_ratio)) if se_ratio else None
        self.conv3 = Unit(co, co, 1)
        self.downsample = Unit(ci, co, 1, stride) if stride != 1 or ci != co else None

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.conv2(self.conv1(x, activation="relu"), activation="relu")
        y = y if self.se is None else self.se(y)
        return self.conv3(y, residual=shortcut, activation="relu")


@register(VARIANTS, paper="arXiv:2003.13678")
class RegNet(Model):
    """RegNetX, or with se_ratio RegNetY.

    Parameters
    ----------
    w0, wa, wm, depth, group_size
        The design parameters of the paper, from which depths, widths and group_widths follow.
    depths, widths, group_widths : four ints each, optional
        The stages themselves.
    se_ratio : float
        Hidden width of squeeze-and-excitation over the width of the block's input; 0 for none.
    stem_width, num_classes, in_channels : int
    """

    renames = (
        (r"^(s\d+\.b\d+)\.f\.se\.f_ex\.0\.", r"\1.se.fc1."),
        (r"^(s\d+\.b\d+)\.f\.se\.f_ex\.2\.", r"\1.se.fc2."),
        (r"^(s\d+\.b\d+)\.f\.a\.", r"\1.conv1.conv."),
        (r"^(s\d+\.b\d+)\.f\.b\.", r"\1.conv2.conv."),
        (r"^(s\d+\.b\d+)\.f\.c\.", r"\1.conv3.conv."),
        (r"^(s\d+\.b\d+)\.f\.a_bn\.", r"\1.conv1.bn."),
        (r"^(s\d+\.b\d+)\.f\.b_bn\.", r"\1.conv2.bn."),
        (r"^(s\d+\.b\d+)\.f\.c_bn\.", r"\1.conv3.bn."),
        (r"^(s\d+\.b\d+)\.proj\.", r"\1.downsample.conv."),
        (r"^(s\d+\.b\d+)\.bn\.", r"\1.downsample.bn."),
    )

    def __init__(
        self, w0: int = 24, wa: float = 36.44, wm: float = 2.49, depth: int = 13, group_size: int = 8,
        se_ratio: float = 0.0, stem_width: int = 32, depths: Sequence[int] | None = None,
        widths: Sequence[int] | None = None, group_widths: Sequence[int] | None = None, num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        ruled = stage_sizes(w0, wa, wm, depth, group_size)
        depths, widths, group_widths = (
            own or rule for own, rule in zip((depths, widths, group_widths), ruled, strict=True)
        )
        self.stem = Unit(in_channels, stem_width, 3, 2)
        ci = stem_width
        self.count = len(depths)
        for stage, (n, co, each) in enumerate(zip(depths, widths, group_widths, strict=True), 1):
            blocks = {}
            for j in range(n):
                blocks[f"b{j + 1}"] = Block(ci, co, 2 if j == 0 else 1, each, se_ratio)
                ci = co
            setattr(self, f"s{stage}", nn.ModuleDict(blocks))
        self.head = nn.ModuleDict({"fc": nn.Linear(ci, num_classes)})

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1, stage2, ... and logits of images [N, 3, H, W]."""
        x, found = self.stem(nn.functional.innermost(x), activation="relu"), {}
        for stage in range(1, self.count + 1):
            for block in getattr(self, f"s{stage}")._modules.values():
                x = block(x)
            found[f"stage{stage}"] = x
        return found | {"logits": self.head["fc"](nn.functional.global_avg_pool(x))}
