"""SparK: Tian et al., "Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked Modeling",
arXiv:2301.03580.

Names are the repository's; those of the encoder below "sparse_encoder.sp_cnn." are the encoder's own. There the encoder
computes densely and masks after each convolution; here hidden cells are skipped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.convnext import ConvNeXt
from omniconv.models.registry import Model, register
from omniconv.models.resnet import ResNet
from omniconv.nn.functional import namespace, permute

_CONVNEXT = {"encoder": "convnext", "decoder_width": 768, "densify_norm": "ln"}
VARIANTS = {
    "spark_resnet50": {"layers": (3, 4, 6, 3)},
    "spark_resnet101": {"layers": (3, 4, 23, 3)},
    "spark_resnet152": {"layers": (3, 8, 36, 3)},
    "spark_resnet200": {"layers": (3, 24, 36, 3)},
    "spark_convnext_small": {"layers": (3, 3, 27, 3), "dims": (96, 192, 384, 768), **_CONVNEXT},
    "spark_convnext_base": {"layers": (3, 3, 27, 3), "dims": (128, 256, 512, 1024), **_CONVNEXT},
    "spark_convnext_large": {"layers": (3, 3, 27, 3), "dims": (192, 384, 768, 1536), **_CONVNEXT},
}
CELL = 32  # pixels of the image that are masked together


class UpBlock(nn.Module):
    """Twice the resolution, half the channels."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.up_sample = nn.ConvTranspose2d(ci, ci, 4, 2, 1)
        convs = {"0": nn.Conv2d(ci, ci, 3, 1, 1, bias=False), "1": nn.BatchNorm(ci)}
        self.conv = nn.ModuleDict(convs | {"3": nn.Conv2d(ci, co, 3, 1, 1, bias=False), "4": nn.BatchNorm(co)})

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, 2 H, 2 W]."""
        y = self.conv["0"](self.up_sample(x), norm=self.conv["1"], activation="relu6")
        return self.conv["3"](y, norm=self.conv["4"])


@register(VARIANTS, paper="arXiv:2301.03580")
class SparK(Model):
    """A masked autoencoder: an encoder that sees the unmasked cells alone, and a decoder that fills in the others.

    Parameters
    ----------
    encoder : "resnet" or "convnext"
        ResNets have bottlenecks.
    layers : four ints
        Blocks of the encoder's stages.
    dims : four ints
        Channels of the stages of a ConvNeXt.
    input_size : int
        Side of the images, a multiple of 32.
    decoder_width : int
    mask_ratio : float
        Part of the cells that `random_mask` hides.
    densify_norm : "bn", "ln" or "identity"
        What the encoder's maps go through first.
    """

    main = "reconstruction"
    ignored = (*Model.ignored, r"^(imn_m|imn_s|norm_black)$", r"^sparse_encoder\.sp_cnn\.(fc|head|norm)\.")

    def __init__(
        self, encoder: str = "resnet", layers: Sequence[int] = (3, 4, 6, 3), dims: Sequence[int] = (96, 192, 384, 768),
        input_size: int = 224, decoder_width: int = 512, mask_ratio: float = 0.6, densify_norm: str = "bn",
    ) -> None:  # fmt: skip
        super().__init__()
        if encoder not in ("resnet", "convnext") or densify_norm not in ("bn", "ln", "identity"):
            raise ValueError(
                f"encoder is {encoder!r} and densify_norm {densify_norm!r}; allowed are 'resnet' and 'convnext', "
                "and 'bn', 'ln' and 'identity'"
            )
        self.mask_ratio, self.side = mask_ratio, input_size // CELL
        if encoder == "resnet":
            net, widths = ResNet("bottleneck", layers, num_classes=0), [256, 512, 1024, 2048]
        else:
            net, widths = ConvNeXt(layers, dims, num_classes=0), list(dims)
        self.encoder = encoder
        self.sparse_encoder = nn.ModuleDict({"sp_cnn": net})
        wide = [decoder_width // 2**i for i in range(6)]
        blocks = nn.ModuleList(UpBlock(a, b) for a, b in itertools.pairwise(wide))
        self.dense_decoder = nn.ModuleDict({"dec": blocks, "proj": nn.Conv2d(wide[-1], 3, 1)})
        norms = {
            "bn": nn.BatchNorm,
            "ln": lambda c: nn.LayerNorm(c, eps=1e-6, axis=1),
            "identity": lambda c: nn.Identity(),
        }
        widths = widths[::-1]
        self.densify_norms = nn.ModuleList(norms[densify_norm](c) for c in widths)
        self.mask_tokens = nn.ParameterList(nn.Parameter(1, c, 1, 1) for c in widths)
        projs = [
            nn.Conv2d(a, b, 3 if k else 1, 1, 1 if k else 0) for k, (a, b) in enumerate(zip(widths, wide, strict=False))
        ]
        if widths[0] == wide[0]:
            projs[0] = nn.Identity()
        self.densify_projs = nn.ModuleList(projs)

    def random_mask(self, batch: int, rng: Any) -> Any:
        """Cells that stay visible, [batch, 1, f, f] of 0 and 1, drawn by a NumPy generator."""
        cells = self.side**2
        keep = round(cells * (1 - self.mask_ratio))
        rows = [rng.permutation(cells) < keep for _ in range(batch)]
        return nn.functional.stack(rows).reshape(batch, 1, self.side, self.side).astype("int64")

    def _encoded(self, x: Any, mask: Any) -> list[Any]:
        """The four maps of the visible cells, zero elsewhere."""
        net, maps = self.sparse_encoder["sp_cnn"], []
        if self.encoder == "resnet":
            x = net.conv1(x, norm=net.bn1, activation="relu", seen=mask)
            x = nn.masked_max_pool(x, mask, 3, 2, 1)  # of what relu has left, so that zeros change nothing
            for stage in range(1, 5):
                blocks = getattr(net, f"layer{stage}")
                for i in range(len(blocks)):
                    x = blocks[i](x, mask)
                maps.append(x)
            return maps
        # Between the 7x7 kernels nothing reaches beyond its cell.
        x = nn.hidden(x, mask)
        for between, stage in zip(net.downsample_layers, net.stages, strict=True):
            x = nn.hidden(between(x), mask)
            for i in range(len(stage)):
                x = stage[i](x, mask)
            maps.append(x)
        return maps

    def outputs(self, x: Any, mask: Any) -> dict[str, Any]:
        """enc1 to enc4, to_dec0 to to_dec3, reconstruction, loss and recon_or_input.

        x are images [N, 3, S, S], mask [N, 1, S / 32, S / 32] is 1 at the cells that are seen. reconstruction is of
        cells normalised each by its mean and deviation; recon_or_input is the image with the hidden cells filled in.
        """
        xp = namespace(x)
        mask = xp.astype(mask, x.dtype)
        maps = self._encoded(x, mask)
        found = {f"enc{i + 1}": m for i, m in enumerate(maps)}
        y, tokens = None, self.mask_tokens.arrays()
        blocks = self.dense_decoder["dec"]
        for k, block in enumerate(blocks):
            if k < len(maps):
                seen = maps[-1 - k]
                dense = xp.where(nn.seen_pixels(mask, seen), self.densify_norms[k](seen), tokens[k])
                dense = found[f"to_dec{k}"] = self.densify_projs[k](dense)
                y = dense if y is None else y + dense
            y = block(y)
        y = found["reconstruction"] = self.dense_decoder["proj"](y)
        wanted, got = patches(x, self.side), patches(y, self.side)
        mean = xp.mean(wanted, axis=-1, keepdims=True)
        centred = wanted - mean
        deviation = xp.sqrt(xp.sum(centred * centred, axis=-1, keepdims=True) / (wanted.shape[-1] - 1) + 1e-6)
        hidden = 1 - xp.reshape(mask, (len(x), -1))
        errors = xp.mean((got - centred / deviation) ** 2, axis=-1)
        found["loss"] = xp.sum(errors * hidden) / (xp.sum(hidden) + 1e-8)
        filled = xp.where(hidden[..., None] > 0, got * deviation + mean, wanted)
        return found | {"recon_or_input": unpatched(filled, self.side)}


def patches(x: Any, side: int) -> Any:
    """Images [N, C, f p, f p] as cells [N, f f, p p C]."""
    n, c, h, _ = x.shape
    p = h // side
    return permute(x.reshape(n, c, side, p, side, p), (0, 2, 4, 3, 5, 1)).reshape(n, side * side, p * p * c)


def unpatched(cells: Any, side: int) -> Any:
    """The inverse of `patches`, for three channels."""
    n, _, size = cells.shape
    p = math.isqrt(size // 3)
    return permute(cells.reshape(n, side, side, p, p, 3), (0, 5, 1, 3, 2, 4)).reshape(n, 3, side * p, side * p)
