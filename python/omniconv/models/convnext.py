"""ConvNeXt: Liu et al., "A ConvNet for the 2020s", arXiv:2201.03545.

Names of parameters are those of the original repository; timm's are known too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

VARIANTS = {
    "convnext_atto": {"depths": (2, 2, 6, 2), "dims": (40, 80, 160, 320)},
    "convnext_femto": {"depths": (2, 2, 6, 2), "dims": (48, 96, 192, 384)},
    "convnext_pico": {"depths": (2, 2, 6, 2), "dims": (64, 128, 256, 512)},
    "convnext_nano": {"depths": (2, 2, 8, 2), "dims": (80, 160, 320, 640)},
    "convnext_tiny": {"depths": (3, 3, 9, 3), "dims": (96, 192, 384, 768)},
    "convnext_small": {"depths": (3, 3, 27, 3), "dims": (96, 192, 384, 768)},
    "convnext_base": {"depths": (3, 3, 27, 3), "dims": (128, 256, 512, 1024)},
    "convnext_large": {"depths": (3, 3, 27, 3), "dims": (192, 384, 768, 1536)},
    "convnext_xlarge": {"depths": (3, 3, 27, 3), "dims": (256, 512, 1024, 2048)},
}
ISOTROPIC = {
    "convnext_isotropic_small": {"depth": 18, "dim": 384},
    "convnext_isotropic_base": {"depth": 18, "dim": 768},
    "convnext_isotropic_large": {"depth": 36, "dim": 1024},
}


class Block(nn.Module):
    """Depthwise 7x7, layer norm, two products with a GELU between, layer scale, around a shortcut."""

    def __init__(self, channels: int, layer_scale: float = 1e-6, kernel: int = 7) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(channels, fill=layer_scale) if layer_scale else None

    def forward(self, x: Any, seen: Any = None) -> Any:
        """X [N, C, H, W]; where cells that are `seen` are given, what is hidden stays as it is."""
        if seen is None:
            return nn.mlp(x, self.pwconv1, self.pwconv2, conv=self.dwconv, norm=self.norm, gamma=self.gamma, residual=x)
        y, shortcut = (nn.functional.channels_last(v) for v in (self.dwconv(x, seen=seen), x))
        return nn.functional.channels_first(nn.on_seen_pixels(self._pointwise, y, shortcut, seen))

    def _pointwise(self, y: Any, shortcut: Any) -> Any:
        y = self.pwconv1(self.norm(y), activation="gelu")
        return self.pwconv2(y, gamma=self.gamma, residual=shortcut)

    def _fold(self) -> None:
        if self.gamma is not None:
            nn.fold_norm(self.pwconv2, nn.Identity(), self.gamma)
            self.gamma = None
            self._parameters.pop("gamma", None)


def _stages(channels: Sequence[int], ci: int) -> nn.ModuleList:
    """The stem, and what lies between the stages."""
    layers = [nn.Sequential(nn.Conv2d(ci, channels[0], 4, 4), nn.LayerNorm(channels[0], eps=1e-6, axis=1))]
    for a, b in itertools.pairwise(channels):
        layers.append(nn.Sequential(nn.LayerNorm(a, eps=1e-6, axis=1), nn.Conv2d(a, b, 2, 2)))
    return nn.ModuleList(layers)


@register(VARIANTS, paper="arXiv:2201.03545")
class ConvNeXt(Model):
    """ConvNeXt.

    Parameters
    ----------
    depths, dims : four ints each
        Blocks and channels of the stages.
    num_classes, in_channels : int
        0 classes: neither the last norm nor a classifier; "logits" are then means.
    layer_scale_init_value : float
        What layer scale starts from; 0 leaves it away.
    """

    renames = (
        (r"^stem\.(\d)\.", r"downsample_layers.0.\1."),
        (r"^stages\.(\d+)\.downsample\.(\d)\.", r"downsample_layers.\1.\2."),
        (r"^(stages\.\d+)\.blocks\.(\d+)\.", r"\1.\2."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc1\.", ".pwconv1."),
        (r"\.mlp\.fc2\.", ".pwconv2."),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    )

    def __init__(
        self, depths: Sequence[int] = (3, 3, 9, 3), dims: Sequence[int] = (96, 192, 384, 768), num_classes: int = 1000,
        layer_scale_init_value: float = 1e-6, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.downsample_layers = _stages(dims, in_channels)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(c, layer_scale_init_value) for _ in range(n)))
            for n, c in zip(depths, dims, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6) if num_classes else None
        self.head = nn.Linear(dims[-1], num_classes) if num_classes else None

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1 to stage4 [N, C, H, W] and logits of images [N, 3, H, W]."""
        found = {}
        x = nn.functional.innermost(x)
        for i, (between, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True), 1):
            x = found[f"stage{i}"] = stage(between(x))
        y = nn.functional.global_avg_pool(x)
        return found | {"logits": y if self.head is None else self.head(self.norm(y))}


@register(ISOTROPIC, paper="arXiv:2201.03545")
class IsotropicConvNeXt(Model):
    """ConvNeXt with one resolution, that of 16x16 patches, as in a vision transformer.

    Parameters
    ----------
    depth, dim, num_classes : int
    layer_scale_init_value : float
        0, as published, for none.
    """

    def __init__(
        self, depth: int = 18, dim: int = 384, num_classes: int = 1000, layer_scale_init_value: float = 0.0
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 16, 16)
        self.blocks = nn.Sequential(*(Block(dim, layer_scale_init_value) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """Features [N, dim, H / 16, W / 16] and logits of images [N, 3, H, W]."""
        x = self.blocks(self.stem(nn.functional.innermost(x)))
        return {"features": x, "logits": self.head(self.norm(nn.functional.global_avg_pool(x)))}
