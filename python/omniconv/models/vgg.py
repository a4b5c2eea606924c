"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks", arXiv:1409.1556. Names are torchvision's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

CONFIGS = {
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg13": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16": (64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"),
}
VARIANTS = {name: {"cfg": cfg} for name, cfg in CONFIGS.items()} | {
    f"{name}_bn": {"cfg": cfg, "batch_norm": True} for name, cfg in CONFIGS.items()
}


class Features(nn.Module):
    """3x3 convolutions with ReLU, and 2x2 max pools, named by the place that each has with norms and ReLUs counted."""

    def __init__(self, cfg: Sequence[int | str], batch_norm: bool, ci: int) -> None:
        super().__init__()
        self.steps: list[tuple[str, str | None] | None] = []  # names of a convolution and its norm; None is a pool
        at = 0
        for width in cfg:
            if width == "M":
                self.steps.append(None)
                at += 1
                continue
            setattr(self, str(at), nn.Conv2d(ci, int(width), 3, 1, 1))
            if batch_norm:
                setattr(self, str(at + 1), nn.BatchNorm(int(width)))
            self.steps.append((str(at), str(at + 1) if batch_norm else None))
            at += 3 if batch_norm else 2
            ci = int(width)
        self.channels = ci

    def forward(self, x: Any) -> Any:
        """Images [N, 3, H, W] to the last map."""
        for step in self.steps:
            if step is None:
                x = nn.max_pool(x, 2)
            else:
                conv, norm = step
                x = getattr(self, conv)(x, norm=norm and getattr(self, norm), activation="relu")
        return x

    def _fold(self) -> None:
        for conv, norm in filter(None, self.steps):
            if norm:
                nn.fold_norm(getattr(self, conv), getattr(self, norm))
                setattr(self, norm, nn.Identity())


@register(VARIANTS, paper="arXiv:1409.1556")
class VGG(Model):
    """A VGG network.

    Parameters
    ----------
    cfg : sequence of int or "M"
        Widths of the convolutions; "M" is a max pool.
    batch_norm : bool
    hidden : int
        Width of the two hidden layers of the classifier.
    num_classes, in_channels : int
    """

    def __init__(
        self, cfg: Sequence[int | str] = CONFIGS["vgg16"], batch_norm: bool = False, hidden: int = 4096,
        num_classes: int = 1000, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = Features(cfg, batch_norm, in_channels)
        self.classifier = nn.ModuleDict(
            {
                "0": nn.Linear(self.features.channels * 49, hidden),
                "3": nn.Linear(hidden, hidden),
                "6": nn.Linear(hidden, num_classes),
            }
        )

    def outputs(self, x: Any) -> dict[str, Any]:
        """Features (the last map), pooled (to 7x7) and logits of images [N, 3, H, W]."""
        maps = self.features(x)
        pooled = nn.adaptive_avg_pool(maps, 7)
        y = nn.functional.flatten(pooled)
        for name in ("0", "3"):
            y = self.classifier[name](y, activation="relu")
        return {"features": maps, "pooled": pooled, "logits": self.classifier["6"](y)}
