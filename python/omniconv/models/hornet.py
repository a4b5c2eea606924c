"""HorNet: Rao et al., "HorNet: Efficient High-Order Spatial Interactions", arXiv:2207.14284. Names are the
repository's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import omniconv
from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import channels_first, channels_last, global_avg_pool, innermost, multiply

_DIMS = {"tiny": 64, "small": 96, "base": 128, "large": 192}
VARIANTS = {
    f"hornet_{size}_{kind}": {"base_dim": dim, "global_filter": kind == "gf"}
    for size, dim in _DIMS.items()
    for kind in ("7x7", "gf")
}
VARIANTS["hornet_large_gf_img384"] = {
    "base_dim": 192, "global_filter": True, "filter_size_stage3": (24, 13), "filter_size_stage4": (12, 7),
}  # fmt: skip


class GlobalFilter(nn.Module):
    """Half of the channels through a depthwise 3x3, half through a filter of their spectrum; results take turns."""

    def __init__(self, channels: int, size: Sequence[int]) -> None:
        super().__init__()
        half = channels // 2
        self.pre_norm = nn.LayerNorm(channels, eps=1e-6, axis=1)
        self.dw = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.complex_weight = nn.Parameter(half, *size, 2)
        self.post_norm = nn.LayerNorm(channels, eps=1e-6, axis=1)

    def _weight(self, size: tuple[int, int]) -> Any:
        """The filter [rows, columns, C / 2, 2] for spectra of this size."""
        w = nn.functional.permute(self.complex_weight, (0, 3, 1, 2))
        if tuple(w.shape[2:]) != size:
            w = nn.resize(w, size, align_corners=True)
        return nn.functional.permute(w, (2, 3, 0, 1))

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        x = self.pre_norm(x)
        n, c, h, w = x.shape
        near = self.dw(x[:, : c // 2])
        far = omniconv.global_filter2d(channels_last(x[:, c // 2 :]), self._weight((h, w // 2 + 1)))
        both = nn.functional.stack([channels_last(near), far], axis=-1)
        return self.post_norm(channels_first(both.reshape(n, h, w, c)))


class GnConv(nn.Module):
    """Gated convolution of order n: products with ever wider parts of one depthwise convolution."""

    def __init__(self, channels: int, order: int, scale: float, filter_size: Sequence[int] | None) -> None:
        super().__init__()
        self.scale = scale
        self.widths = [channels // 2 ** (order - 1 - k) for k in range(order)]
        total = sum(self.widths)
        self.proj_in = nn.Conv2d(channels, 2 * channels, 1)
        if filter_size is None:
            self.dwconv = nn.Conv2d(total, total, 7, 1, 3, groups=total)
        else:
            self.dwconv = GlobalFilter(total, filter_size)
        self.pws = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(self.widths, self.widths[1:], strict=False))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """X [N, C, H, W]."""
        x = self.proj_in(x)
        first = self.widths[0]
        y, b = x[:, :first], self.dwconv(x[:, first:])
        b = b if self.scale == 1 else b * self.scale
        y = multiply(y, b[:, :first])
        for pw, width in zip(self.pws, self.widths[1:], strict=True):
            y = multiply(pw(y), b[:, first : first + width])
            first += width
        return self.proj_out(y, **epilogue)

    def _fold(self) -> None:
        if isinstance(self.dwconv, nn.Conv2d) and self.scale != 1:
            nn.fold_norm(self.dwconv, nn.Identity(), self.dwconv.bias * 0 + self.scale)
            self.scale = 1


class Block(nn.Module):
    """Gated convolution and two products, each with a norm, layer scale and a shortcut."""

    def __init__(self, channels: int, order: int, scale: float, filter_size: Sequence[int] | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6, axis=1)
        self.gnconv = GnConv(channels, order, scale, filter_size)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma1 = nn.Parameter(channels, fill=1e-6)
        self.gamma2 = nn.Parameter(channels, fill=1e-6)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        x = self.gnconv(self.norm1(x), gamma=self.gamma1, residual=x)
        return nn.mlp(x, self.pwconv1, self.pwconv2, norm=self.norm2, gamma=self.gamma2, residual=x)

    def _fold(self) -> None:
        if self.gamma1 is None:
            return
        nn.fold_norm(self.gnconv.proj_out, nn.Identity(), self.gamma1)
        nn.fold_norm(self.pwconv2, nn.Identity(), self.gamma2)
        del self._parameters["gamma1"], self._parameters["gamma2"]
        self.gamma1 = self.gamma2 = None


@register(VARIANTS, paper="arXiv:2207.14284")
class HorNet(Model):
    """HorNet.

    Parameters
    ----------
    depths : four ints
    base_dim : int
        Channels of the first stage; each further stage has twice as many.
    orders : four ints
        Of the gated convolutions of each stage.
    scale : float
        Factor of the spatial filters' results.
    global_filter : bool
        Filters of the spectrum in stages 3 and 4, instead of 7x7.
    filter_size_stage3, filter_size_stage4 : two ints
        Rows and columns // 2 + 1 of the maps that the filters were trained for; they are resized for others.
    num_classes, in_channels : int
    """

    def __init__(
        self, depths: Sequence[int] = (2, 3, 18, 2), base_dim: int = 64, orders: Sequence[int] = (2, 3, 4, 5),
        scale: float = 1 / 3, global_filter: bool = False, filter_size_stage3: Sequence[int] = (14, 8),
        filter_size_stage4: Sequence[int] = (7, 4), num_classes: int = 1000, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        dims = [base_dim * 2**i for i in range(len(depths))]
        filters: list[Sequence[int] | None] = [None] * len(depths)
        if global_filter:
            filters[2:4] = [filter_size_stage3, filter_size_stage4]
        layers = [nn.Sequential(nn.Conv2d(in_channels, dims[0], 4, 4), nn.LayerNorm(dims[0], eps=1e-6, axis=1))]
        for a, b in itertools.pairwise(dims):
            layers.append(nn.Sequential(nn.LayerNorm(a, eps=1e-6, axis=1), nn.Conv2d(a, b, 2, 2)))
        self.downsample_layers = nn.ModuleList(layers)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(c, order, scale, size) for _ in range(n)))
            for n, c, order, size in zip(depths, dims, orders, filters, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1 to stage4 [N, C, H, W] and logits of images [N, 3, H, W]."""
        found = {}
        x = innermost(x)
        for i, (between, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True), 1):
            x = found[f"stage{i}"] = stage(between(x))
        return found | {"logits": self.head(self.norm(global_avg_pool(x)))}
