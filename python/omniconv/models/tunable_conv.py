"""Tunable convolutions: Maggioni et al., "Tunable Convolutions with Parametric Multi-Loss Optimization",
arXiv:2304.00898.

The operator, and NAFNet made of it; names are those of the repository and its PyTorch port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import global_avg_pool, layer_norm, linear, namespace, pad, pixel_shuffle


class _Mixed(nn.Module):
    """Weights of each sample: sums of several sets, by factors that follow from what the user tunes."""

    def __init__(self, num_params: int, expand_params: int, mode: str) -> None:
        super().__init__()
        if mode not in ("mlp", "linear"):
            raise ValueError(f"mode is {mode!r}; allowed are 'mlp' and 'linear'")
        if mode == "linear" and expand_params != 1:
            raise ValueError(f"expand_params is {expand_params}; mode 'linear' needs 1")
        self.sets = num_params * expand_params
        self.mlp = nn.Linear(num_params, self.sets) if mode == "mlp" else None

    def factors(self, px: Any) -> Any:
        """[B, sets] of px [B, num_params]."""
        return px if self.mlp is None else linear(px, self.mlp.weight, self.mlp.bias)

    def mix(self, factors: Any, sets: Any) -> Any:
        """[B, ...] of sets [1, sets, ...]."""
        xp = namespace(sets)
        flat = xp.matmul(factors, xp.reshape(sets[0], (self.sets, -1)))
        return flat.reshape(len(factors), *sets.shape[2:])


@register({"tunable_conv": {}}, paper="arXiv:2304.00898")
class TunableConv(Model, _Mixed):
    """A convolution with weights of its own for each sample.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        As in ``torch.nn.Conv2d``.
    num_params, expand_params : int
        Numbers that are tuned, and sets of weights for each.
    mode : "mlp" or "linear"
        Factors of the sets by a product with a matrix, or the tuned numbers themselves.
    """

    main = "out"

    def __init__(
        self, in_channels: int = 3, out_channels: int = 16, kernel_size: int = 3, stride: int = 1, padding: int = 0,
        dilation: int = 1, groups: int = 1, bias: bool = True, num_params: int = 2, expand_params: int = 1,
        mode: str = "mlp",
    ) -> None:  # fmt: skip
        _Mixed.__init__(self, num_params, expand_params, mode)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        self.weight = nn.Parameter(1, self.sets, *shape)
        self.bias = nn.Parameter(1, self.sets, out_channels, fill=0.0) if bias else None

    def outputs(self, x: Any, px: Any) -> dict[str, Any]:
        """Mixed [B, sets] and out [B, Co, H, W] of x [B, Ci, H, W] and tuned numbers px [B, num_params]."""
        factors = self.factors(px)
        weights = self.mix(factors, self.weight)
        biases = None if self.bias is None else self.mix(factors, self.bias)
        return {"mixed": factors, "out": nn.functional.conv_per_sample(x, weights, biases, **self.options)}


class TunableParameter(_Mixed):
    """A factor for each channel of each sample."""

    def __init__(self, channels: int, num_params: int, mode: str) -> None:
        super().__init__(num_params, 1, mode)
        self.data = nn.Parameter(1, self.sets, channels, 1, 1)

    def forward(self, px: Any) -> Any:
        """[B, C, 1, 1]."""
        return self.mix(self.factors(px), self.data)


class Norm(nn.Module):
    """Layer norm over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(1, channels, 1, 1, fill=1.0)
        self.bias = nn.Parameter(1, channels, 1, 1, fill=0.0)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return layer_norm(x, self.weight.reshape(-1), self.bias.reshape(-1), axis=1, eps=1e-6)


def gated(x: Any) -> Any:
    """The first half of the channels times the second."""
    half = x.shape[1] // 2
    return x[:, :half] * x[:, half:]


class Block(nn.Module):
    """The two halves of a block of NAFNet, every convolution and factor tunable."""

    def __init__(self, c: int, num_params: int, mode: str) -> None:
        super().__init__()
        how = {"num_params": num_params, "mode": mode}
        self.norm1, self.norm2 = Norm(c), Norm(c)
        self.conv1 = TunableConv(c, 2 * c, 1, **how)
        self.conv2 = TunableConv(2 * c, 2 * c, 3, padding=1, groups=2 * c, **how)
        self.conv3 = TunableConv(c, c, 1, **how)
        self.sca = TunableConv(c, c, 1, **how)
        self.conv4 = TunableConv(c, 2 * c, 1, **how)
        self.conv5 = TunableConv(c, c, 1, **how)
        self.beta = TunableParameter(c, num_params, mode)
        self.gamma = TunableParameter(c, num_params, mode)

    def forward(self, x: Any, px: Any) -> Any:
        """X [B, C, H, W]."""
        y = gated(self.conv2(self.conv1(self.norm1(x), px), px))
        y = self.conv3(y * self.sca(global_avg_pool(y, keepdims=True), px), px)
        x = x + y * self.beta(px)
        return x + self.conv5(gated(self.conv4(self.norm2(x), px)), px) * self.gamma(px)


@register({"tunable_nafnet": {}}, paper="arXiv:2304.00898")
class TunableNAFNet(Model):
    """NAFNet with tunable convolutions: an image and tuned numbers to an image.

    Parameters
    ----------
    img_channels, width : int
    enc, dec : sequence of int
        Blocks at each resolution, on the way down and up.
    mid : int
        Blocks at the lowest resolution.
    num_params : int
        Numbers that are tuned.
    mode : "mlp" or "linear"
    """

    main = "out"

    def __init__(
        self, img_channels: int = 3, width: int = 32, enc: Sequence[int] = (2, 2, 4, 8), mid: int = 12,
        dec: Sequence[int] = (2, 2, 2, 2), num_params: int = 2, mode: str = "mlp",
    ) -> None:  # fmt: skip
        super().__init__()
        how, c = {"num_params": num_params, "mode": mode}, width

        def blocks(count: int, channels: int) -> nn.ModuleList:
            return nn.ModuleList(Block(channels, num_params, mode) for _ in range(count))

        self.intro = TunableConv(img_channels, c, 3, padding=1, **how)
        self.ending = TunableConv(c, img_channels, 3, padding=1, **how)
        encoders, downs = [], []
        for count in enc:
            encoders.append(blocks(count, c))
            downs.append(TunableConv(c, 2 * c, 2, 2, **how))
            c *= 2
        self.encoders, self.downs, self.middle_blks = nn.ModuleList(encoders), nn.ModuleList(downs), blocks(mid, c)
        ups, decoders = [], []
        for count in dec:
            ups.append(TunableConv(c, 2 * c, 1, bias=False, **how))
            c //= 2
            decoders.append(blocks(count, c))
        self.ups, self.decoders = nn.ModuleList(ups), nn.ModuleList(decoders)

    def outputs(self, x: Any, px: Any) -> dict[str, Any]:
        """intro, encoder0, ..., middle, decoder0, ... and out of x [B, C, H, W] and px [B, num_params]."""
        multiple, (high, wide) = 2 ** len(self.downs), x.shape[2:]
        whole = pad(x, [(0, -high % multiple), (0, -wide % multiple)])
        y = self.intro(whole, px)
        found, skips = {"intro": y}, []
        for i, (stage, down) in enumerate(zip(self.encoders, self.downs, strict=True)):
            for block in stage:
                y = block(y, px)
            found[f"encoder{i}"] = y
            skips.append(y)
            y = down(y, px)
        for block in self.middle_blks:
            y = block(y, px)
        found["middle"] = y
        for i, (stage, up) in enumerate(zip(self.decoders, self.ups, strict=True)):
            y = pixel_shuffle(up(y, px), 2) + skips.pop()
            for block in stage:
                y = block(y, px)
            found[f"decoder{i}"] = y
        return found | {"out": (self.ending(y, px) + whole)[:, :, :high, :wide]}
