"""Residual networks: He et al., "Deep Residual Learning", arXiv:1512.03385; ResNeXt, arXiv:1611.05431; Wide,
arXiv:1605.07146.

The stride of a bottleneck is on its 3x3 convolution. Names of parameters are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

VARIANTS = {
    "resnet18": {"block": "basic", "layers": (2, 2, 2, 2)},
    "resnet34": {"block": "basic", "layers": (3, 4, 6, 3)},
    "resnet50": {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    "resnet101": {"block": "bottleneck", "layers": (3, 4, 23, 3)},
    "resnet152": {"block": "bottleneck", "layers": (3, 8, 36, 3)},
    "resnext50_32x4d": {"block": "bottleneck", "layers": (3, 4, 6, 3), "groups": 32, "width_per_group": 4},
    "resnext101_32x8d": {"block": "bottleneck", "layers": (3, 4, 23, 3), "groups": 32, "width_per_group": 8},
    "resnext101_64x4d": {"block": "bottleneck", "layers": (3, 4, 23, 3), "groups": 64, "width_per_group": 4},
    "wide_resnet50_2": {"block": "bottleneck", "layers": (3, 4, 6, 3), "width_per_group": 128},
    "wide_resnet101_2": {"block": "bottleneck", "layers": (3, 4, 23, 3), "width_per_group": 128},
}
WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """The residual of two 3x3 convolutions, or of 1x1, 3x3 and 1x1 with four times the width at its end."""

    def __init__(self, ci: int, width: int, inner: int, stride: int, groups: int, bottleneck: bool) -> None:
        super().__init__()
        co = 4 * width if bottleneck else width
        shapes = [(ci, inner, 1, 1), (inner, inner, 3, stride), (inner, co, 1, 1)]
        if not bottleneck:
            shapes = [(ci, co, 3, stride), (co, co, 3, 1)]
        self.count = len(shapes)
        for i, (a, b, k, s) in enumerate(shapes, 1):
            grouped = groups if k == 3 and bottleneck else 1
            setattr(self, f"conv{i}", nn.Conv2d(a, b, k, s, k // 2, groups=grouped, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm(b))
        self.downsample = None
        if stride != 1 or ci != co:
            self.downsample = nn.Sequential(nn.Conv2d(ci, co, 1, stride, bias=False), nn.BatchNorm(co))

    def forward(self, x: Any, seen: Any = None) -> Any:
        """X [N, Ci, H, W] to [N, Co, H / stride, W / stride]; of the cells that are `seen`, where that is given."""
        shortcut = x if self.downsample is None else self.downsample[0](x, norm=self.downsample[1], seen=seen)
        for i in range(1, self.count):
            x = getattr(self, f"conv{i}")(x, norm=getattr(self, f"bn{i}"), activation="relu", seen=seen)
        conv, norm = getattr(self, f"conv{self.count}"), getattr(self, f"bn{self.count}")
        return conv(x, norm=norm, residual=shortcut, activation="relu", seen=seen)

    def _fold(self) -> None:
        for i in range(1, self.count + 1):
            nn.fold_norm(getattr(self, f"conv{i}"), getattr(self, f"bn{i}"))
            setattr(self, f"bn{i}", nn.Identity())
        if self.downsample is not None:
            nn.fold_norm(self.downsample[0], self.downsample[1])
            setattr(self.downsample, "1", nn.Identity())


@register(VARIANTS, paper="arXiv:1512.03385")
class ResNet(Model):
    """A residual network with four stages.

    Parameters
    ----------
    block : "basic" or "bottleneck"
    layers : four ints
        Blocks of each stage.
    num_classes : int
        0 leaves the classifier away: "logits" are then the means over the last map.
    groups, width_per_group : int
        Of the 3x3 convolutions of bottlenecks.
    in_channels : int
    """

    def __init__(
        self, block: str = "basic", layers: Sequence[int] = (2, 2, 2, 2), num_classes: int = 1000, groups: int = 1,
        width_per_group: int = 64, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        if block not in ("basic", "bottleneck"):
            raise ValueError(f"block is {block!r}; allowed are 'basic' and 'bottleneck'")
        bottleneck = block == "bottleneck"
        if not bottleneck and (groups, width_per_group) != (1, 64):
            raise ValueError("block 'basic' has no groups: they must be 1, with width_per_group 64")
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm(64)
        ci = 64
        for stage, (width, count) in enumerate(zip(WIDTHS, layers, strict=True), 1):
            inner, blocks = int(width * width_per_group / 64) * groups, []
            for j in range(count):
                stride = 2 if stage > 1 and j == 0 else 1
                blocks.append(Block(ci, width, inner, stride, groups, bottleneck))
                ci = 4 * width if bottleneck else width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(ci, num_classes) if num_classes else None

    def stages(self, x: Any) -> dict[str, Any]:
        """The maps stage1 to stage4 of images [N, 3, H, W], at strides 4, 8, 16 and 32."""
        x = nn.functional.innermost(x)
        x = nn.max_pool(self.conv1(x, norm=self.bn1, activation="relu"), 3, 2, 1)
        found = {}
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            found[f"stage{stage}"] = x
        return found

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1 to stage4, and logits [N, num_classes]."""
        found = self.stages(x)
        mean = nn.functional.global_avg_pool(found["stage4"])
        return found | {"logits": mean if self.fc is None else self.fc(mean)}

    def _fold(self) -> None:
        nn.fold_norm(self.conv1, self.bn1)
        self.bn1 = nn.Identity()
