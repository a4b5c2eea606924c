"""AFFNet: Huang et al., "Adaptive Frequency Filters As Efficient Global Token Mixers", arXiv:2307.14008. Names
are the repository's.

The repository's configurations are not public with it: which of two normalisations the published weights use,
options of `attn_norm_layer` with equal names and shapes, has to be tried.
"""

from __future__ import annotations

from typing import Any

import omniconv
from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.models.tvconv import in_eights
from omniconv.nn.functional import activation, concat, global_avg_pool, group_norm, innermost

#: channels of the five layers, expansion
MODES = {
    "xx_small": ((32, 48, 64, 104, 144), 2),
    "x_small": ((32, 48, 96, 160, 192), 4),
    "small": ((32, 64, 128, 256, 320), 4),
}
VARIANTS = {"affnet_et": {"mode": "xx_small"}, "affnet_t": {"mode": "x_small"}, "affnet": {"mode": "small"}}
ACTIVATIONS = {"swish": "silu", "hard_swish": "hardswish"}


class ConvLayer(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, ci: int, co: int, kernel: int, stride: int = 1, groups: int = 1, act: str | None = None) -> None:
        super().__init__()
        self.act = act
        conv = nn.Conv2d(ci, co, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.block = nn.ModuleDict({"conv": conv, "norm": nn.BatchNorm(co)})

    def forward(self, x: Any, residual: Any = None) -> Any:
        """X [N, Ci, H, W]."""
        return self.block["conv"](x, norm=self.block["norm"], activation=self.act, residual=residual)

    def _fold(self) -> None:
        nn.fold_norm(self.block["conv"], self.block["norm"])
        self.block.norm = nn.Identity()


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, depthwise 3x3, 1x1 convolution to few."""

    def __init__(self, ci: int, co: int, stride: int, expansion: float, act: str) -> None:
        super().__init__()
        hidden, parts = in_eights(round(ci * expansion)), {}
        if expansion != 1:
            parts["exp_1x1"] = ConvLayer(ci, hidden, 1, act=act)
        parts["conv_3x3"] = ConvLayer(hidden, hidden, 3, stride, hidden, act)
        parts["red_1x1"] = ConvLayer(hidden, co, 1)
        self.block = nn.ModuleDict(parts)
        self.shortcut = stride == 1 and ci == co

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, H / stride, W / stride]."""
        y = x
        for name in ("exp_1x1", "conv_3x3"):
            y = self.block[name](y) if name in self.block._modules else y
        return self.block["red_1x1"](y, residual=x if self.shortcut else None)


class Norm(nn.Module):
    """Either over channels and positions, or over the channels of each position with eps beside the deviation."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        if kind not in ("layer_norm_2d", "layer_norm"):
            raise ValueError(f"attn_norm_layer is {kind!r}; allowed are 'layer_norm_2d' and 'layer_norm'")
        self.kind = kind
        self.weight = nn.Parameter(channels, fill=1.0)
        self.bias = nn.Parameter(channels, fill=0.0)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        if self.kind == "layer_norm_2d":
            return group_norm(x, 1, self.weight, self.bias)
        xp = nn.functional.namespace(x)
        centred = x - xp.mean(x, axis=1, keepdims=True)
        deviation = xp.sqrt(xp.mean(centred * centred, axis=1, keepdims=True))
        return centred / (deviation + 1e-5) * self.weight.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1)


class Filter(nn.Module):
    """The adaptive frequency filter; see `omniconv.affnet_filter2d`."""

    def __init__(self, channels: int, blocks: int, threshold: float, act: str) -> None:
        super().__init__()
        each = channels // blocks
        self.threshold, self.act = threshold, act
        for i in ("1", "2"):
            setattr(self, f"w{i}", nn.Parameter(2, blocks, each, each))
            setattr(self, f"b{i}", nn.Parameter(2, blocks, each))

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return omniconv.affnet_filter2d(
            x,
            self.w1,
            self.b1,
            self.w2,
            self.b2,
            threshold=self.threshold,
            activation=lambda v: activation(v, self.act),
        )


class Inner(nn.Module):
    """An inverted residual and a filter, each after a norm, around a shortcut."""

    def __init__(self, channels: int, norm: str, blocks: int, threshold: float, act: str) -> None:
        super().__init__()
        self.norm1 = Norm(channels, norm)
        self.filter = Filter(channels, blocks, threshold, act)
        self.norm2 = Norm(channels, norm)
        self.mlp = InvertedResidual(channels, channels, 1, 2, act)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.filter(self.norm2(self.mlp(self.norm1(x)))) + x


class AFFBlock(nn.Module):
    """Inner blocks and a norm; their result is fused with what came in."""

    def __init__(self, channels: int, count: int, norm: str, blocks: int, threshold: float, act: str) -> None:
        super().__init__()
        inner = [Inner(channels, norm, blocks, threshold, act) for _ in range(count)]
        self.global_rep = nn.Sequential(*inner, Norm(channels, norm))
        self.conv_proj = ConvLayer(channels, channels, 1)
        self.fusion = ConvLayer(2 * channels, channels, 1, act=act)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        return self.fusion(concat([x, self.conv_proj(self.global_rep(x))]))


@register(VARIANTS, paper="arXiv:2307.14008")
class AFFNet(Model):
    """AFFNet.

    Parameters
    ----------
    mode : "xx_small", "x_small" or "small"
    attn_norm_layer : "layer_norm_2d" or "layer_norm"
    act : str
        An activation that `omniconv.conv` knows, or "swish".
    sparsity_threshold : float
        Of the soft shrinkage of the filters.
    num_blocks : int
        Diagonal blocks of the filters' products.
    num_classes : int
    """

    def __init__(
        self, mode: str = "small", attn_norm_layer: str = "layer_norm_2d", act: str = "swish",
        sparsity_threshold: float = 0.01, num_blocks: int = 8, num_classes: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; allowed are {', '.join(MODES)}")
        widths, expansion = MODES[mode]
        act = ACTIVATIONS.get(act, act)
        self.conv_1 = ConvLayer(3, 16, 3, 2, act=act)
        ci = 16
        for layer, co in enumerate(widths, 1):
            steps = [InvertedResidual(ci, co, 1 if layer == 1 else 2, expansion, act)]
            if layer == 2:
                steps += [InvertedResidual(co, co, 1, expansion, act) for _ in range(2)]
            elif layer > 2:
                count = (2, 4, 3)[layer - 3]
                steps.append(AFFBlock(co, count, attn_norm_layer, num_blocks, sparsity_threshold, act))
            setattr(self, f"layer_{layer}", nn.Sequential(*steps))
            ci = co
        wide = min(4 * ci, 960)
        self.conv_1x1_exp = ConvLayer(ci, wide, 1, act=act)
        self.classifier = nn.ModuleDict({"fc": nn.Linear(wide, num_classes)})

    def outputs(self, x: Any) -> dict[str, Any]:
        """layer_1 to layer_5 and logits of images [N, 3, H, W]."""
        found, x = {}, self.conv_1(innermost(x))
        for layer in range(1, 6):
            x = found[f"layer_{layer}"] = getattr(self, f"layer_{layer}")(x)
        return found | {"logits": self.classifier["fc"](global_avg_pool(self.conv_1x1_exp(x)))}
