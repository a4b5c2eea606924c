"""Compact transformers: Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", arXiv:2104.05704.

Names are the repository's. As there, the residual of the second half of a block starts from the normalised tokens.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import constant, permute

#: layers, heads, ratio of the MLP, width
SIZES = {2: (2, 2, 1, 128), 4: (4, 2, 1, 128), 6: (6, 4, 2, 256), 7: (7, 4, 2, 256), 14: (14, 6, 3, 384)}
#: name: image, classes
_TABLE = {
    "cct_2_3x2_32": (32, 10), "cct_4_3x2_32": (32, 10), "cct_6_3x1_32": (32, 10), "cct_6_3x2_32": (32, 10),
    "cct_7_3x1_32": (32, 10), "cct_7_3x2_32": (32, 10), "cct_7_7x2_224": (224, 102), "cct_14_7x2_224": (224, 1000),
    "cct_14_7x2_384": (384, 1000),
}  # fmt: skip


def _options(name: str, image: int, classes: int) -> dict[str, Any]:
    layers, kernel, count = map(int, re.match(r"cct_(\d+)_(\d)x(\d)", name).groups())
    depth, heads, ratio, width = SIZES[layers]
    return {
        "img_size": image, "num_layers": depth, "num_heads": heads, "mlp_ratio": ratio, "embedding_dim": width,
        "kernel_size": kernel, "stride": max(1, kernel // 2 - 1), "padding": max(1, kernel // 2),
        "n_conv_layers": count, "num_classes": classes,
    }  # fmt: skip


VARIANTS = {name: _options(name, *rest) for name, rest in _TABLE.items()}
VARIANTS |= {f"{name}_sine": options | {"positional_embedding": "sine"} for name, options in VARIANTS.items()}


def sine_table(count: int, width: int) -> np.ndarray:
    """[count, width]: sines and cosines of p / 10000^(2 floor(i / 2) / width) at even and odd i."""
    angle = np.arange(count)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2 == 0, np.sin(angle), np.cos(angle))


class Attention(nn.Module):
    """Self-attention; queries, keys and values of one product without bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """Tokens [B, N, C]."""
        b, n, c = x.shape
        q, k, v = permute(self.qkv(x).reshape(b, n, 3, self.heads, -1), (2, 0, 3, 1, 4))
        y = permute(nn.attention(q, k, v), (0, 2, 1, 3)).reshape(b, n, c)
        return self.proj(y, **epilogue)


class Block(nn.Module):
    """Attention and an MLP, each with a norm and a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(width)
        self.self_attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(self, x: Any) -> Any:
        """Tokens [B, N, C]."""
        x = self.norm1(self.self_attn(self.pre_norm(x), residual=x))
        return self.linear2(self.linear1(x, activation="gelu"), residual=x)


class Tokenizer(nn.Module):
    """Convolutions with ReLU and a max pool, their last map as tokens, row by row."""

    def __init__(
        self, ci: int, width: int, kernel: int, stride: int, padding: int, layers: int, in_planes: int
    ) -> None:
        super().__init__()
        sizes = [ci, *[in_planes] * (layers - 1), width]
        self.conv_layers = nn.ModuleList(
            nn.ModuleDict({"0": nn.Conv2d(a, b, kernel, stride, padding, bias=False)})
            for a, b in itertools.pairwise(sizes)
        )

    def forward(self, x: Any) -> Any:
        """Images [B, 3, H, W] to tokens [B, N, C]."""
        for layer in self.conv_layers:
            x = nn.max_pool(layer["0"](x, activation="relu"), 3, 2, 1)
        return permute(x.reshape(*x.shape[:2], -1), (0, 2, 1))

    def tokens(self, size: int) -> int:
        """Tokens of a square image."""
        for layer in self.conv_layers:
            options, kernel = layer["0"].options, layer["0"].kernel[0]
            size = (size + 2 * options["padding"][0] - kernel) // options["stride"][0] + 1
            size = (size - 1) // 2 + 1
        return size * size


@register(VARIANTS, paper="arXiv:2104.05704")
class CCT(Model):
    """Compact convolutional transformer.

    Parameters
    ----------
    img_size : int
    num_layers, num_heads, mlp_ratio, embedding_dim
        Of the transformer.
    kernel_size, stride, padding, n_conv_layers, in_planes : int
        Of the convolutions that make the tokens; in_planes are the channels between them.
    positional_embedding : "learnable", "sine" or "none"
    num_classes, in_channels : int
    """

    ignored = (*Model.ignored, r"^classifier\.positional_emb$")  # a stored table of sines

    def __init__(
        self, img_size: int = 32, num_layers: int = 7, num_heads: int = 4, mlp_ratio: float = 2,
        embedding_dim: int = 256, kernel_size: int = 3, stride: int = 1, padding: int = 1, n_conv_layers: int = 1,
        in_planes: int = 64, positional_embedding: str = "learnable", num_classes: int = 10, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        if positional_embedding not in ("learnable", "sine", "none"):
            raise ValueError(f"positional_embedding is {positional_embedding!r}; known are learnable, sine and none")
        self.tokenizer = Tokenizer(in_channels, embedding_dim, kernel_size, stride, padding, n_conv_layers, in_planes)
        self.positional_embedding = positional_embedding
        head = self.classifier = nn.ModuleDict()
        if positional_embedding == "learnable":
            head.positional_emb = nn.Parameter(1, self.tokenizer.tokens(img_size), embedding_dim)
        head.attention_pool = nn.Linear(embedding_dim, 1)
        hidden = int(embedding_dim * mlp_ratio)
        head.blocks = nn.ModuleList(Block(embedding_dim, num_heads, hidden) for _ in range(num_layers))
        head.norm = nn.LayerNorm(embedding_dim)
        head.fc = nn.Linear(embedding_dim, num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """tokens_in, block0, block1, ..., pooled and logits of images [B, 3, H, W]."""
        head = self.classifier
        x = self.tokenizer(x)
        found = {"tokens_in": x}
        if self.positional_embedding == "learnable":
            x = x + head.positional_emb
        elif self.positional_embedding == "sine":
            x = x + constant(sine_table(*x.shape[1:]), x)
        for i, block in enumerate(head.blocks):
            x = found[f"block{i}"] = block(x)
        x = head.norm(x)
        weights = permute(nn.functional.softmax(head.attention_pool(x), axis=1), (0, 2, 1))
        pooled = (weights @ x)[:, 0]
        return found | {"pooled": pooled, "logits": head.fc(pooled)}
