"""MIRNet: Zamir et al., "Learning Enriched Features for Real Image Restoration and Enhancement", arXiv:2003.06792.

Names are the repository's. As there, all columns of a multi-scale block are one module, and one slope serves the first
activation of every attention unit of the network: a checkpoint holds both under many names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import concat, constant, conv, global_avg_pool, namespace, softmax, stack


def _conv(ci: int, co: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(ci, co, kernel, 1, kernel // 2, bias=False)


class PReLU(nn.Module):
    """x, or x times a slope where it is negative."""

    def __init__(self, slope: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = slope or nn.Parameter(1, fill=0.25)

    def forward(self, x: Any) -> Any:
        """X [...]."""
        if isinstance(x, np.ndarray):
            return nn.functional.activation(x, "leaky_relu", negative_slope=float(self.weight[0]))
        return namespace(x).where(x > 0, x, x * self.weight)


class AttentionUnit(nn.Module):
    """Two convolutions, gates for places and for channels, around a shortcut (DAU)."""

    def __init__(self, channels: int, slope: nn.Parameter) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels, 3), PReLU(slope), _conv(channels, channels, 3))
        self.SA = nn.ModuleDict({"spatial": nn.ModuleDict({"conv": _conv(2, 1, 5)})})
        hidden = channels // 8
        self.CA = nn.ModuleDict(
            {"conv_du": nn.ModuleDict({"0": _conv(channels, hidden, 1), "2": _conv(hidden, channels, 1)})}
        )
        self.conv1x1 = _conv(2 * channels, channels, 1)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        y = self.body(x)
        xp = namespace(y)
        place = concat([xp.max(y, axis=1, keepdims=True), xp.mean(y, axis=1, keepdims=True)])
        place = self.SA["spatial"]["conv"](place, activation="sigmoid")
        du = self.CA["conv_du"]
        return self.conv1x1(concat([y * place, nn.squeeze_excite(y, du["0"], du["2"])]), residual=x)


class Fusion(nn.Module):
    """A sum of branches, each weighted for each channel (SKFF)."""

    def __init__(self, channels: int, branches: int) -> None:
        super().__init__()
        hidden = max(channels // 8, 4)
        self.conv_du = nn.Sequential(_conv(channels, hidden, 1), PReLU())
        self.fcs = nn.ModuleList(_conv(hidden, channels, 1) for _ in range(branches))

    def forward(self, branches: list[Any]) -> Any:
        """Arrays [N, C, H, W]."""
        z = self.conv_du(global_avg_pool(sum(branches), keepdims=True))
        weights = softmax(stack([fc(z) for fc in self.fcs]), axis=0)
        return sum(branch * weights[i] for i, branch in enumerate(branches))


def blurred(x: Any) -> Any:
    """Every second pixel of x [N, C, H, W] after a 3x3 binomial filter, borders reflected."""
    row = np.array([0.25, 0.5, 0.25])
    kernel = np.broadcast_to(np.outer(row, row), (x.shape[1], 1, 3, 3))
    options = {"stride": 2, "padding": (1, 1), "padding_mode": "reflect", "groups": x.shape[1]}
    return conv(x, constant(kernel, x), **options)


class Half(nn.Module):
    """Half the resolution, twice the channels."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.top = nn.Sequential(_conv(c, c, 1), PReLU(), _conv(c, c, 3), PReLU(), blurred, _conv(c, 2 * c, 1))
        self.bot = nn.Sequential(blurred, _conv(c, 2 * c, 1))

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.top(x) + self.bot(x)


class Twice(nn.Module):
    """Twice the resolution, half the channels."""

    def __init__(self, c: int) -> None:
        super().__init__()
        up = nn.ConvTranspose2d(c, c, 3, 2, 1, 1, bias=False)
        self.top = nn.Sequential(_conv(c, c, 1), PReLU(), up, PReLU(), _conv(c, c // 2, 1))
        self.bot = nn.Sequential(lambda x: nn.resize(x, (2 * x.shape[2], 2 * x.shape[3])), _conv(c, c // 2, 1))

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.top(x) + self.bot(x)


class Scaled(nn.Module):
    """Several steps of `Half` or `Twice`."""

    def __init__(self, step: type, channels: list[int]) -> None:
        super().__init__()
        self.body = nn.Sequential(*(step(c) for c in channels))

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.body(x)


class MultiScale(nn.Module):
    """Attention units at several resolutions, which exchange what they found after each column (MSRB)."""

    def __init__(self, n_feat: int, height: int, width: int, slope: nn.Parameter) -> None:
        super().__init__()
        self.columns = width
        widths = self.widths = [n_feat * 2**i for i in range(height)]
        self.blocks = nn.ModuleList(nn.ModuleList([unit] * width) for unit in [AttentionUnit(c, slope) for c in widths])
        self.selective_kernel = nn.ModuleList(Fusion(c, height) for c in widths)
        self.last_up = nn.ModuleDict(
            {str(k): Scaled(Twice, [widths[k - i] for i in range(k)]) for k in range(1, height)}
        )
        pairs = [(a, b) for a in range(height) for b in range(a + 1, height)]
        self.down = nn.ModuleDict({f"{widths[a]}_{2 ** (b - a)}": Scaled(Half, widths[a:b]) for a, b in pairs})
        self.up = nn.ModuleDict({f"{widths[b]}_{2 ** (b - a)}": Scaled(Twice, widths[b:a:-1]) for a, b in pairs})
        self.conv_out = _conv(n_feat, n_feat, 3)

    def _at(self, j: int, k: int, x: Any) -> Any:
        """What scale k found, brought to scale j."""
        if k == j:
            return x
        return (self.up if k > j else self.down)[f"{self.widths[k]}_{2 ** abs(k - j)}"](x)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        found: list[Any] = []
        for j, unit in enumerate(self.blocks):
            found.append(unit[0](self._at(j, j - 1, found[-1]) if j else x))
        for column in range(1, self.columns):
            found = [
                self.blocks[j][column](self.selective_kernel[j]([self._at(j, k, a) for k, a in enumerate(found)]))
                for j in range(len(found))
            ]
        full = [found[0], *(self.last_up[str(k)](found[k]) for k in range(1, len(found)))]
        return self.conv_out(self.selective_kernel[0](full), residual=x)


class Group(nn.Module):
    """Multi-scale blocks and a convolution, around a shortcut (RRG)."""

    def __init__(self, n_feat: int, count: int, height: int, width: int, slope: nn.Parameter) -> None:
        super().__init__()
        blocks = [MultiScale(n_feat, height, width, slope) for _ in range(count)]
        self.body = nn.Sequential(*blocks, _conv(n_feat, n_feat, 3))

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.body(x) + x


@register({"mirnet": {}}, paper="arXiv:2003.06792")
class MIRNet(Model):
    """MIRNet: an image to a better one. Height and width must be multiples of 2^(height - 1).

    Parameters
    ----------
    in_channels, out_channels, n_feat, kernel_size : int
        kernel_size is that of the first and the last convolution.
    n_RRG, n_MSRB : int
        Groups, and multi-scale blocks of each.
    height, width : int
        Resolutions and columns of a multi-scale block; resolutions differ by two.
    """

    main = "out"
    ignored = (*Model.ignored, r"\.filt$")

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, n_feat: int = 64, kernel_size: int = 3, n_RRG: int = 3,
        n_MSRB: int = 2, height: int = 3, width: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.multiple = 2 ** (height - 1)
        slope = nn.Parameter(1, fill=0.25)
        self.conv_in = _conv(in_channels, n_feat, kernel_size)
        self.body = nn.Sequential(*(Group(n_feat, n_MSRB, height, width, slope) for _ in range(n_RRG)))
        self.conv_out = _conv(n_feat, out_channels, kernel_size)

    def outputs(self, x: Any) -> dict[str, Any]:
        """group1, group2, ... and out [N, C, H, W] of images [N, C, H, W]."""
        if x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise ValueError(
                f"the image is {x.shape[2]} x {x.shape[3]}; both must be multiples of {self.multiple}: pad it"
            )
        y, found = self.conv_in(x), {}
        for i in range(len(self.body)):
            y = found[f"group{i + 1}"] = self.body[i](y)
        return found | {"out": self.conv_out(y, residual=x)}
