"""ConViT: d'Ascoli et al., "ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases",
arXiv:2103.10697.

Names are those of the repository and of timm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import concat, constant, permute, softmax

VARIANTS = {
    "convit_tiny": {"embed_dim": 48, "num_heads": 4},
    "convit_small": {"embed_dim": 48, "num_heads": 9},
    "convit_base": {"embed_dim": 48, "num_heads": 16},
}


def offsets(side: int) -> np.ndarray:
    """[N, N, 3]: dx, dy and their squared distance, from cell i to cell j of a grid, row by row."""
    at = np.arange(side)
    d = (at[None] - at[:, None]).astype(float)
    dx, dy = np.tile(d, (side, side)), np.kron(d, np.ones((side, side)))
    return np.stack([dx, dy, dx**2 + dy**2], axis=-1)


class GatedAttention(nn.Module):
    """Attention mixed, head by head, with weights that depend on the offset of two cells alone."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qk = nn.Linear(width, 2 * width, bias=bias)
        self.v = nn.Linear(width, width, bias=bias)
        self.proj = nn.Linear(width, width)
        self.pos_proj = nn.Linear(3, heads)
        self.gating_param = nn.Parameter(heads, fill=1.0)

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """Tokens [B, N, C] of a square grid."""
        b, n, c = x.shape
        q, k = permute(self.qk(x).reshape(b, n, 2, self.heads, -1), (2, 0, 3, 1, 4))
        v = permute(self.v(x).reshape(b, n, self.heads, -1), (0, 2, 1, 3))
        place = softmax(permute(self.pos_proj(constant(offsets(int(n**0.5)), x)), (2, 0, 1)))
        gate = nn.functional.activation(self.gating_param, "sigmoid").reshape(-1, 1, 1)
        y = nn.gated_attention(q, k, v, place, gate)
        return self.proj(permute(y, (0, 2, 1, 3)).reshape(b, n, c), **epilogue)


class Attention(nn.Module):
    """Plain self-attention."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """Tokens [B, N, C]."""
        b, n, c = x.shape
        q, k, v = permute(self.qkv(x).reshape(b, n, 3, self.heads, -1), (2, 0, 3, 1, 4))
        return self.proj(permute(nn.attention(q, k, v), (0, 2, 1, 3)).reshape(b, n, c), **epilogue)


class Block(nn.Module):
    """Attention and an MLP, each with a norm and a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int, local: bool, bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = (GatedAttention if local else Attention)(width, heads, bias)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Any) -> Any:
        """Tokens [B, N, C]."""
        x = self.attn(self.norm1(x), residual=x)
        return self.mlp["fc2"](self.mlp["fc1"](self.norm2(x), activation="gelu"), residual=x)


@register(VARIANTS, paper="arXiv:2103.10697")
class ConViT(Model):
    """ConViT.

    Parameters
    ----------
    img_size, patch_size : int
    embed_dim : int
        Width of a head; tokens have num_heads times as much.
    num_heads, depth : int
    local_up_to_layer : int
        Blocks with gated positional attention; before the next the class token comes in.
    mlp_ratio : float
    qkv_bias : bool
    num_classes, in_channels : int
    """

    ignored = (*Model.ignored, r"rel_indices$")

    def __init__(
        self, img_size: int = 224, patch_size: int = 16, embed_dim: int = 48, num_heads: int = 4, depth: int = 12,
        local_up_to_layer: int = 10, mlp_ratio: float = 4.0, qkv_bias: bool = False, num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        width = embed_dim * num_heads
        self.local = local_up_to_layer
        self.cls_token = nn.Parameter(1, 1, width)
        self.pos_embed = nn.Parameter(1, (img_size // patch_size) ** 2, width)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(in_channels, width, patch_size, patch_size)})
        self.blocks = nn.ModuleList(
            Block(width, num_heads, int(mlp_ratio * width), i < local_up_to_layer, qkv_bias) for i in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """block0, block1, ..., tokens_gpsa (before the class token), tokens and logits of images [B, 3, H, W]."""
        x = self.patch_embed["proj"](x)
        x = permute(x.reshape(*x.shape[:2], -1), (0, 2, 1)) + self.pos_embed
        found = {}
        for i, block in enumerate(self.blocks):
            if i == self.local:
                found["tokens_gpsa"] = x
                x = concat([nn.functional.broadcast(self.cls_token, (len(x), 1, x.shape[2])), x])
            x = found[f"block{i}"] = block(x)
        if self.local >= len(self.blocks):
            found["tokens_gpsa"] = x
        x = found["tokens"] = self.norm(x)
        return found | {"logits": self.head(x[:, 0])}
