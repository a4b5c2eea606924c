"""UniRepLKNet: Ding et al., arXiv:2311.15599, and "Scaling Up Your Kernels", arXiv:2410.08049. Names are the
repository's.

In training a large depthwise kernel stands beside smaller, dilated ones, each with a batch norm of its own;
`fold` merges them, and all other norms of the blocks, into the form that is published for deployment (``deploy=True``).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

#: kernel: (kernel, dilation) of the branches beside it
BRANCHES = {
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    7: ((5, 1), (3, 2), (3, 3)),
}


def default_kernels(depths: Sequence[int]) -> list[list[int]]:
    """Of each block: 3 in the first stage, 13 in the others; of deep third stages every second or third one."""
    third = depths[2]
    step = 1 if third < 18 else 2 if third == 18 else 3
    return [
        [3] * depths[0],
        [13] * depths[1],
        [13 if j % step == 0 else 3 for j in range(third)],
        [13] * depths[3],
    ]


_SIZES = {
    "a": ((2, 2, 6, 2), 40), "f": ((2, 2, 6, 2), 48), "p": ((2, 2, 6, 2), 64), "n": ((2, 2, 8, 2), 80),
    "t": ((3, 3, 18, 3), 80), "s": ((3, 3, 27, 3), 96), "b": ((3, 3, 27, 3), 128), "l": ((3, 3, 27, 3), 192),
    "xl": ((3, 3, 27, 3), 256),
}  # fmt: skip
VARIANTS = {
    f"unireplknet_{size}": {"depths": depths, "dims": tuple(dim * 2**i for i in range(4))}
    for size, (depths, dim) in _SIZES.items()
}


class DilatedBranches(nn.Module):
    """A large depthwise kernel, and in training its dilated branches."""

    def __init__(self, channels: int, kernel: int, deploy: bool) -> None:
        super().__init__()
        self.kernel, self.channels = kernel, channels
        self.branches = () if deploy else BRANCHES[kernel]
        self.lk_origin = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=deploy)
        if not deploy:
            self.origin_bn = nn.BatchNorm(channels)
        for k, d in self.branches:
            conv = nn.Conv2d(channels, channels, k, 1, (d * (k - 1) + 1) // 2, dilation=d, groups=channels, bias=False)
            setattr(self, f"dil_conv_k{k}_{d}", conv)
            setattr(self, f"dil_bn_k{k}_{d}", nn.BatchNorm(channels))

    def forward(self, x: Any, **epilogue: Any) -> Any:
        """X [N, C, H, W]."""
        if not self.branches:
            return self.lk_origin(x, **epilogue)
        y = self.lk_origin(x, norm=self.origin_bn)
        for k, d in self.branches:
            y = getattr(self, f"dil_conv_k{k}_{d}")(x, norm=getattr(self, f"dil_bn_k{k}_{d}"), residual=y)
        norm = epilogue.get("norm")
        return y if norm is None else norm(y)

    def _fold(self) -> None:
        if not self.branches:
            return
        nn.fold_norm(self.lk_origin, self.origin_bn)
        kernel, bias = self.lk_origin.weight.copy(), self.lk_origin.bias
        for k, d in self.branches:
            conv, norm = getattr(self, f"dil_conv_k{k}_{d}"), getattr(self, f"dil_bn_k{k}_{d}")
            nn.fold_norm(conv, norm)
            edge = self.kernel // 2 - d * (k // 2)
            span = slice(edge, self.kernel - edge, d)
            kernel[:, :, span, span] += conv.weight
            bias = bias + conv.bias
            del self._modules[f"dil_conv_k{k}_{d}"], self._modules[f"dil_bn_k{k}_{d}"]
        del self._modules["origin_bn"]
        self.lk_origin.weight, self.lk_origin.bias, self.branches = kernel, bias, ()


class GRN(nn.Module):
    """Global response normalisation; see `omniconv.nn.functional.grn`."""

    def __init__(self, channels: int, use_bias: bool) -> None:
        super().__init__()
        self.gamma = nn.Parameter(1, 1, 1, channels, fill=0.0)
        self.beta = nn.Parameter(1, 1, 1, channels, fill=0.0) if use_bias else None

    def forward(self, x: Any) -> Any:
        """X [N, H, W, C]."""
        return nn.functional.grn(x, self.gamma, self.beta)


class SqueezeExcite(nn.Module):
    """Factors per channel from the means over the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // 4, 1)
        self.up = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Any) -> Any:
        """X times its factors."""
        return nn.squeeze_excite(x, self.down, self.up)


class Block(nn.Module):
    """Depthwise convolution, squeeze-and-excitation, two products with GELU and GRN between, around a shortcut."""

    def __init__(self, channels: int, kernel: int, deploy: bool) -> None:
        super().__init__()
        if kernel >= 7:
            self.dwconv = DilatedBranches(channels, kernel, deploy)
        else:
            self.dwconv = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=deploy)
        self.norm = None if deploy else nn.BatchNorm(channels)
        self.se = SqueezeExcite(channels)
        self.pwconv1 = nn.ModuleDict({"1": nn.Linear(channels, 4 * channels)})
        self.act = nn.ModuleDict({"1": GRN(4 * channels, use_bias=not deploy)})
        self.pwconv2 = nn.ModuleDict({"0": nn.Linear(4 * channels, channels, bias=deploy)})
        if not deploy:
            setattr(self.pwconv2, "2", nn.BatchNorm(channels))
        self.gamma = None if deploy else nn.Parameter(channels, fill=1e-6)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W]."""
        y = nn.functional.channels_last(self.se(self.dwconv(x, norm=self.norm)))
        y = self.act["1"](self.pwconv1["1"](y, activation="gelu"))
        norm = self.pwconv2._modules.get("2")
        y = self.pwconv2["0"](y, norm=norm, gamma=self.gamma, residual=nn.functional.channels_last(x))
        return nn.functional.channels_first(y)

    def _fold(self) -> None:
        if self.norm is None:
            return
        self.dwconv._fold()
        nn.fold_norm(self.dwconv.lk_origin if isinstance(self.dwconv, DilatedBranches) else self.dwconv, self.norm)
        last, grn = self.pwconv2["0"], self.act["1"]
        last.bias = nn.Parameter(last.weight.shape[0])
        last.bias = last.weight @ grn.beta.reshape(-1)  # GRN's shift, seen through the product
        nn.fold_norm(last, self.pwconv2["2"], self.gamma)
        del self.pwconv2._modules["2"], grn._parameters["beta"], self._parameters["gamma"], self._modules["norm"]
        self.norm = self.gamma = grn.beta = None


@register(VARIANTS, paper="arXiv:2311.15599")
class UniRepLKNet(Model):
    """UniRepLKNet.

    Parameters
    ----------
    depths, dims : four ints each
    kernel_sizes : four sequences of ints, optional
        Taps of the depthwise convolution of each block: 3, 5, or an odd number from 7 to 17.
    deploy : bool
        The merged form.
    num_classes, in_channels : int
    """

    def __init__(
        self, depths: Sequence[int] = (3, 3, 18, 3), dims: Sequence[int] = (80, 160, 320, 640),
        kernel_sizes: Sequence[Sequence[int]] | None = None, deploy: bool = False, num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        kernels = kernel_sizes or default_kernels(depths)
        allowed = (3, 5, *sorted(BRANCHES))
        for n, row in zip(depths, kernels, strict=True):
            if len(row) != n or any(k not in allowed for k in row):
                raise ValueError(f"kernel_sizes has {list(row)} for {n} blocks; one of {allowed} is needed for each")

        def halved(a: int, b: int) -> tuple[nn.Module, nn.Module]:
            return nn.Conv2d(a, b, 3, 2, 1), nn.LayerNorm(b, eps=1e-6, axis=1)

        def gelu(x: Any) -> Any:
            return nn.functional.activation(x, "gelu")

        half = dims[0] // 2
        layers = [nn.Sequential(*halved(in_channels, half), gelu, *halved(half, dims[0]))]
        layers += [nn.Sequential(*halved(a, b)) for a, b in itertools.pairwise(dims)]
        self.downsample_layers = nn.ModuleList(layers)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(c, k, deploy) for k in row)) for c, row in zip(dims, kernels, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], num_classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """stage1 to stage4 [N, C, H, W] and logits of images [N, 3, H, W]."""
        found = {}
        x = nn.functional.innermost(x)
        for i, (between, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True), 1):
            x = found[f"stage{i}"] = stage(between(x))
        return found | {"logits": self.head(self.norm(nn.functional.global_avg_pool(x)))}
