"""HaloNet: Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones", arXiv:2103.12731.

In timm's form, with timm's names: as there, the relative term counts offsets from the first column of a window,
in steps of the queries, and cells beyond the image take part in the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.arrays import take
from omniconv.nn.functional import activation, global_avg_pool, namespace, pad, permute

B, S = "bottle", "self_attn"
VARIANTS = {
    "halonet26t": {
        "stages": (((B, B), 256, 1), ((B, B), 512, 2), ((B, S), 1024, 2), ((S, S), 2048, 2)), "halo_size": 2,
    },
    "halonet_h1": {
        "stages": (((S,) * 3, 64, 1), ((S,) * 3, 128, 2), ((S,) * 10, 256, 2), ((S,) * 3, 512, 2)), "halo_size": 3,
        "br": 1.0, "stem_type": "7x7",
    },
}  # fmt: skip


class Unit(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, ci: int, co: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ci, co, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm(co)

    def forward(self, x: Any, act: str | None = None, residual: Any = None) -> Any:
        """X [N, Ci, H, W]."""
        return self.conv(x, norm=self.bn, activation=act, residual=residual)

    def _fold(self) -> None:
        nn.fold_norm(self.conv, self.bn)
        self.bn = nn.Identity()


class HaloAttention(nn.Module):
    """Attention of every block of queries to its block and a halo around it."""

    def __init__(self, width: int, stride: int, block: int, halo: int, heads: int) -> None:
        super().__init__()
        self.block, self.halo, self.heads, self.queries = block, halo, heads, block // stride
        self.window = block + 2 * halo
        self.q = nn.Conv2d(width, width, 1, stride, bias=False)
        self.kv = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.pos_embed = nn.Module()
        self.pos_embed.height_rel = nn.Parameter(2 * self.window - 1, width // heads)
        self.pos_embed.width_rel = nn.Parameter(2 * self.window - 1, width // heads)

    def _relative(self, q: Any, table: Any) -> Any:
        """Q [..., queries, d] with the offsets from each to the places of a window: [..., queries, window]."""
        at = np.arange(self.window)[None] - np.arange(self.queries)[:, None] + self.window - 1
        rows = take(table, at.ravel(), 0).reshape(self.queries, self.window, -1)
        return namespace(q).matmul(q[..., None, :], permute(rows, (0, 2, 1)))[..., 0, :]

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W], whose sizes are multiples of the block, to [N, C, H / stride, W / stride]."""
        (n, c, h, w), m, s = x.shape, self.heads, self.queries
        if h % self.block or w % self.block:
            raise ValueError(f"a map is {h} x {w}; its sizes must be multiples of the block, {self.block}")
        d, rows, columns = c // m, h // self.block, w // self.block
        q = self.q(x).reshape(n, m, d, rows, s, columns, s)
        q = permute(q, (0, 1, 3, 5, 4, 6, 2))  # [n, head, block row, block column, y, x, d]
        kv = pad(self.kv(x), [(self.halo, self.halo)] * 2).reshape(n, m, 2 * d, h + 2 * self.halo, w + 2 * self.halo)
        for axis, blocks in ((3, rows), (5, columns)):
            at = np.arange(blocks)[:, None] * self.block + np.arange(self.window)[None]
            kv = take(kv, at.ravel(), axis)
            kv = kv.reshape(*kv.shape[:axis], blocks, self.window, *kv.shape[axis + 1 :])
        kv = permute(kv, (0, 1, 3, 5, 4, 6, 2)).reshape(n, m, rows, columns, self.window**2, 2 * d)
        wide = self._relative(q, self.pos_embed.width_rel)[..., None, :]
        turned = permute(q, (0, 1, 2, 3, 5, 4, 6))
        high = permute(self._relative(turned, self.pos_embed.height_rel), (0, 1, 2, 3, 5, 4, 6))[..., :, None]
        bias = (wide + high).reshape(n, m, rows, columns, s * s, self.window**2)
        y = nn.attention(q.reshape(n, m, rows, columns, s * s, d), kv[..., :d], kv[..., d:], bias=bias)
        y = permute(y.reshape(n, m, rows, columns, s, s, d), (0, 1, 6, 2, 4, 3, 5))
        return y.reshape(n, c, rows * s, columns * s)


class Block(nn.Module):
    """A bottleneck whose middle is a 3x3 convolution, or attention."""

    def __init__(self, kind: str, ci: int, co: int, stride: int, br: float, act: str, how: tuple[int, ...]) -> None:
        super().__init__()
        inner, self.act = int(co * br), act
        self.shortcut = Unit(ci, co, 1, stride) if ci != co or stride != 1 else None
        self.conv1_1x1 = Unit(ci, inner, 1)
        self.conv2_kxk = self.self_attn = self.post_attn = None
        if kind == "bottle":
            self.conv2_kxk = Unit(inner, inner, 3, stride)
        else:
            self.self_attn = HaloAttention(inner, stride, *how)
            self.post_attn = nn.BatchNorm(inner)
        self.conv3_1x1 = Unit(inner, co, 1)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, H / stride, W / stride]."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = self.conv1_1x1(x, self.act)
        if self.self_attn is None:
            y = self.conv2_kxk(y, self.act)
        else:
            y = activation(self.post_attn(self.self_attn(y)), self.act)
        return self.conv3_1x1(y, self.act, residual=shortcut)


@register(VARIANTS, paper="arXiv:2103.12731")
class HaloNet(Model):
    """HaloNet.

    Parameters
    ----------
    stages : sequence of (kinds, channels, stride)
        kinds names the middle of each block: "bottle", a 3x3 convolution, or "self_attn".
    stem_type : "tiered" or "7x7"
    stem_chs : int
    block_size, halo_size, num_heads : int
    br : float
        Inner width of a block over its width.
    act : str
    num_classes : int
    """

    def __init__(
        self, stages: Sequence[tuple[Sequence[str], int, int]] = VARIANTS["halonet26t"]["stages"],
        stem_type: str = "tiered", stem_chs: int = 64, block_size: int = 8, halo_size: int = 3, num_heads: int = 8,
        br: float = 0.25, act: str = "relu", num_classes: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        self.act = act
        if stem_type == "7x7":
            self.stem = nn.ModuleDict({"conv1": Unit(3, stem_chs, 7, 2)})
        else:
            a, b = round(stem_chs * 3 / 8), round(stem_chs / 2)
            self.stem = nn.ModuleDict(
                {"conv1": Unit(3, a, 3, 2), "conv2": Unit(a, b, 3), "conv3": Unit(b, stem_chs, 3)}
            )
        ci, built, how = stem_chs, [], (block_size, halo_size, num_heads)
        for kinds, co, stride in stages:
            blocks = []
            for j, kind in enumerate(kinds):
                blocks.append(Block(kind, ci, co, stride if j == 0 else 1, br, act, how))
                ci = co
            built.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(built)
        self.head = nn.ModuleDict({"fc": nn.Linear(ci, num_classes)})

    def outputs(self, x: Any) -> dict[str, Any]:
        """stem, stage1, stage2, ... and logits of images [N, 3, H, W]."""
        for unit in self.stem._modules.values():
            x = unit(x, self.act)
        x = nn.max_pool(x, 3, 2, 1)
        found = {"stem": x}
        for i, stage in enumerate(self.stages, 1):
            x = found[f"stage{i}"] = stage(x)
        return found | {"logits": self.head["fc"](global_avg_pool(x))}
