"""Training in integers: four networks on scikit-learn's handwritten digits (1797 images of 8x8), arm beside arm.

    python examples/dfp16_training.py [--seeds 10] [--epochs 10] [--networks resnet,vgg,googlenet,alexnet]
                                      [--plot curve.png] [--results figures.json]

Arms: float32; dfp16 (15 bits, nearest); dfp16 with stochastic rounding; 3 bits; and 15 bits with unchecked overflow,
the negative control, which must fail. All arms of a seed share split, initial weights and order of batches, and no
hyperparameter differs. Batch norm, loss and update are float32 with float32 weights, as in Das et al. (ICLR 2018);
these are the four network types of that paper at reduced size. The table has the accuracy on 360 images held out, and
the difference to float32 of the same seed with its 90 % interval: where that lies inside (-0.5, 0.5) points, the two
are equivalent at the 5 % level. Needs omniconv, PyTorch, SciPy and scikit-learn; --plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import functools
import json

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.datasets import load_digits
from torch import nn

import omniconv
from omniconv.bench import machine
from omniconv.torch import dfp16

ARMS = {
    "float32": None,
    "dfp16": {},
    "dfp16 stochastic": {"rounding": "stochastic"},
    "3 bits": {"bits": 3},
    "unchecked": {"overflow": "unchecked"},
}


class Conv(nn.Conv2d):
    """nn.Conv2d in the format of an arm."""

    arm: dict | None = None
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As nn.Conv2d, quantised unless the arm is None."""
        if self.arm is None:
            return super().forward(x)
        Conv.calls += 1  # a seed of its own for every layer and step
        return dfp16.conv2d(x, self.weight, self.bias, self.stride, self.padding, seed=Conv.calls, **self.arm)


def _unit(ci: int, co: int, k: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(Conv(ci, co, k, stride, k // 2, bias=False), nn.BatchNorm2d(co), nn.ReLU())


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, or a 1x1."""

    def __init__(self, ci: int, co: int, stride: int) -> None:
        super().__init__()
        self.one = _unit(ci, co, 3, stride)
        self.two = nn.Sequential(Conv(co, co, 3, 1, 1, bias=False), nn.BatchNorm2d(co))
        plain = ci == co and stride == 1
        self.past = nn.Identity() if plain else nn.Sequential(Conv(ci, co, 1, stride, bias=False), nn.BatchNorm2d(co))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, ci, h, w] to [N, co, h / stride, w / stride]."""
        return torch.relu(self.two(self.one(x)) + self.past(x))


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 branches side by side."""

    def __init__(self, ci: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([
            _unit(ci, width, 1),
            nn.Sequential(_unit(ci, width, 1), _unit(width, width, 3)),
            nn.Sequential(_unit(ci, width // 2, 1), _unit(width // 2, width, 5)),
        ])  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, ci, h, w] to [N, 3 width, h, w]."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


NETWORKS = {
    "resnet": lambda: nn.Sequential(_unit(1, 16), Residual(16, 16, 1), Residual(16, 32, 2), *_head(32)),
    "googlenet": lambda: nn.Sequential(_unit(1, 16), Inception(16, 12), nn.MaxPool2d(2), Inception(36, 16), *_head(48)),
    "vgg": lambda: nn.Sequential(
        _unit(1, 16), _unit(16, 16), nn.MaxPool2d(2), _unit(16, 32), _unit(32, 32), *_head(32)
    ),
    "alexnet": lambda: nn.Sequential(
        Conv(1, 24, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2), Conv(24, 32, 3, 1, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    ),
}  # fmt: skip


@functools.cache
def digits(seed: int) -> tuple[torch.Tensor, ...]:
    """Training images and labels, test images and labels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    x = torch.from_numpy((images.reshape(-1, 1, 8, 8)[order] / 8 - 1).astype(np.float32))
    y = torch.from_numpy(labels[order])
    return x[360:], y[360:], x[:360], y[:360]


def train(network: str, arm: str, seed: int, epochs: int) -> list[float]:
    """Accuracy in percent after every epoch."""
    torch.manual_seed(seed)
    Conv.arm, Conv.calls = ARMS[arm], 0
    model = NETWORKS[network]()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    x, y, x_test, y_test = digits(seed)
    order, accuracies = torch.Generator().manual_seed(seed), []
    for _ in range(epochs):
        model.train()
        for batch in torch.randperm(len(y), generator=order).split(64):
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x[batch]), y[batch])
            if not torch.isfinite(loss):
                return accuracies + [10.0] * (epochs - len(accuracies))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)  # keeps the negative control finite, others are below
            optimiser.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            accuracies.append(100 * (model(x_test).argmax(1) == y_test).float().mean().item())
    return accuracies


def row(network: str, arm: str, runs: np.ndarray, base: np.ndarray) -> str:
    """A line of the table: mean accuracy, its difference to float32 by pairs, and the 90 % interval of that."""
    text = f"{network:10} {arm:18} {runs[:, -1].mean():7.2f} "
    if arm == "float32":
        return text
    pairs = runs[:, -1] - base[:, -1]
    spread = pairs.std(ddof=1) / np.sqrt(len(pairs)) * stats.t.ppf(0.95, len(pairs) - 1)
    verdict = "equivalent" if abs(pairs.mean()) + spread < 0.5 else "differs" if abs(pairs.mean()) > spread else "open"
    return text + f"{pairs.mean():+7.2f}  [{pairs.mean() - spread:+.2f}, {pairs.mean() + spread:+.2f}]  {verdict}"


def main() -> None:
    """Train every arm of every network, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--plot")
    parser.add_argument("--results")
    how = parser.parse_args()
    torch.set_num_threads(omniconv.get_num_threads())
    curves, lines, finals = {}, [], {}
    print("network    arm                accuracy  difference  90 % interval (points)")
    for network in how.networks.split(","):
        base = np.zeros((how.seeds, how.epochs))
        for arm in how.arms.split(","):
            runs = np.array([train(network, arm, seed, how.epochs) for seed in range(how.seeds)])
            base = runs if arm == "float32" else base
            curves[network, arm] = runs.mean(0)
            lines.append(row(network, arm, runs, base))
            finals[network, arm] = runs[:, -1]
            print(lines[-1], flush=True)
    if how.results:
        found = {
            "schema": "omniconv-dfp16-training/1", "machine": machine.describe(), "epochs": how.epochs, "table": lines,
            "curves": {" ".join(key): [round(v, 3) for v in curve] for key, curve in curves.items()},
            "last_epoch_of_seeds": {" ".join(key): [round(v, 3) for v in last] for key, last in finals.items()},
        }  # fmt: skip
        with open(how.results, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    if how.plot:
        import matplotlib.pyplot as plt

        names = how.networks.split(",")
        figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), sharey=True, squeeze=False)
        for axis, name in zip(axes[0], names, strict=True):
            for (network, arm), curve in curves.items():
                if network == name:
                    axis.plot(range(1, how.epochs + 1), curve, label=arm)
            axis.set(title=name, xlabel="epoch", ylim=(0, 101))
        axes[0][0].set_ylabel("accuracy on held-out digits (%)")
        axes[0][0].legend()
        figure.tight_layout()
        figure.savefig(how.plot)


if __name__ == "__main__":
    main()
