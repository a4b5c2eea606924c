"""TransNeXt: Dai Shi, "TransNeXt: Robust Foveal Visual Perception for Vision Transformers", arXiv:2311.17132.

Names are the repository's, in its form without kernels of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, concat, constant, l2_normalize, namespace, permute, softmax

VARIANTS = {
    "transnext_micro": {},
    "transnext_tiny": {"embed_dims": (72, 144, 288, 576), "num_heads": (3, 6, 12, 24)},
    "transnext_small": {"embed_dims": (72, 144, 288, 576), "num_heads": (3, 6, 12, 24), "depths": (5, 5, 22, 5)},
    "transnext_base": {"embed_dims": (96, 192, 384, 768), "num_heads": (4, 8, 16, 32), "depths": (5, 5, 23, 5)},
}


def _pooled(values: np.ndarray, count: int) -> np.ndarray:
    """Means of regions that cover an axis, as adaptive pooling takes them."""
    n = len(values)
    return np.array([values[i * n // count : -(-(i + 1) * n // count)].mean() for i in range(count)])


def offsets(height: int, width: int, rows: int, columns: int, trained: float) -> np.ndarray:
    """[N, P, 2]: logarithmic distances down and across from each cell to each pooled one."""
    axes = []
    for n, m in ((height, rows), (width, columns)):
        at = np.arange(n, dtype=float)
        far = (at[:, None] - _pooled(at, m)[None]) / (trained - 1) * 8
        axes.append(np.sign(far) * np.log2(np.abs(far) + 1) / math.log2(8))
    down = np.broadcast_to(axes[0][:, None, :, None], (height, width, rows, columns))
    across = np.broadcast_to(axes[1][None, :, None, :], (height, width, rows, columns))
    return np.stack([down, across], axis=-1).reshape(height * width, rows * columns, 2)


class Attention(nn.Module):
    """What both forms share: cosine attention with learned temperature, query, and bias of positions."""

    def __init__(self, dim: int, heads: int, trained: float) -> None:
        super().__init__()
        self.heads, self.trained = heads, trained
        self.temperature = nn.Parameter(heads, 1, 1, fill=1.0)
        self.query_embedding = nn.Parameter(heads, 1, dim // heads)
        self.proj = nn.Linear(dim, dim)
        self.cpb_fc1 = nn.Linear(2, 512)
        self.cpb_fc2 = nn.Linear(512, heads)

    def bias(self, size: tuple[int, int], pooled: tuple[int, int], like: Any) -> Any:
        """[heads, N, P]."""
        table = constant(offsets(*size, *pooled, self.trained), like)
        return permute(self.cpb_fc2(self.cpb_fc1(table, activation="relu")), (2, 0, 1))

    def scaled(self, q: Any, factor: Any) -> Any:
        """Queries [B, heads, N, d] of unit length, ready for the product with keys."""
        return (q + self.query_embedding) * activation(self.temperature, "softplus") * factor

    def split(self, x: Any) -> Any:
        """[B, N, C] to [B, heads, N, d]."""
        return permute(x.reshape(*x.shape[:2], self.heads, -1), (0, 2, 1, 3))

    def joined(self, y: Any, residual: Any) -> Any:
        """[B, heads, N, d] to [B, N, C], through the last product."""
        return self.proj(permute(y, (0, 2, 1, 3)).reshape(residual.shape), residual=residual)


class FullAttention(Attention):
    """Every cell sees every cell."""

    def __init__(self, dim: int, heads: int, trained: float, qkv_bias: bool) -> None:
        super().__init__(dim, heads, trained)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)

    def forward(self, x: Any, size: tuple[int, int], residual: Any) -> Any:
        """Tokens [B, N, C] of a map of this size."""
        b, n, _ = x.shape
        q, k, v = permute(self.qkv(x).reshape(b, n, 3, self.heads, -1), (2, 0, 3, 1, 4))
        q = self.scaled(l2_normalize(q), math.log(n))
        return self.joined(nn.attention(q, l2_normalize(k), v, scale=1.0, bias=self.bias(size, size, x)), residual)


class AggregatedAttention(Attention):
    """Every cell sees its neighbours, and means over regions of all; one softmax for both."""

    def __init__(self, dim: int, heads: int, trained: float, qkv_bias: bool, sr_ratio: int, window: int) -> None:
        super().__init__(dim, heads, trained)
        self.ratio, self.window, taps = sr_ratio, window, window**2
        self.relative_pos_bias_local = nn.Parameter(heads, taps)
        self.learnable_tokens = nn.Parameter(heads, dim // heads, taps)
        self.learnable_bias = nn.Parameter(heads, 1, taps, fill=0.0)
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.sr = nn.Conv2d(dim, dim, 1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Any, size: tuple[int, int], residual: Any) -> Any:
        """Tokens [B, N, C] of a map of this size."""
        xp, (b, _n, c), (h, w) = namespace(x), x.shape, size
        rows, columns = h // self.ratio, w // self.ratio
        ones, edge = np.ones((h, w)), self.window // 2
        padded = np.pad(ones, edge)
        inside = np.stack(
            [padded[i : i + h, j : j + w].ravel() for i in range(self.window) for j in range(self.window)], axis=-1
        )
        q = l2_normalize(self.split(self.q(x)))
        qs = self.scaled(q, constant(np.log(inside.sum(1, keepdims=True) + rows * columns), x))
        kv = self.kv(x)
        k, v = l2_normalize(self.split(kv[..., :c])), self.split(kv[..., c:])
        maps = (b, self.heads, h, w, c // self.heads)
        near = nn.window_qk(qs.reshape(maps), k.reshape(maps), self.window).reshape(*qs.shape[:-1], -1)
        near = near + self.relative_pos_bias_local[:, None]
        near = xp.where(constant(inside, x) > 0, near, near * 0 - math.inf)
        image = self.sr(permute(x, (0, 2, 1)).reshape(b, c, h, w), activation="gelu")
        image = nn.adaptive_avg_pool(image, (rows, columns))
        kv = self.kv(self.norm(permute(image.reshape(b, c, -1), (0, 2, 1))))
        far_k, far_v = l2_normalize(self.split(kv[..., :c])), self.split(kv[..., c:])
        far = xp.matmul(qs, permute(far_k, (0, 1, 3, 2))) + self.bias(size, (rows, columns), x)
        weights, taps = softmax(concat([near, far], axis=-1)), self.window**2
        local = weights[..., :taps] + xp.matmul(q, self.learnable_tokens) + self.learnable_bias
        y = nn.window_av(local.reshape(*maps[:-1], taps), v.reshape(maps)).reshape(v.shape)
        return self.joined(y + xp.matmul(weights[..., taps:], far_v), residual)


class ConvGLU(nn.Module):
    """A gated product whose gate sees its neighbours."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * hidden)
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)})
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Any, size: tuple[int, int], residual: Any) -> Any:
        """Tokens [B, N, C] of a map of this size."""
        y = self.fc1(x)
        b, n, wide = y.shape
        gate = permute(y[..., : wide // 2].reshape(b, *size, wide // 2), (0, 3, 1, 2))
        gate = permute(self.dwconv["dwconv"](gate, activation="gelu"), (0, 2, 3, 1)).reshape(b, n, wide // 2)
        return self.fc2(gate * y[..., wide // 2 :], residual=residual)


class Block(nn.Module):
    """Attention and a gated MLP, each with a norm and a shortcut."""

    def __init__(
        self, dim: int, heads: int, hidden: int, trained: float, qkv_bias: bool, sr_ratio: int, window: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        if sr_ratio == 1:
            self.attn = FullAttention(dim, heads, trained, qkv_bias)
        else:
            self.attn = AggregatedAttention(dim, heads, trained, qkv_bias, sr_ratio, window)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = ConvGLU(dim, hidden)

    def forward(self, x: Any, size: tuple[int, int]) -> Any:
        """Tokens [B, N, C] of a map of this size."""
        x = self.attn(self.norm1(x), size, x)
        return self.mlp(self.norm2(x), size, x)


@register(VARIANTS, paper="arXiv:2311.17132")
class TransNeXt(Model):
    """TransNeXt.

    Parameters
    ----------
    img_size : int
        Of the images that it was trained on, and so the unit of distances; others may be run.
    embed_dims, num_heads, mlp_ratios, depths : four numbers each
    sr_ratios : four ints
        Factors by which regions are pooled; 1 for plain attention.
    window_size : four ints
        Sides of the neighbourhoods.
    patch_size, num_classes : int
    qkv_bias : bool
    """

    ignored = (*Model.ignored, r"(relative_pos_index|relative_coords_table|seq_length_scale|padding_mask)$")

    def __init__(
        self, img_size: int = 224, embed_dims: Sequence[int] = (48, 96, 192, 384),
        num_heads: Sequence[int] = (2, 4, 8, 16), mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        depths: Sequence[int] = (2, 2, 15, 2), sr_ratios: Sequence[int] = (8, 4, 2, 1),
        window_size: Sequence[int | None] = (3, 3, 3, None), patch_size: int = 4, qkv_bias: bool = True,
        num_classes: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        if patch_size != 4:
            raise ValueError(f"patch_size is {patch_size}; it must be 4")
        ci, self.count = 3, len(depths)
        sizes = zip(embed_dims, num_heads, mlp_ratios, depths, sr_ratios, window_size, strict=True)
        for i, (dim, heads, ratio, depth, sr_ratio, window) in enumerate(sizes, 1):
            proj = nn.Conv2d(ci, dim, 7, 4, 3) if i == 1 else nn.Conv2d(ci, dim, 3, 2, 1)
            setattr(self, f"patch_embed{i}", nn.ModuleDict({"proj": proj, "norm": nn.LayerNorm(dim)}))
            hidden = int(2 * int(dim * ratio) / 3)
            how = (dim, heads, hidden, img_size / 2 ** (i + 1), qkv_bias, sr_ratio, window or 3)
            setattr(self, f"block{i}", nn.ModuleList(Block(*how) for _ in range(depth)))
            setattr(self, f"norm{i}", nn.LayerNorm(dim, eps=1e-6))
            ci = dim
        self.head = nn.Linear(ci, num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """embed1, stage1 to stage4 [N, L, C] and logits of images [N, 3, H, W]."""
        found: dict[str, Any] = {}
        for i in range(1, self.count + 1):
            embed = getattr(self, f"patch_embed{i}")
            x = embed["proj"](x)
            b, c, *size = x.shape
            y = embed["norm"](permute(x.reshape(b, c, -1), (0, 2, 1)))
            if i == 1:
                found["embed1"] = y
            for block in getattr(self, f"block{i}"):
                y = block(y, tuple(size))
            y = found[f"stage{i}"] = getattr(self, f"norm{i}")(y)
            x = permute(y, (0, 2, 1)).reshape(b, c, *size)
        return found | {"logits": self.head(namespace(y).mean(y, axis=1))}
