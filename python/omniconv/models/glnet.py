"""GLNet: Zhu et al., "Revisiting the Integration of Convolution and Attention for Vision Backbone", arXiv:2411.14429.

Names are the repository's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, global_avg_pool, innermost, l2_normalize, namespace, permute, softmax

VARIANTS = {
    "glnet_4g": {"embed_dim": (64, 128, 256, 512)},
    "glnet_9g": {"embed_dim": (96, 192, 384, 768)},
    "glnet_16g": {"embed_dim": (128, 256, 512, 1024), "layerscale": 1e-4},
    "glnet_stl": {
        "depth": (2, 2, 6, 2), "embed_dim": (96, 192, 384, 768), "mlp_ratios": (4, 4, 4, 4),
        "mixing_modes": ("glmix", "glmix", "glmix", "mha"), "cpe_ks": 0, "mlp_dw": False,
        "downsample_style": "non_ovlp", "transition_layout": "norm.proj",
    },
}  # fmt: skip


class MultiHead(nn.Module):
    """Self-attention with the names of ``torch.nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(3 * width, width)
        self.in_proj_bias = nn.Parameter(3 * width, fill=0.0)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """Tokens [B, N, C]."""
        b, n, c = x.shape
        qkv = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = permute(qkv.reshape(b, n, 3, self.heads, -1), (2, 0, 3, 1, 4))
        return self.out_proj(permute(nn.attention(q, k, v), (0, 2, 1, 3)).reshape(b, n, c), **epilogue)


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(channels, fill=value)


class Mlp(nn.Module):
    """1x1 convolution, perhaps a depthwise 3x3 with a shortcut, GELU, 1x1 convolution."""

    def __init__(self, channels: int, hidden: int, dw: bool, last: str) -> None:
        super().__init__()
        self.dw, self.last = dw, last
        setattr(self, "0", nn.Conv2d(channels, hidden, 1))
        if dw:
            setattr(self, "1", nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden))
        setattr(self, last, nn.Conv2d(hidden, channels, 1))

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """X [N, C, H, W]."""
        parts = self._modules
        if not self.dw:
            return parts[self.last](parts["0"](x, activation="gelu"), **epilogue)
        y = parts["0"](x)
        return parts[self.last](parts["1"](y, residual=y, activation="gelu"), **epilogue)


class Block(nn.Module):
    """A mixer of positions and an MLP, each with a norm and a shortcut.

    The mixer is attention of all positions ("mha", "mha_nchw"), or a convolution beside attention of `slots` x `slots`
    soft clusters ("glmix").
    """

    def __init__(
        self, mode: str, channels: int, heads: int, hidden: int, dw_ks: int, slots: int, cpe_ks: int, mlp_dw: bool,
        layerscale: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode, self.side = mode, slots
        cpe = cpe_ks and mode != "mha"
        self.pos_conv = nn.Conv2d(channels, channels, cpe_ks, 1, cpe_ks // 2, groups=channels) if cpe else None
        self.norm1 = nn.LayerNorm(channels, eps=1e-6, axis=1)
        if mode == "glmix":
            self.slot_scale = nn.Parameter(fill=channels**-0.5)
            self.relation_mha = MultiHead(channels, heads)
            self.feature_conv = nn.Sequential(
                nn.Conv2d(channels, channels, 1),
                nn.Conv2d(channels, channels, dw_ks, 1, dw_ks // 2, groups=channels),
                nn.Conv2d(channels, channels, 1),
            )
        else:
            self.mha_op = MultiHead(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6, axis=1)
        self.mlp = Mlp(channels, hidden, mlp_dw and mode != "mha", "2" if mode == "mha" else "3")
        self.ls1 = LayerScale(channels, layerscale) if layerscale > 0 else None
        self.ls2 = LayerScale(channels, layerscale) if layerscale > 0 else None

    def _mixed(self, first: Any, z: Any) -> Any:
        """What positions [B, C, H, W] learn from each other by way of clusters, which start from means of `first`."""
        xp, (b, c, h, w) = namespace(z), z.shape
        slots = permute(nn.adaptive_avg_pool(first, self.side).reshape(b, c, -1), (0, 2, 1))
        cells = permute(z.reshape(b, c, -1), (0, 2, 1))
        near = xp.matmul(l2_normalize(slots), permute(l2_normalize(cells), (0, 2, 1))) * self.slot_scale
        slots = self.relation_mha(xp.matmul(softmax(near), cells))
        y = xp.matmul(permute(softmax(near, axis=1), (0, 2, 1)), slots)
        return self.feature_conv(z) + permute(y, (0, 2, 1)).reshape(b, c, h, w)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        first, (n, c, h, w) = x, x.shape
        x = x if self.pos_conv is None else self.pos_conv(x, residual=x)
        z = self.norm1(x)
        if self.mode == "glmix":
            y = self._mixed(first, z)
        else:
            y = self.mha_op(permute(z.reshape(n, c, -1), (0, 2, 1)))
            y = permute(y, (0, 2, 1)).reshape(n, c, h, w)
        x = x + (y if self.ls1 is None else y * self.ls1.gamma.reshape(-1, 1, 1))
        return self.mlp(self.norm2(x), residual=x, gamma=None if self.ls2 is None else self.ls2.gamma)


@register(VARIANTS, paper="arXiv:2411.14429")
class GLNet(Model):
    """GLNet.

    Parameters
    ----------
    depth, embed_dim, mlp_ratios : four numbers each
    head_dim : int
    mixing_modes : four strings
        Of the blocks of a stage: "glmix", "mha_nchw", "mha", or two with a dot, in turn.
    local_dw_ks, cpe_ks : int
        Taps of the convolution beside the clusters, and of that which encodes positions; 0 for none.
    num_slots : int
        Clusters, a square number.
    mlp_dw : bool
        A depthwise convolution inside the MLPs.
    downsample_style : "ovlp" or "non_ovlp"
        Convolutions that overlap before each stage, or do not.
    transition_layout : "proj.norm" or "norm.proj"
    layerscale : float
        What layer scale starts from; none if it is not positive.
    num_classes : int
    """

    def __init__(
        self, depth: Sequence[int] = (4, 4, 18, 4), embed_dim: Sequence[int] = (64, 128, 256, 512),
        mlp_ratios: Sequence[float] = (3, 3, 3, 3), head_dim: int = 32,
        mixing_modes: Sequence[str] = ("glmix", "glmix", "glmix.mha_nchw", "mha_nchw"), local_dw_ks: int = 5,
        num_slots: int = 64, cpe_ks: int = 3, mlp_dw: bool = True, downsample_style: str = "ovlp",
        transition_layout: str = "proj.norm", layerscale: float = -1.0, num_classes: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        side, (first, *rest) = round(num_slots**0.5), embed_dim
        if side * side != num_slots:
            raise ValueError(f"num_slots is {num_slots}; it must be a square number")
        ovlp, norm_first = downsample_style == "ovlp", transition_layout == "norm.proj"
        if ovlp:
            half, same = first // 2, nn.Identity()
            convs = (nn.Conv2d(3, half, 3, 2, 1), nn.Conv2d(half, first, 3, 2, 1))
            gelu = lambda x: activation(x, "gelu")  # noqa: E731
            stem = nn.Sequential(same, convs[0], nn.BatchNorm(half), gelu, convs[1], nn.BatchNorm(first))
        else:
            stem = nn.Sequential(nn.Conv2d(3, first, 4, 4), nn.BatchNorm(first))
        layers, ci = [stem], first
        for co in rest:
            conv = nn.Conv2d(ci, co, 3, 2, 1) if ovlp else nn.Conv2d(ci, co, 2, 2)
            layers.append(nn.Sequential(*((nn.BatchNorm(ci), conv) if norm_first else (conv, nn.BatchNorm(co)))))
            ci = co
        self.downsample_layers = nn.ModuleList(layers)
        stages = []
        for n, c, ratio, modes in zip(depth, embed_dim, mlp_ratios, mixing_modes, strict=True):
            turns = modes.split(".")
            how = (c, c // head_dim, int(c * ratio), local_dw_ks, side, cpe_ks, mlp_dw, layerscale)
            blocks = nn.Sequential(*(Block(turns[j % len(turns)], *how) for j in range(n)))
            stages.append(nn.ModuleDict({"blocks": blocks}))
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm(ci)
        self.head = nn.Linear(ci, num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1 to stage4 [N, C, H, W] and logits of images [N, 3, H, W]."""
        found, x = {}, innermost(x)
        for i, (between, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True), 1):
            x = found[f"stage{i}"] = stage["blocks"](between(x))
        return found | {"logits": self.head(global_avg_pool(self.norm(x)))}
