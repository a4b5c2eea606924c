"""CvT: Wu et al., "CvT: Introducing Convolutions to Vision Transformers", arXiv:2103.15808. Names are the repository's.

As there, and unlike the port in transformers: QuickGELU, and logits are scaled by the full width ^-1/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import broadcast, concat, innermost, permute

VARIANTS = {
    "cvt_13": {"embed_dims": (64, 192, 384), "num_heads": (1, 3, 6), "depths": (1, 2, 10)},
    "cvt_21": {"embed_dims": (64, 192, 384), "num_heads": (1, 3, 6), "depths": (1, 4, 16)},
    "cvt_w24": {"embed_dims": (192, 768, 1024), "num_heads": (3, 12, 16), "depths": (2, 2, 20)},
}


class Projection(nn.Module):
    """Depthwise 3x3 and batch norm, its map as tokens."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.bn = nn.BatchNorm(width)

    def forward(self, x: Any) -> Any:
        """[N, C, H, W] to [N, L, C]."""
        y = self.conv(x, norm=self.bn)
        return permute(y.reshape(*y.shape[:2], -1), (0, 2, 1))

    def _fold(self) -> None:
        nn.fold_norm(self.conv, self.bn)
        self.bn = nn.Identity()


class Attention(nn.Module):
    """Attention whose queries, keys and values come from convolutions of the map; the class token passes them by."""

    def __init__(self, width: int, heads: int, bias: bool, stride_kv: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        for name in "qkv":
            setattr(self, f"conv_proj_{name}", Projection(width, 1 if name == "q" else stride_kv))
            setattr(self, f"proj_{name}", nn.Linear(width, width, bias=bias))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Any, height: int, width: int, with_cls: bool, **epilogue: Any) -> Any:
        """Tokens [B, N, C], the class token first if there is one."""
        b, n, c = x.shape
        cls, cells = (x[:, :1], x[:, 1:]) if with_cls else (None, x)
        image = permute(cells, (0, 2, 1)).reshape(b, c, height, width)
        heads = []
        for name in "qkv":
            tokens = getattr(self, f"conv_proj_{name}")(image)
            tokens = tokens if cls is None else concat([cls, tokens])
            tokens = getattr(self, f"proj_{name}")(tokens)
            heads.append(permute(tokens.reshape(b, -1, self.heads, c // self.heads), (0, 2, 1, 3)))
        y = nn.attention(*heads, scale=self.scale)
        return self.proj(permute(y, (0, 2, 1, 3)).reshape(b, n, c), **epilogue)


class Block(nn.Module):
    """Attention and an MLP, each with a norm and a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int, bias: bool, stride_kv: int, act: str) -> None:
        super().__init__()
        self.act = act
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, bias, stride_kv)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Any, height: int, width: int, with_cls: bool) -> Any:
        """Tokens [B, N, C]."""
        x = self.attn(self.norm1(x), height, width, with_cls, residual=x)
        return self.mlp["fc2"](self.mlp["fc1"](self.norm2(x), activation=self.act), residual=x)


class Stage(nn.Module):
    """An embedding of patches that overlap, and blocks."""

    def __init__(
        self, ci: int, width: int, heads: int, depth: int, first: bool, last: bool, mlp_ratio: float, bias: bool,
        stride_kv: int, act: str,
    ) -> None:  # fmt: skip
        super().__init__()
        proj = nn.Conv2d(ci, width, 7, 4, 2) if first else nn.Conv2d(ci, width, 3, 2, 1)
        self.patch_embed = nn.ModuleDict({"proj": proj, "norm": nn.LayerNorm(width)})
        self.cls_token = nn.Parameter(1, 1, width) if last else None
        hidden = int(width * mlp_ratio)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, bias, stride_kv, act) for _ in range(depth))

    def forward(self, x: Any) -> tuple[Any, Any]:
        """The map [N, C, H, W] after the blocks, and the class token [N, C] or None."""
        y = self.patch_embed["proj"](x)
        n, c, h, w = y.shape
        y = self.patch_embed["norm"](permute(y.reshape(n, c, -1), (0, 2, 1)))
        with_cls = self.cls_token is not None
        if with_cls:
            y = concat([broadcast(self.cls_token, (n, 1, c)), y])
        for block in self.blocks:
            y = block(y, h, w, with_cls)
        cls, cells = (y[:, 0], y[:, 1:]) if with_cls else (None, y)
        return permute(cells, (0, 2, 1)).reshape(n, c, h, w), cls


@register(VARIANTS, paper="arXiv:2103.15808")
class CvT(Model):
    """CvT.

    Parameters
    ----------
    embed_dims, num_heads, depths : ints for each stage
    mlp_ratio : float
    qkv_bias : bool
    stride_kv : int
        Of the convolutions of keys and values.
    act : str
        Activation of the MLPs: "quick_gelu" as published, or another that `omniconv.conv` knows.
    num_classes, in_channels : int
    """

    def __init__(
        self, embed_dims: Sequence[int] = (64, 192, 384), num_heads: Sequence[int] = (1, 3, 6),
        depths: Sequence[int] = (1, 2, 10), mlp_ratio: float = 4, qkv_bias: bool = True, stride_kv: int = 2,
        act: str = "quick_gelu", num_classes: int = 1000, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.count = len(depths)
        ci = in_channels
        for i, (width, heads, depth) in enumerate(zip(embed_dims, num_heads, depths, strict=True)):
            last = i + 1 == self.count
            stage = Stage(ci, width, heads, depth, i == 0, last, mlp_ratio, qkv_bias, stride_kv, act)
            setattr(self, f"stage{i}", stage)
            ci = width
        self.norm = nn.LayerNorm(ci)
        self.head = nn.Linear(ci, num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1, stage2, ... [N, C, H, W] and logits of images [N, 3, H, W]."""
        found, x, cls = {}, innermost(x), None
        for i in range(self.count):
            x, cls = getattr(self, f"stage{i}")(x)
            found[f"stage{i + 1}"] = x
        return found | {"logits": self.head(self.norm(cls))}
