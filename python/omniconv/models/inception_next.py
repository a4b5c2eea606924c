"""InceptionNeXt: Yu et al., "InceptionNeXt: When Inception Meets ConvNeXt", arXiv:2303.16900. Names are the
repository's and timm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

VARIANTS = {
    "inception_next_atto": {
        "depths": (2, 2, 6, 2), "dims": (40, 80, 160, 320), "band_kernel_size": 9, "branch_ratio": 0.25,
    },
    "inception_next_tiny": {"depths": (3, 3, 9, 3), "dims": (96, 192, 384, 768)},
    "inception_next_small": {"depths": (3, 3, 27, 3), "dims": (96, 192, 384, 768)},
    "inception_next_base": {"depths": (3, 3, 27, 3), "dims": (128, 256, 512, 1024)},
}  # fmt: skip


class Mixer(nn.Module):
    """Four parts of the channels: as they are, depthwise k x k, along the width, along the height."""

    def __init__(self, channels: int, square: int, band: int, branch_ratio: float) -> None:
        super().__init__()
        g = int(channels * branch_ratio)
        self.cuts = (channels - 3 * g, channels - 2 * g, channels - g)
        self.dwconv_hw = nn.Conv2d(g, g, square, 1, square // 2, groups=g)
        self.dwconv_w = nn.Conv2d(g, g, (1, band), 1, (0, band // 2), groups=g)
        self.dwconv_h = nn.Conv2d(g, g, (band, 1), 1, (band // 2, 0), groups=g)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        a, b, c = self.cuts
        if nn.functional.kernels.innermost(x):  # each branch writes its part of the result itself
            y = nn.functional.kernels.like(x)
            y[:, :a] = x[:, :a]
            for conv, part in ((self.dwconv_hw, (a, b)), (self.dwconv_w, (b, c)), (self.dwconv_h, (c, None))):
                conv(x[:, slice(*part)], out=y[:, slice(*part)])
            return y
        return nn.functional.concat(
            [x[:, :a], self.dwconv_hw(x[:, a:b]), self.dwconv_w(x[:, b:c]), self.dwconv_h(x[:, c:])]
        )


class Block(nn.Module):
    """Mixer, batch norm, two products with a GELU between, layer scale, around a shortcut."""

    def __init__(self, channels: int, ratio: float, square: int, band: int, branch_ratio: float) -> None:
        super().__init__()
        hidden = int(ratio * channels)
        self.token_mixer = Mixer(channels, square, band, branch_ratio)
        self.norm = nn.BatchNorm(channels)
        self.mlp = nn.ModuleDict({"fc1": nn.Conv2d(channels, hidden, 1), "fc2": nn.Conv2d(hidden, channels, 1)})
        self.gamma = nn.Parameter(channels, fill=1e-6)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return nn.mlp(self.norm(self.token_mixer(x)), self.mlp["fc1"], self.mlp["fc2"], gamma=self.gamma, residual=x)

    def _fold(self) -> None:
        if isinstance(self.norm, nn.BatchNorm):
            nn.fold_norm_before(self.norm, self.mlp["fc1"])
            self.norm = nn.Identity()
        if self.gamma is not None:
            nn.fold_norm(self.mlp["fc2"], nn.Identity(), self.gamma)
            self._parameters.pop("gamma")
            self.gamma = None


@register(VARIANTS, paper="arXiv:2303.16900")
class InceptionNeXt(Model):
    """InceptionNeXt.

    Parameters
    ----------
    depths, dims : four ints each
    mlp_ratios : four floats
        Hidden width of the blocks of each stage over their channels.
    band_kernel_size, square_kernel_size : int
        Taps of the 1 x k and k x 1 branches, and of the k x k one.
    branch_ratio : float
        Part of the channels that each of the three has.
    num_classes, in_channels : int
    """

    def __init__(
        self, depths: Sequence[int] = (3, 3, 9, 3), dims: Sequence[int] = (96, 192, 384, 768),
        mlp_ratios: Sequence[float] = (4, 4, 4, 3), band_kernel_size: int = 11, square_kernel_size: int = 3,
        branch_ratio: float = 0.125, num_classes: int = 1000, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, dims[0], 4, 4), nn.BatchNorm(dims[0]))
        stages = []
        for i, (n, c, ratio) in enumerate(zip(depths, dims, mlp_ratios, strict=True)):
            parts = {}
            if i:
                parts["downsample"] = nn.Sequential(nn.BatchNorm(dims[i - 1]), nn.Conv2d(dims[i - 1], c, 2, 2))
            blocks = [Block(c, ratio, square_kernel_size, band_kernel_size, branch_ratio) for _ in range(n)]
            stages.append(nn.ModuleDict(parts | {"blocks": nn.Sequential(*blocks)}))
        self.stages = nn.ModuleList(stages)
        c = dims[-1]
        self.head = nn.ModuleDict(
            {"fc1": nn.Linear(c, 3 * c), "norm": nn.LayerNorm(3 * c, eps=1e-6), "fc2": nn.Linear(3 * c, num_classes)}
        )

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1 to stage4 [N, C, H, W] and logits of images [N, 3, H, W]."""
        found = {}
        x = self.stem[0](nn.functional.innermost(x), norm=self.stem[1])
        for i, stage in enumerate(self.stages, 1):
            x = x if i == 1 else stage["downsample"](x)
            x = found[f"stage{i}"] = stage["blocks"](x)
        y = self.head["fc1"](nn.functional.global_avg_pool(x), activation="gelu")
        return found | {"logits": self.head["fc2"](self.head["norm"](y))}

    def _fold(self) -> None:
        nn.fold_norm(self.stem[0], self.stem[1])
        setattr(self.stem, "1", nn.Identity())
        for stage in list(self.stages)[1:]:
            norm, conv = stage["downsample"][0], stage["downsample"][1]
            if isinstance(norm, nn.BatchNorm):
                nn.fold_norm_before(norm, conv)
                setattr(stage["downsample"], "0", nn.Identity())
