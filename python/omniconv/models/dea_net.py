"""DEA-Net: Chen et al., "DEA-Net: Single image dehazing based on detail-enhanced convolution and content-guided
attention", arXiv:2301.04805. Names are the repository's.

`fold` turns the form of training, five difference convolutions side by side, into that of deployment, one convolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, concat, constant, global_avg_pool, namespace, permute, stack

#: tap that the angular difference subtracts from each
TURNED = (3, 0, 1, 6, 4, 2, 7, 8, 5)


class Part(nn.Module):
    """Weights of one of the differences; with one axis of three taps, or two."""

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.conv = nn.Module()
        self.conv.weight = nn.Parameter(channels, channels, *(3,) * axes)
        self.conv.bias = nn.Parameter(channels, fill=0.0)


class DEConv(nn.Module):
    """Detail-enhanced convolution: a plain 3x3 one and four that see differences, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for i, axes in ((1, 2), (2, 1), (3, 1), (4, 2)):
            setattr(self, f"conv1_{i}", Part(channels, axes))
        self.conv1_5 = nn.Conv2d(channels, channels, 3, 1, 1)

    def folded(self) -> tuple[Any, Any]:
        """Weight [C, C, 3, 3] and bias [C] of the one convolution that does the same."""
        central, across, down, angular = (getattr(self, f"conv1_{i}").conv for i in (1, 2, 3, 4))
        w = central.weight
        xp = namespace(w)
        centre = constant(np.arange(9).reshape(3, 3) == 4, w)
        w = xp.where(centre, w - xp.sum(w, axis=(2, 3), keepdims=True), w)
        v, h = across.weight, down.weight
        w = w + stack([v, v * 0, -v], axis=3) + stack([h, h * 0, -h], axis=2)
        a = angular.weight
        w = w + a - xp.reshape(xp.reshape(a, (*a.shape[:2], 9))[..., list(TURNED)], a.shape) + self.conv1_5.weight
        return w, central.bias + across.bias + down.bias + angular.bias + self.conv1_5.bias

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """X [N, C, H, W]."""
        weight, bias = self.folded()
        return nn.functional.conv(x, weight, bias, padding=1, **epilogue)


class Gates(nn.Module):
    """Content-guided attention: a gate for every channel and pixel, from x and a coarse map of its own."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        reflect = {"padding_mode": "reflect"}
        self.sa = nn.ModuleDict({"sa": nn.Conv2d(2, 1, 7, 1, 3, **reflect)})
        hidden = channels // reduction
        squeeze, excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
        self.ca = nn.ModuleDict({"ca": nn.ModuleDict({"0": squeeze, "2": excite})})
        self.pa = nn.ModuleDict({"pa2": nn.Conv2d(2 * channels, channels, 7, 1, 3, groups=channels, **reflect)})

    def gates(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        xp, (n, c, h, w) = namespace(x), x.shape
        place = concat([xp.mean(x, axis=1, keepdims=True), xp.max(x, axis=1, keepdims=True)])
        ca = self.ca["ca"]
        coarse = self.sa["sa"](place) + ca["2"](ca["0"](global_avg_pool(x, keepdims=True), activation="relu"))
        pairs = xp.reshape(permute(stack([x, coarse]), (1, 2, 0, 3, 4)), (n, 2 * c, h, w))
        return self.pa["pa2"](pairs, activation="sigmoid")


class DEBlock(nn.Module):
    """Two convolutions with two shortcuts."""

    def __init__(self, channels: int, deploy: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1) if deploy else DEConv(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.conv2(self.conv1(x, activation="relu") + x, residual=x)

    def _fold(self) -> None:
        if isinstance(self.conv1, DEConv):
            weight, bias = self.conv1.folded()
            self.conv1 = nn.Conv2d(weight.shape[0], weight.shape[0], 3, 1, 1)
            self.conv1.weight, self.conv1.bias = weight, bias


class DEABlock(Gates):
    """Two convolutions, the second gated, with two shortcuts."""

    def __init__(self, channels: int, reduction: int = 8, deploy: bool = True) -> None:
        super().__init__(channels, reduction)
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1) if deploy else DEConv(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        y = self.conv2(self.conv1(x, activation="relu") + x)
        return y * self.gates(y) + x

    _fold = DEBlock._fold


class Fusion(Gates):
    """A mixture of two maps by gates, which pass a second sigmoid, as in the repository."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__(channels, reduction)
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Any, y: Any) -> Any:
        """X and y [N, C, H, W]."""
        w = activation(self.gates(x + y), "sigmoid")
        return self.conv(x + y + w * x + (1 - w) * y)


class Step(nn.Module):
    """A convolution that changes the resolution or the channels, as number 0, with ReLU."""

    def __init__(self, conv: nn.Module, relu: bool) -> None:
        super().__init__()
        setattr(self, "0", conv)
        self.relu = relu

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        y = self._modules["0"](x)
        return activation(y, "relu") if self.relu else y


@register({"dea_net": {}}, paper="arXiv:2301.04805")
class DEANet(Model):
    """DEA-Net: a hazy image to a clear one. Height and width must be multiples of four.

    Parameters
    ----------
    base_dim : int
        Channels at the full resolution.
    deploy : bool
        The folded form.
    """

    main = "out"
    multiple = 4

    def __init__(self, base_dim: int = 32, deploy: bool = True) -> None:
        super().__init__()
        b = base_dim
        self.down1 = Step(nn.Conv2d(3, b, 3, 1, 1), relu=False)
        self.down2 = Step(nn.Conv2d(b, 2 * b, 3, 2, 1), relu=True)
        self.down3 = Step(nn.Conv2d(2 * b, 4 * b, 3, 2, 1), relu=True)
        self.fe_level_2 = nn.Conv2d(2 * b, 2 * b, 3, 1, 1)
        self.fe_level_3 = nn.Conv2d(4 * b, 4 * b, 3, 1, 1)
        for level, width in ((1, b), (2, 2 * b)):
            for i in range(1, 5):
                setattr(self, f"down_level{level}_block{i}", DEBlock(width, deploy))
                setattr(self, f"up_level{level}_block{i}", DEBlock(width, deploy))
        for i in range(1, 9):
            setattr(self, f"level3_block{i}", DEABlock(4 * b, 8, deploy))
        self.up1 = Step(nn.ConvTranspose2d(4 * b, 2 * b, 3, 2, 1, 1), relu=True)
        self.up2 = Step(nn.ConvTranspose2d(2 * b, b, 3, 2, 1, 1), relu=True)
        self.up3 = Step(nn.Conv2d(b, 3, 3, 1, 1), relu=False)
        self.mix1 = Fusion(4 * b, 8)
        self.mix2 = Fusion(2 * b, 4)

    def _blocks(self, name: str, count: int, x: Any) -> Any:
        for i in range(1, count + 1):
            x = getattr(self, f"{name}_block{i}")(x)
        return x

    def outputs(self, x: Any) -> dict[str, Any]:
        """level3, mix1, mix2 and out [N, 3, H, W] of images [N, 3, H, W]."""
        if x.shape[2] % 4 or x.shape[3] % 4:
            raise ValueError(f"the image is {x.shape[2]} x {x.shape[3]}; both must be multiples of 4: pad it")
        x = self._blocks("down_level1", 4, self.down1(x))
        half = self.down2(x)
        quarter = self.down3(self._blocks("down_level2", 4, self.fe_level_2(half)))
        found = {"level3": self._blocks("level3", 8, self.fe_level_3(quarter))}
        found["mix1"] = self.mix1(quarter, found["level3"])
        y = self._blocks("up_level2", 4, self.up1(found["mix1"]))
        found["mix2"] = self.mix2(half, y)
        return found | {"out": self.up3(self._blocks("up_level1", 4, self.up2(found["mix2"])))}
