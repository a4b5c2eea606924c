"""ESPCN: Shi et al., "Real-Time Single Image and Video Super-Resolution", arXiv:1609.05158.

For the luma channel, as in the paper. Names are those of the known re-implementation. For several channels the paper's
shuffle has the colour fastest, this one, as PyTorch's, slowest.
"""

from __future__ import annotations

from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

VARIANTS = {f"espcn_x{r}": {"scale_factor": r} for r in (2, 3, 4)}


@register(VARIANTS, paper="arXiv:1609.05158")
class ESPCN(Model):
    """Three convolutions at the low resolution, then a pixel shuffle.

    Parameters
    ----------
    scale_factor : int
    num_channels : int
    """

    main = "out"

    def __init__(self, scale_factor: int = 2, num_channels: int = 1) -> None:
        super().__init__()
        self.factor = scale_factor
        self.first_part = nn.ModuleDict({"0": nn.Conv2d(num_channels, 64, 5, 1, 2), "2": nn.Conv2d(64, 32, 3, 1, 1)})
        self.last_part = nn.ModuleDict({"0": nn.Conv2d(32, num_channels * scale_factor**2, 3, 1, 1)})

    def outputs(self, x: Any) -> dict[str, Any]:
        """Hidden [N, 32, H, W] and out [N, C, H r, W r] of x [N, C, H, W]."""
        for name in ("0", "2"):
            x = self.first_part[name](x, activation="tanh")
        return {"hidden": x, "out": nn.functional.pixel_shuffle(self.last_part["0"](x), self.factor)}
