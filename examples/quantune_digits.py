"""Quantune's search on small networks, held against all 96 configurations.

    python examples/quantune_digits.py [--networks resnet,vgg,googlenet] [--seeds 20]

Trains the networks of dfp16_training.py on scikit-learn's digits, evaluates every configuration of omniconv.quant.SPACE
once on 180 images, and counts how many evaluations each tuner needs to come within 0.1 points of the best: median over
the seeds. The accuracy that it chose is that of another 180 images. Needs PyTorch, scikit-learn, and xgboost
(pip install 'omniconv[tune]').
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from dfp16_training import NETWORKS, Conv, digits
from torch import nn

from omniconv import quant
from omniconv.torch.quant import quantized


def trained(network: str) -> nn.Module:
    """Six epochs in float32."""
    torch.manual_seed(0)
    Conv.arm = None
    model = NETWORKS[network]()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y, _, _ = digits(0)
    for _ in range(6):
        for batch in torch.randperm(len(y)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
    return model.eval()


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """In percent."""
    with torch.no_grad():
        return 100 * (model(x).argmax(1) == y).float().mean().item()


def main() -> None:
    """Evaluate, search, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", default="resnet,vgg,googlenet")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--methods", default=",".join(quant.METHODS))
    how = parser.parse_args()
    for network in how.networks.split(","):
        model, (x, _, x_test, y_test) = trained(network), digits(0)
        scores, held_out = {}, {}
        for configuration in quant.configurations():
            small, key = quantized(model, configuration, x), str(configuration)
            scores[key] = accuracy(small, x_test[:180], y_test[:180])
            held_out[key] = accuracy(small, x_test[180:], y_test[180:])
        best, values = max(scores.values()), np.array(list(scores.values()))
        print(
            f"{network}: float32 {accuracy(model, x_test[:180], y_test[:180]):.2f}, 96 configurations {values.min():.2f} "
            f"to {best:.2f}, {np.sum(values >= best - 0.1)} of them within 0.1 of the best"
        )
        for method in how.methods.split(","):
            runs = [
                quant.tune(lambda c: scores[str(c)], method, 96, seed, target=best - 0.1)  # noqa: B023
                for seed in range(how.seeds)
            ]
            needed = [len(trials) for trials in runs]
            found = [held_out[str(max(trials, key=lambda t: t.score).configuration)] for trials in runs]
            print(
                f"  {method:8} median {np.median(needed):5.1f} evaluations, held out {np.mean(found):.2f}", flush=True
            )


if __name__ == "__main__":
    main()
