"""DeepLab v2: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets", arXiv:1606.00915.

The network on ResNet-101, without the conditional random field. Names are those of the known PyTorch port, with
or without "base." before them; the stride of a bottleneck is on its first convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register


class Unit(nn.Module):
    """Convolution and batch norm."""

    def __init__(self, ci: int, co: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ci, co, kernel, stride, padding, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm(co)

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """X [N, Ci, H, W]."""
        return self.conv(x, norm=self.bn, **epilogue)

    def _fold(self) -> None:
        nn.fold_norm(self.conv, self.bn)
        self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """1x1, dilated 3x3 and 1x1 convolutions around a shortcut."""

    def __init__(self, ci: int, co: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        inner = co // 4
        self.reduce = Unit(ci, inner, 1, stride)
        self.conv3x3 = Unit(inner, inner, 3, 1, dilation, dilation)
        self.increase = Unit(inner, co, 1)
        self.shortcut = Unit(ci, co, 1, stride) if first else None

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W]."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = self.conv3x3(self.reduce(x, activation="relu"), activation="relu")
        return self.increase(y, residual=shortcut, activation="relu")


@register({"deeplab_v2_resnet101": {}}, paper="arXiv:1606.00915")
class DeepLabV2(Model):
    """DeepLab v2: logits at an eighth of the resolution; `omniconv.nn.resize` brings them to the image's.

    Parameters
    ----------
    n_blocks : four ints
        Bottlenecks of the layers 2 to 5.
    atrous_rates : sequence of int
        Dilations of the convolutions whose sum is the result.
    n_classes : int
    """

    renames = ((r"^base\.", ""),)

    def __init__(
        self, n_blocks: Sequence[int] = (3, 4, 23, 3), atrous_rates: Sequence[int] = (6, 12, 18, 24),
        n_classes: int = 21,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layer1 = nn.ModuleDict({"conv1": Unit(3, 64, 7, 2, 3)})
        ci, widths = 64, (256, 512, 1024, 2048)
        for i, (n, co, stride, dilation) in enumerate(zip(n_blocks, widths, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)):
            blocks = {}
            for j in range(n):
                blocks[f"block{j + 1}"] = Bottleneck(ci, co, stride if j == 0 else 1, dilation, j == 0)
                ci = co
            setattr(self, f"layer{i + 2}", nn.ModuleDict(blocks))
        self.aspp = nn.ModuleDict(
            {f"c{i}": nn.Conv2d(ci, n_classes, 3, 1, r, dilation=r) for i, r in enumerate(atrous_rates)}
        )

    def outputs(self, x: Any) -> dict[str, Any]:
        """layer1 to layer5 and logits [N, classes, H / 8, W / 8] of images [N, 3, H, W]."""
        x = nn.max_pool(self.layer1["conv1"](x, activation="relu"), 3, 2, 1, ceil_mode=True)
        found = {"layer1": x}
        for i in range(2, 6):
            for block in getattr(self, f"layer{i}")._modules.values():
                x = block(x)
            found[f"layer{i}"] = x
        y = None
        for branch in self.aspp._modules.values():
            y = branch(x, residual=y)
        return found | {"logits": y}
