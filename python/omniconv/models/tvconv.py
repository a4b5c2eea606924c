"""TVConv: Chen et al., "TVConv: Efficient Translation Variant Convolution for Layout-aware Visual Processing",
arXiv:2203.10489.

Names are the repository's. The taps depend on the position alone, never on the image: `fold` computes them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

#: expansion, channels, blocks, stride
SETTINGS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
VARIANTS = {
    f"tvconv_mobilenet_v2_x{width // 10}_{width % 10}": {"width": width / 10}
    for width in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
}
VARIANTS |= {name.removeprefix("tvconv_") + "_faces": o | {"atom": "base"} for name, o in VARIANTS.items()}


def in_eights(value: float) -> int:
    """The nearest multiple of eight, at least 8 and 90 % of the value."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


class MapNorm(nn.Module):
    """Normalisation of one map over all of its channels and positions, with a factor and a shift for each."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(*shape, fill=1.0)
        self.bias = nn.Parameter(*shape, fill=0.0)

    def forward(self, x: Any) -> Any:
        """X [1, C, H, W]."""
        return nn.functional.group_norm(x, 1) * self.weight + self.bias


class TVConv(Model):
    """Depthwise convolution with taps of its own at each position, made by a small network from a map of positions.

    Parameters
    ----------
    channels : int
    size : two ints
        Height and width of the result.
    kernel_size, stride : int
    posi_chans, inter_chans, inter_layers : int
        Channels of the map of positions, and channels and number of the inner layers.
    bias : bool
        Add a map that a second network makes.
    """

    main = "out"
    ignored = (*Model.ignored, r"(^|\.)(TVConv_k|TVConv_k_square|stride|channels|h|w|bias)$")

    def __init__(
        self, channels: int, size: Sequence[int], kernel_size: int = 3, stride: int = 1, posi_chans: int = 4,
        inter_chans: int = 64, inter_layers: int = 3, bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride, self.taps, self.size, self.channels = stride, kernel_size**2, tuple(size), channels
        self.posi_map = nn.Parameter(1, posi_chans, *size, fill=1.0)

        def layers(co: int) -> nn.Sequential:
            steps, ci = [], posi_chans
            for _ in range(inter_layers + 1):
                conv = nn.Conv2d(ci, inter_chans, 3, 1, 1, bias=False)
                relu = lambda x: nn.functional.activation(x, "relu")  # noqa: E731
                steps.append(nn.Sequential(conv, MapNorm(inter_chans, *size), relu))
                ci = inter_chans
            return nn.Sequential(*steps, nn.Conv2d(ci, co, 3, 1, 1, bias=False))

        self.weight_layers = layers(channels * self.taps)
        self.bias_layers = layers(channels) if bias else None
        self.baked = self.baked_bias = None

    def weights(self) -> Any:
        """The taps [1, C k k, H, W]."""
        return self.weight_layers(self.posi_map) if self.baked is None else self.baked

    def outputs(self, x: Any) -> dict[str, Any]:
        """Weights [1, C k k, H, W] and out [N, C, H, W]."""
        weights = self.weights()
        y = nn.window_conv2d(x, weights.reshape(self.channels, self.taps, *self.size), stride=self.stride)
        if self.baked_bias is not None:
            y = y + self.baked_bias
        elif self.bias_layers is not None:
            y = y + self.bias_layers(self.posi_map)
        return {"weights": weights, "out": y}

    def _fold(self) -> None:
        if self.baked is not None:
            return
        self.baked = nn.Parameter(1, self.channels * self.taps, *self.size)
        self._parameters["baked"].array = self.weight_layers(self.posi_map)
        if self.bias_layers is not None:
            self.baked_bias = nn.Parameter(1, self.channels, *self.size)
            self._parameters["baked_bias"].array = self.bias_layers(self.posi_map)
            del self._modules["bias_layers"]
            self.bias_layers = None
        del self._modules["weight_layers"], self._parameters["posi_map"]


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, one convolution for each channel, 1x1 convolution to few."""

    def __init__(self, ci: int, co: int, stride: int, expansion: int, depthwise: Any) -> None:
        super().__init__()
        hidden = round(ci * expansion)
        steps = [nn.Sequential(depthwise(hidden, stride), nn.BatchNorm(hidden))]
        if expansion != 1:
            steps.insert(0, nn.Sequential(nn.Conv2d(ci, hidden, 1, bias=False), nn.BatchNorm(hidden)))
        self.conv = nn.Sequential(*steps, nn.Conv2d(hidden, co, 1, bias=False), nn.BatchNorm(co))
        self.shortcut = stride == 1 and ci == co

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, H / stride, W / stride]."""
        y = x
        for i in range(len(self.conv) - 2):
            y = _unit(self.conv[i], y)
        return self.conv[-2](y, norm=self.conv[-1], residual=x if self.shortcut else None)


def _unit(pair: nn.Sequential, x: Any) -> Any:
    """Convolution, batch norm, ReLU6."""
    if isinstance(pair[0], nn.Conv):
        return pair[0](x, norm=pair[1], activation="relu6")
    return nn.functional.activation(pair[1](pair[0](x)), "relu6")


@register(VARIANTS, paper="arXiv:2203.10489")
class MobileNetV2(Model):
    """MobileNetV2 for faces, with TVConv for its depthwise convolutions; images have one fixed size.

    Parameters
    ----------
    width : float
        Factor of all channels.
    atom : "TVConv" or "base"
        What stands for the depthwise convolutions; "base" is an ordinary 3x3 one.
    input_size : two ints
    kernel_size, posi_chans, inter_chans, inter_layers, bias
        Of `TVConv`.
    embedding : int
    """

    main = "embedding"
    ignored = TVConv.ignored

    def __init__(
        self, width: float = 1.0, atom: str = "TVConv", input_size: Sequence[int] = (96, 96), kernel_size: int = 3,
        posi_chans: int = 4, inter_chans: int = 64, inter_layers: int = 3, bias: bool = False, embedding: int = 512,
    ) -> None:  # fmt: skip
        super().__init__()
        if atom not in ("TVConv", "base"):
            raise ValueError(f"atom is {atom!r}; allowed are 'TVConv' and 'base'")
        size = tuple(input_size)

        def depthwise(channels: int, stride: int) -> nn.Module:
            nonlocal size
            if atom == "base":
                return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
            size = tuple(-(-n // stride) for n in size)
            return TVConv(channels, size, kernel_size, stride, posi_chans, inter_chans, inter_layers, bias)

        ci = in_eights(32 * width)
        steps = [nn.Sequential(nn.Conv2d(3, ci, 3, 1, 1, bias=False), nn.BatchNorm(ci))]
        for expansion, channels, count, stride in SETTINGS:
            co = in_eights(channels * width)
            for j in range(count):
                steps.append(InvertedResidual(ci, co, stride if j == 0 else 1, expansion, depthwise))
                ci = co
        steps.append(nn.Sequential(nn.Conv2d(ci, 512, 1, bias=False), nn.BatchNorm(512)))
        self.features = nn.ModuleList(steps)
        self.output_layer = nn.ModuleDict(
            {"layer1": nn.BatchNorm(512), "layer2": nn.Sequential(nn.Linear(512, embedding), nn.BatchNorm(embedding))}
        )

    def outputs(self, x: Any) -> dict[str, Any]:
        """features0 to features18, and embedding, of images [N, 3, H, W]."""
        found = {}
        for i, step in enumerate(self.features):
            x = found[f"features{i}"] = step(x) if isinstance(step, InvertedResidual) else _unit(step, x)
        head = self.output_layer
        mean = nn.functional.global_avg_pool(head["layer1"](x))
        return found | {"embedding": head["layer2"][0](mean, norm=head["layer2"][1])}
