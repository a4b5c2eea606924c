"""CMoE: Xie et al., "Unraveling Complex Data Diversity in Underwater Acoustic Target Recognition through
Convolution-based Mixture of Experts", arXiv:2402.11919. Names are the repository's.

As there, the logits of the chosen expert are not multiplied by its score.
"""

from __future__ import annotations

from typing import Any

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.models.resnet import ResNet
from omniconv.nn.functional import activation, concat, constant, global_avg_pool, namespace, softmax

VARIANTS = {
    "cmoe_resnet18": {"base_model": "resnet18"},
    "cmoe_resnet50": {"base_model": "resnet50"},
    "rcmoe_resnet18": {"base_model": "resnet18", "residual": True},
    "rcmoe_resnet50": {"base_model": "resnet50", "residual": True},
}
LAYERS = {
    "resnet18": ("basic", (2, 2, 2, 2)), "resnet34": ("basic", (3, 4, 6, 3)), "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
}  # fmt: skip


@register(VARIANTS, paper="arXiv:2402.11919")
class CMoE(Model):
    """A ResNet of spectrograms, and one linear classifier out of several for each sample.

    Parameters
    ----------
    base_model : "resnet18", "resnet34", "resnet50" or "resnet101"
    channel, expert_num, output_dim : int
        Channels of the input, classifiers, classes.
    activate : "sigmoid", "softmax" or "linear"
        Of the scores that choose the classifier.
    residual : bool
        Add the logits of a classifier that all samples share.
    balance_wt : float
        Factor of the balance loss.
    """

    def __init__(
        self, base_model: str = "resnet18", channel: int = 1, expert_num: int = 8, output_dim: int = 9,
        activate: str = "sigmoid", residual: bool = False, balance_wt: float = 0.01,
    ) -> None:  # fmt: skip
        super().__init__()
        if base_model not in LAYERS or activate not in ("sigmoid", "softmax", "linear"):
            raise ValueError(
                f"base_model is {base_model!r} and activate {activate!r}; allowed are {', '.join(LAYERS)}, and "
                "sigmoid, softmax and linear"
            )
        net = ResNet(*LAYERS[base_model], num_classes=0, in_channels=channel)
        for name, module in net._modules.items():
            setattr(self, name, module)
        width = 512 if LAYERS[base_model][0] == "basic" else 2048
        self.routing = nn.Linear(width, expert_num)
        experts = nn.ModuleList(nn.Linear(width, output_dim) for _ in range(expert_num))
        self.activate, self.balance, self.residual = activate, balance_wt, residual
        if residual:
            self.fc, self.expert = nn.Linear(width, output_dim), experts
        else:
            self.fc = experts

    def outputs(self, x: Any) -> dict[str, Any]:
        """stem, layer1 to layer4, features, routing_logits, expert_id, balance_loss and logits of x [N, C, H, W]."""
        x = nn.max_pool(self.conv1(x, norm=self.bn1, activation="relu"), 3, 2, 1)
        found, xp = {"stem": x}, namespace(x)
        for i in range(1, 5):
            x = found[f"layer{i}"] = getattr(self, f"layer{i}")(x)
        y = found["features"] = global_avg_pool(x)
        scores = found["routing_logits"] = self.routing(y)
        scores = softmax(scores) if self.activate == "softmax" else scores
        scores = activation(scores, "sigmoid") if self.activate == "sigmoid" else scores
        chosen = found["expert_id"] = xp.argmax(scores, axis=-1)
        experts = self.expert if self.residual else self.fc
        rows = [experts[int(e)](y[i : i + 1]) for i, e in enumerate(chosen)]
        logits = concat(rows, axis=0)
        share = [sum(int(e) == k for e in chosen) / len(rows) for k in range(len(experts))]
        balance = xp.sum(xp.mean(scores, axis=0) * constant(share, scores)) * (self.balance * len(experts))
        return found | {"balance_loss": balance, "logits": logits + self.fc(y) if self.residual else logits}

    def _fold(self) -> None:
        nn.fold_norm(self.conv1, self.bn1)
        self.bn1 = nn.Identity()
