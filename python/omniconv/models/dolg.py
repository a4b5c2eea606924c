"""DOLG: Yang et al., "DOLG: Single-Stage Image Retrieval with Deep Orthogonal Fusion of Local and Global Features",
arXiv:2108.02927. Names are the repository's; the head of training is left away.
"""

from __future__ import annotations

from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, broadcast, concat, global_avg_pool, l2_normalize, namespace

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
VARIANTS = {f"dolg_r{depth}": {"depth": depth} for depth in (50, 101)}


class Transform(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each with its batch norm."""

    def __init__(self, ci: int, inner: int, co: int, stride: int, stride_1x1: bool) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_1x1 else (1, stride)
        self.a = nn.Conv2d(ci, inner, 1, first, bias=False)
        self.a_bn = nn.BatchNorm(inner)
        self.b = nn.Conv2d(inner, inner, 3, second, 1, bias=False)
        self.b_bn = nn.BatchNorm(inner)
        self.c = nn.Conv2d(inner, co, 1, bias=False)
        self.c_bn = nn.BatchNorm(co)

    def forward(self, x: Any, shortcut: Any) -> Any:
        """X [N, Ci, H, W]."""
        y = self.b(self.a(x, norm=self.a_bn, activation="relu"), norm=self.b_bn, activation="relu")
        return self.c(y, norm=self.c_bn, residual=shortcut, activation="relu")

    def _fold(self) -> None:
        for name in "abc":
            nn.fold_norm(getattr(self, name), getattr(self, f"{name}_bn"))
            setattr(self, f"{name}_bn", nn.Identity())


class Block(nn.Module):
    """A bottleneck around a shortcut."""

    def __init__(self, ci: int, inner: int, co: int, stride: int, stride_1x1: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(ci, co, 1, stride, bias=False) if ci != co or stride != 1 else None
        self.bn = nn.BatchNorm(co) if self.proj is not None else None
        self.f = Transform(ci, inner, co, stride, stride_1x1)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W]."""
        return self.f(x, x if self.proj is None else self.proj(x, norm=self.bn))

    def _fold(self) -> None:
        if self.proj is not None:
            nn.fold_norm(self.proj, self.bn)
            self.bn = nn.Identity()


class Pyramid(nn.Module):
    """Dilated convolutions beside each other and a mean over the map (ASPP)."""

    def __init__(self) -> None:
        super().__init__()
        convs = [nn.Conv2d(1024, 512, 1), *(nn.Conv2d(1024, 512, 3, 1, d, dilation=d) for d in (6, 12, 18))]
        self.aspp = nn.ModuleList(convs)
        self.im_pool = nn.ModuleDict({"1": nn.Conv2d(1024, 512, 1)})
        self.conv_after = nn.ModuleDict({"0": nn.Conv2d(2560, 1024, 1)})

    def forward(self, x: Any) -> Any:
        """X [N, 1024, H, W]."""
        mean = self.im_pool["1"](global_avg_pool(x, keepdims=True), activation="relu")
        parts = [broadcast(mean, (*mean.shape[:2], *x.shape[2:])), *(conv(x) for conv in self.aspp)]
        return self.conv_after["0"](concat(parts), activation="relu")


@register(VARIANTS, paper="arXiv:2108.02927")
class DOLG(Model):
    """A descriptor of an image from one global and many local features; not normalised.

    Parameters
    ----------
    depth : 50, 101 or 152
        Of the ResNet.
    with_ma : bool
        Multi-scale dilated convolutions before the local attention.
    width_per_group, reduction_dim : int
        Inner width of the first bottlenecks, and length of the descriptor.
    stride_1x1 : bool
        Strides on the first convolution of a bottleneck instead of the second.
    """

    main = "feature"
    ignored = (*Model.ignored, r"^desc_cls\.")

    def __init__(
        self, depth: int = 50, with_ma: bool = False, width_per_group: int = 64, stride_1x1: bool = False,
        reduction_dim: int = 512,
    ) -> None:  # fmt: skip
        super().__init__()
        parts = {"stem": nn.ModuleDict({"conv": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "bn": nn.BatchNorm(64)})}
        ci = 64
        for i, count in enumerate(DEPTHS[depth]):
            blocks, co = {}, 256 * 2**i
            for j in range(count):
                stride = 2 if i and j == 0 else 1
                blocks[f"b{j + 1}"] = Block(ci, width_per_group * 2**i, co, stride, stride_1x1)
                ci = co
            parts[f"s{i + 1}"] = nn.ModuleDict(blocks)
        self.globalmodel = nn.ModuleDict(parts)
        local = {"aspp": Pyramid()} if with_ma else {}
        local |= {"conv1": nn.Conv2d(1024, 1024, 1), "bn": nn.BatchNorm(1024), "conv2": nn.Conv2d(1024, 1, 1)}
        self.localmodel = nn.ModuleDict(local)
        self.pool_g = nn.Module()
        self.pool_g.p = nn.Parameter(1, fill=3.0)
        self.fc_t = nn.Linear(2048, 1024)
        self.fc = nn.Linear(2048, reduction_dim)

    def outputs(self, x: Any) -> dict[str, Any]:
        """s3, s4, attention, local, gem and feature of images [N, 3, H, W]."""
        net, xp = self.globalmodel, namespace(x)
        x = nn.max_pool(net["stem"]["conv"](x, norm=net["stem"]["bn"], activation="relu"), 3, 2, 1)
        found = {}
        for i in range(1, 5):
            for block in net[f"s{i}"]._modules.values():
                x = block(x)
            if i > 2:
                found[f"s{i}"] = x
        local, y = self.localmodel, found["s3"]
        y = local["aspp"](y) if "aspp" in local._modules else y
        y = local["conv1"](y, norm=local["bn"])
        gate = found["attention"] = activation(local["conv2"](activation(y, "relu")), "softplus")
        found["local"] = gate * l2_normalize(y, axis=1)
        p = self.pool_g.p.reshape(1, 1, 1, 1)
        means = global_avg_pool(xp.where(x > 1e-6, x, x * 0 + 1e-6) ** p)
        found["gem"] = means ** (1 / p.reshape(1, 1))
        fg = self.fc_t(found["gem"])
        # The mean commutes with the projection, which is linear: one vector instead of a map.
        mean = global_avg_pool(found["local"])
        along = xp.sum(fg * mean, axis=1, keepdims=True) / xp.sum(fg * fg, axis=1, keepdims=True)
        return found | {"feature": self.fc(concat([fg, mean - along * fg]))}

    def _fold(self) -> None:
        stem, local = self.globalmodel["stem"], self.localmodel
        nn.fold_norm(stem["conv"], stem["bn"])
        nn.fold_norm(local["conv1"], local["bn"])
        stem.bn, local.bn = nn.Identity(), nn.Identity()
