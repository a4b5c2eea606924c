"""Ensem-NN: Xu et al., "Ensemble One-dimensional Convolution Neural Networks for Skeleton-based Action Recognition",
IEEE Signal Processing Letters, 2018. The base network and its two streams; names are our own, for no weights are
published.
"""

from __future__ import annotations

from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, global_avg_pool, permute, softmax

WIDTHS = (64, 64, 64, 128, 128, 128, 256, 256, 256)


@register({"ensem_1dcnn": {}}, paper="IEEE Signal Processing Letters 2018")
class BaseNet(Model):
    """Convolutions over time, in three groups of three with shortcuts.

    Parameters
    ----------
    features, frames, classes : int
        Numbers of one frame, frames, actions. The network takes any number of frames.
    """

    def __init__(self, features: int = 150, frames: int = 300, classes: int = 60) -> None:
        super().__init__()
        self.frames = frames
        self.stem = nn.Conv1d(features, 64, 8, 1, "same")
        convs, ci = [], 64
        for co in WIDTHS:
            convs.append(nn.Conv1d(ci, co, 8, 1 if co == ci else 2, "same"))
            ci = co
        self.convs = nn.ModuleList(convs)
        self.bns = nn.ModuleList(nn.BatchNorm(co, eps=1e-3) for co in WIDTHS)
        self.short = nn.ModuleDict({"1": nn.Conv1d(64, 128, 1, 2), "2": nn.Conv1d(128, 256, 1, 2)})
        self.bn_f = nn.BatchNorm(ci, eps=1e-3)
        self.fc = nn.Linear(ci, classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """group0 to group2 [B, C, T], logits and prob of x [B, frames, features]."""
        y, found = self.stem(permute(x, (0, 2, 1))), {}
        for group in range(3):
            shortcut = self.short[str(group)](y) if group else y
            for i in range(3 * group, 3 * group + 3):
                y = self.convs[i](y, norm=self.bns[i], activation="relu")
            y = found[f"group{group}"] = y + shortcut
        logits = self.fc(global_avg_pool(activation(self.bn_f(y), "relu")))
        return found | {"logits": logits, "prob": softmax(logits)}

    def _fold(self) -> None:
        for i, (conv, norm) in enumerate(zip(self.convs, list(self.bns), strict=True)):
            nn.fold_norm(conv, norm)
            setattr(self.bns, str(i), nn.Identity())


@register({"ensem_1dcnn_two_stream": {}}, paper="IEEE Signal Processing Letters 2018")
class TwoStream(Model):
    """One network over time and one over the numbers of a frame; the product of what they find.

    Parameters
    ----------
    features, frames, classes : int
    """

    main = "fused"

    def __init__(self, features: int = 150, frames: int = 300, classes: int = 60) -> None:
        super().__init__()
        self.temporal = BaseNet(features, frames, classes)
        self.spatial = BaseNet(frames, features, classes)

    def outputs(self, x: Any) -> dict[str, Any]:
        """Logits and groups of each stream, by name, and fused, of x [B, frames, features]."""
        found, fused = {}, 1.0
        for name, y in (("temporal", x), ("spatial", permute(x, (0, 2, 1)))):
            one = getattr(self, name).outputs(y)
            fused = fused * one.pop("prob")
            found |= {f"logits_{name}" if key == "logits" else f"{name}_{key}": v for key, v in one.items()}
        return found | {"fused": fused / nn.functional.namespace(x).sum(fused, axis=-1, keepdims=True)}
