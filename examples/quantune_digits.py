"""Quantune's search on small networks, held against all 96 configurations.

    python examples/quantune_digits.py [--networks resnet,vgg,googlenet] [--seeds 20] [--results figures.json]

Trains the networks of dfp16_training.py on scikit-learn's digits, evaluates every configuration of omniconv.quant.SPACE
once, and counts how many evaluations each tuner needs to come within 0.1 points of the best: median over the seeds.
Digits are so easy that 8 bits lose nothing on them, so accuracy is that on images with noise: 2000 noisy copies of 180
images for the search, as many of 180 others for the accuracy that is reported. Needs PyTorch, scikit-learn, and xgboost
(pip install 'omniconv[tune]').
"""

from __future__ import annotations

import argparse
import ast
import functools
import json

import numpy as np
import torch
import torch.nn.functional as F
from dfp16_training import NETWORKS, Conv, digits
from torch import nn

from omniconv import quant
from omniconv.bench import machine
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


def noisy(part: slice, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """2000 copies of a part of the test images, with normal noise of standard deviation 0.6 (pixels are in [-1, 1])."""
    _, _, x, y = digits(0)
    generator = torch.Generator().manual_seed(seed)
    pick = torch.arange(2000) % 180
    return x[part][pick] + 0.6 * torch.randn(2000, 1, 8, 8, generator=generator), y[part][pick]


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
    parser.add_argument("--results")
    how = parser.parse_args()
    figures: dict = {"schema": "omniconv-quantune-digits/1", "machine": machine.describe(), "networks": {}}
    for network in how.networks.split(","):
        model, x = trained(network), digits(0)[0]
        search, others = noisy(slice(0, 180), 1), noisy(slice(180, 360), 2)

        @functools.cache
        def held_out(key: str, model: nn.Module = model, x: torch.Tensor = x, data: tuple = others) -> float:
            return accuracy(quantized(model, ast.literal_eval(key), x), *data)

        scores = {str(c): accuracy(quantized(model, c, x), *search) for c in quant.configurations()}
        best, values = max(scores.values()), np.array(list(scores.values()))
        print(
            f"{network}: float32 {accuracy(model, *search):.2f}, 96 configurations {values.min():.2f} to {best:.2f}, "
            f"{np.sum(values >= best - 0.1)} of them within 0.1 of the best"
        )
        figures["networks"][network] = {"scores": scores, "evaluations_of_seeds": {}}
        for method in how.methods.split(","):
            runs = [
                quant.tune(lambda c: scores[str(c)], method, 96, seed, target=best - 0.1)  # noqa: B023
                for seed in range(how.seeds)
            ]
            needed = [len(trials) for trials in runs]
            figures["networks"][network]["evaluations_of_seeds"][method] = needed
            found = [held_out(str(max(trials, key=lambda t: t.score).configuration)) for trials in runs]
            print(
                f"  {method:8} median {np.median(needed):5.1f} evaluations, held out {np.mean(found):.2f}", flush=True
            )
    if how.results:
        with open(how.results, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
