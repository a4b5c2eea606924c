"""AlexNet in its form with one tower: Krizhevsky, "One weird trick", arXiv:1404.5997. Names are torchvision's.

Without local response normalisation, as torchvision's.
"""

from __future__ import annotations

from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register


@register({"alexnet": {}}, paper="arXiv:1404.5997")
class AlexNet(Model):
    """AlexNet.

    Parameters
    ----------
    num_classes, in_channels : int
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                "0": nn.Conv2d(in_channels, 64, 11, 4, 2),
                "3": nn.Conv2d(64, 192, 5, 1, 2),
                "6": nn.Conv2d(192, 384, 3, 1, 1),
                "8": nn.Conv2d(384, 256, 3, 1, 1),
                "10": nn.Conv2d(256, 256, 3, 1, 1),
            }
        )
        self.classifier = nn.ModuleDict(
            {"1": nn.Linear(256 * 36, 4096), "4": nn.Linear(4096, 4096), "6": nn.Linear(4096, num_classes)}
        )

    def outputs(self, x: Any) -> dict[str, Any]:
        """Features (the last map), pooled (to 6x6) and logits of images [N, 3, H, W]."""
        for name in ("0", "3", "6", "8", "10"):
            x = self.features[name](x, activation="relu")
            if name in ("0", "3", "10"):
                x = nn.max_pool(x, 3, 2)
        pooled = nn.adaptive_avg_pool(x, 6)
        y = nn.functional.flatten(pooled)
        for name in ("1", "4"):
            y = self.classifier[name](y, activation="relu")
        return {"features": x, "pooled": pooled, "logits": self.classifier["6"](y)}
