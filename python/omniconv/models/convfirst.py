"""Networks of ConvFirst blocks: Andrew Lavin, "On the Efficiency of Convolutional Neural Networks", arXiv:2404.03617.

The block is the paper's. The stages around it, their widths and depths, and the names are our own, for no weights
and no table of stages are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import global_avg_pool, innermost

VARIANTS = {
    "convfirst_small": {"depths": (2, 2, 6, 2), "dims": (64, 128, 256, 512)},
    "convfirst_base": {"depths": (3, 3, 9, 3), "dims": (96, 192, 384, 768)},
}


class Block(nn.Module):
    """Grouped convolution of eight channels each, two 1x1 convolutions, all with batch norm, around a shortcut.

    The only activation, SiLU, is after the first 1x1 convolution.
    """

    def __init__(self, channels: int, kernel: int, expansion: int, group_width: int) -> None:
        super().__init__()
        wide, groups = expansion * channels, channels // group_width
        self.conv = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm(channels)
        self.expand = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn2 = nn.BatchNorm(wide)
        self.project = nn.Conv2d(wide, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm(channels)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        norms = (self.bn1, self.bn2, self.bn3)
        return nn.mlp(x, self.expand, self.project, conv=self.conv, batch_norms=norms, activation="silu", residual=x)

    def _fold(self) -> None:
        for i, name in enumerate(("conv", "expand", "project"), 1):
            nn.fold_norm(getattr(self, name), getattr(self, f"bn{i}"))
            setattr(self, f"bn{i}", nn.Identity())


@register(VARIANTS, paper="arXiv:2404.03617")
class ConvFirstNet(Model):
    """Four stages of ConvFirst blocks.

    Parameters
    ----------
    depths, dims : four ints each
        Blocks and channels of the stages; channels are multiples of group_width.
    kernel, expansion, group_width : int
        Of the blocks: taps of the grouped convolution, factor of the wide layer, channels of a group.
    num_classes, in_channels : int
    """

    def __init__(
        self, depths: Sequence[int] = (2, 2, 6, 2), dims: Sequence[int] = (64, 128, 256, 512), kernel: int = 3,
        expansion: int = 4, group_width: int = 8, num_classes: int = 1000, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, dims[0], 4, 4, bias=False), nn.BatchNorm(dims[0]))
        stages, ci = [], dims[0]
        for n, c in zip(depths, dims, strict=True):
            parts: dict[str, nn.Module] = {}
            if stages:
                parts["down"] = nn.Sequential(nn.Conv2d(ci, c, 2, 2, bias=False), nn.BatchNorm(c))
            parts["blocks"] = nn.Sequential(*(Block(c, kernel, expansion, group_width) for _ in range(n)))
            stages.append(nn.ModuleDict(parts))
            ci = c
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(ci, num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1 to stage4 [N, C, H, W] and logits of images [N, 3, H, W]."""
        x, found = self.stem[0](innermost(x), norm=self.stem[1]), {}
        for i, stage in enumerate(self.stages, 1):
            if i > 1:
                down = stage["down"]
                x = down[0](x, norm=down[1])
            x = found[f"stage{i}"] = stage["blocks"](x)
        return found | {"logits": self.head(global_avg_pool(x))}

    def _fold(self) -> None:
        pairs = [self.stem, *(stage["down"] for stage in list(self.stages)[1:])]
        for pair in pairs:
            nn.fold_norm(pair[0], pair[1])
            setattr(pair, "1", nn.Identity())
