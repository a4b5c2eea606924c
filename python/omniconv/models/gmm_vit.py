"""Vision transformer with a Gaussian mixture mask: Li and Zhang, "Toward a Deeper Understanding: RetNet Viewed through
Convolution", arXiv:2309.05375. Names are the repository's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import broadcast, concat, constant, namespace, permute

VARIANTS = {"gmm_vit_32": {}, "gmm_vit_64": {"img_size": 64, "patch_size": 8, "num_classes": 200}}


def distances(side: int) -> np.ndarray:
    """Squared distances [N, N] of the cells of a grid, row by row."""
    at = np.stack(np.divmod(np.arange(side * side), side), axis=1)
    return ((at[:, None] - at[None]) ** 2).sum(-1).astype(float)


class Mask(nn.Module):
    """Factors of the logits: for every head a sum of Gaussians of the distance."""

    def __init__(self, kernels: int, heads: int) -> None:
        super().__init__()
        self.sigma = nn.Parameter(kernels, heads, 1, 1, fill=10.0)
        self.alpha = nn.Parameter(kernels, heads, 1, 1, fill=2.0)

    def forward(self, squares: Any) -> Any:
        """[heads, N, N]."""
        xp = namespace(self.sigma)
        return xp.sum(self.alpha * xp.exp(-squares / 2 / (self.sigma**2 + 1e-5)), axis=0)


class Attention(nn.Module):
    """Self-attention whose logits may be multiplied by a mask."""

    def __init__(self, dim: int, heads: int, dim_head: int, kernels: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = nn.ModuleDict({"0": nn.Linear(heads * dim_head, dim)})
        self.mask = Mask(kernels, heads) if kernels else None

    def forward(self, x: Any, squares: Any, residual: Any) -> Any:
        """Tokens [B, N, C]."""
        b, n, _ = x.shape
        q, k, v = permute(self.to_qkv(x).reshape(b, n, 3, self.heads, -1), (2, 0, 3, 1, 4))
        y = nn.attention(q, k, v, factor=None if self.mask is None else self.mask(squares))
        return self.to_out["0"](permute(y, (0, 2, 1, 3)).reshape(b, n, -1), residual=residual)


@register(VARIANTS, paper="arXiv:2309.05375")
class GMMViT(Model):
    """The vision transformer.

    Parameters
    ----------
    img_size, patch_size, num_classes : int
    is_GMM : bool
        With the mask, and then without a class token.
    dim, depth, heads, dim_head : int
    mlp_dim_ratio : float
    num_kernals : int
        Gaussians of each head; the repository's spelling.
    """

    ignored = (*Model.ignored, r"(^|\.)mask$")

    def __init__(
        self, img_size: int = 32, patch_size: int = 4, num_classes: int = 100, is_GMM: bool = True, dim: int = 192,
        depth: int = 9, heads: int = 12, dim_head: int = 16, mlp_dim_ratio: float = 2, num_kernals: int = 5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch, self.masked = patch_size, is_GMM
        count = (img_size // patch_size) ** 2
        self.pos_embedding = nn.Parameter(1, count + (not is_GMM), dim)
        self.cls_token = None if is_GMM else nn.Parameter(1, 1, dim)
        self.to_patch_embedding = nn.ModuleDict({"1": nn.Linear(3 * patch_size**2, dim)})
        hidden, layers = int(dim * mlp_dim_ratio), []
        for _ in range(depth):
            attention = Attention(dim, heads, dim_head, num_kernals if is_GMM else 0)
            mlp = nn.ModuleDict({"net": nn.ModuleDict({"0": nn.Linear(dim, hidden), "3": nn.Linear(hidden, dim)})})
            pair = [nn.ModuleDict({"norm": nn.LayerNorm(dim), "fn": fn}) for fn in (attention, mlp)]
            layers.append(nn.ModuleList(pair))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.mlp_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_classes))

    def outputs(self, x: Any) -> dict[str, Any]:
        """embed, mask0, layer0, layer1, ..., tokens and logits of images [B, 3, H, W]."""
        n, c, h, w = x.shape
        p = self.patch
        cells = permute(x.reshape(n, c, h // p, p, w // p, p), (0, 2, 4, 3, 5, 1)).reshape(n, -1, p * p * c)
        y = self.to_patch_embedding["1"](cells)
        if self.cls_token is not None:
            y = concat([broadcast(self.cls_token, (n, 1, y.shape[2])), y])
        y = y + self.pos_embedding
        found, squares = {"embed": y}, constant(distances(h // p), y) if self.masked else None
        for i, layer in enumerate(self.transformer["layers"]):
            if self.masked and i == 0:
                found["mask0"] = layer[0]["fn"].mask(squares)
            y = layer[0]["fn"](layer[0]["norm"](y), squares, y)
            net = layer[1]["fn"]["net"]
            y = found[f"layer{i}"] = net["3"](net["0"](layer[1]["norm"](y), activation="gelu"), residual=y)
        found["tokens"] = y
        token = namespace(y).mean(y, axis=1) if self.masked else y[:, 0]
        return found | {"logits": self.mlp_head(token)}
