"""GoogLeNet: Szegedy et al., "Going Deeper with Convolutions", arXiv:1409.4842. Names are torchvision's.

As torchvision's, and unlike the paper: batch normalisation after every convolution, and the third branch of an
inception has a 3x3 convolution where the paper's has 5x5. The auxiliary classifiers of training are optional.
"""

from __future__ import annotations

from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register

#: name: 1x1; 1x1 then 3x3; 1x1 then 3x3; 1x1 after the pool
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLS = {"3b": (3, 2), "4e": (2, 2)}  # after these
#: standardised input of one convention to that of the published weights: per channel, factor and shift
TRANSFORM = [[s / 0.5, (m - 0.5) / 0.5] for s, m in ((0.229, 0.485), (0.224, 0.456), (0.225, 0.406))]


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, ci: int, co: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ci, co, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm(co, eps=1e-3)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, ...]."""
        return self.conv(x, norm=self.bn, activation="relu")

    def _fold(self) -> None:
        nn.fold_norm(self.conv, self.bn)
        self.bn = nn.Identity()


class Inception(nn.Module):
    """Four branches, their channels one after another."""

    def __init__(self, ci: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, low2, two, low3, three, four = widths
        self.branch1 = Unit(ci, one, 1)
        self.branch2 = nn.Sequential(Unit(ci, low2, 1), Unit(low2, two, 3, 1, 1))
        self.branch3 = nn.Sequential(Unit(ci, low3, 1), Unit(low3, three, 3, 1, 1))
        self.branch4 = nn.Sequential(lambda x: nn.max_pool(x, 3, 1, 1), Unit(ci, four, 1))

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, sum of the widths, H, W]."""
        return nn.functional.concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)])


class Auxiliary(nn.Module):
    """A classifier on an inner map, for training."""

    def __init__(self, ci: int, num_classes: int) -> None:
        super().__init__()
        self.conv = Unit(ci, 128, 1)
        self.fc1 = nn.Linear(128 * 16, 1024)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to logits."""
        y = nn.functional.flatten(self.conv(nn.adaptive_avg_pool(x, 4)))
        return self.fc2(self.fc1(y, activation="relu"))


@register({"googlenet": {}}, paper="arXiv:1409.4842")
class GoogLeNet(Model):
    """GoogLeNet.

    Parameters
    ----------
    num_classes : int
    transform_input : bool
        Map channels standardised by ImageNet's statistics to the range -1 to 1 first: published weights want it.
    aux_logits : bool
        With the two classifiers of training: outputs "aux1" and "aux2".
    """

    ignored = (*Model.ignored, r"^aux[12]\.")

    def __init__(self, num_classes: int = 1000, transform_input: bool = False, aux_logits: bool = False) -> None:
        super().__init__()
        self.transform_input = transform_input
        self.conv1 = Unit(3, 64, 7, 2, 3)
        self.conv2 = Unit(64, 64, 1)
        self.conv3 = Unit(64, 192, 3, 1, 1)
        ci = 192
        for name, widths in INCEPTIONS.items():
            setattr(self, f"inception{name}", Inception(ci, widths))
            ci = widths[0] + widths[2] + widths[4] + widths[5]
        self.fc = nn.Linear(ci, num_classes)
        self.aux1 = Auxiliary(512, num_classes) if aux_logits else None
        self.aux2 = Auxiliary(528, num_classes) if aux_logits else None

    def outputs(self, x: Any) -> dict[str, Any]:
        """The maps inception3a to inception5b, and logits, of images [N, 3, H, W]."""
        if self.transform_input:
            table = nn.functional.constant(TRANSFORM, x)
            x = x * table[:, 0, None, None] + table[:, 1, None, None]
        x = nn.max_pool(self.conv1(x), 3, 2, ceil_mode=True)
        x = nn.max_pool(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        found = {}
        for name in INCEPTIONS:
            x = found[f"inception{name}"] = getattr(self, f"inception{name}")(x)
            if name in POOLS:
                kernel, stride = POOLS[name]
                x = nn.max_pool(x, kernel, stride, ceil_mode=True)
        if self.aux1 is not None:
            found |= {"aux1": self.aux1(found["inception4a"]), "aux2": self.aux2(found["inception4d"])}
        return found | {"logits": self.fc(nn.functional.global_avg_pool(x))}
