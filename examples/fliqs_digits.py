"""FLIQS's search on a small network: formats of layers found while it trains, beside uniform and random formats.

    python examples/fliqs_digits.py [--network vgg] [--seeds 10] [--steps 1500] [--results figures.json]

Trains a network of dfp16_training.py on scikit-learn's digits with noise (without, 4 bits lose nothing) for a budget of
bit operations, that of uniform int4: searching, with each format for every layer, and with random formats that cost as
much to 5 %. All arms of a seed share initial weights, images and order. The table has the accuracy on images held out,
and the cost as a part of the target. Needs PyTorch, scikit-learn.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from dfp16_training import NETWORKS, Conv, digits

import omniconv
from omniconv import quant
from omniconv.bench import machine
from omniconv.torch.quant import macs, searchable, set_formats

FORMATS = ["int3", "int4", "int6", "int8"]


class Training:
    """A network, its formats, and batches of noisy digits."""

    def __init__(self, network: str, seed: int, steps: int) -> None:
        torch.manual_seed(seed)
        Conv.arm = None
        self.model, self.names = searchable(NETWORKS[network]())
        self.x, self.y, x_test, y_test = digits(seed)
        self.noise = torch.Generator().manual_seed(seed)
        pick = torch.arange(1800) % len(y_test)
        self.test = self.noisy(x_test[pick]), y_test[pick]
        self.cost = quant.bit_operations(macs(self.model, self.x[:2]))
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)

    def noisy(self, x: torch.Tensor) -> torch.Tensor:
        """With normal noise of standard deviation 0.4; pixels are in [-1, 1]."""
        return x + 0.4 * torch.randn(x.shape, generator=self.noise)

    def step(self, formats: dict[str, str]) -> float:
        """One step of training in these formats; the negative loss."""
        set_formats(self.model, formats)
        self.model.train()
        batch = torch.randint(len(self.y), (64,), generator=self.noise)
        self.optimiser.zero_grad()
        loss = F.cross_entropy(self.model(self.noisy(self.x[batch])), self.y[batch])
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return -loss.item()

    def accuracy(self, formats: dict[str, str]) -> float:
        """In percent, after batch norm has seen 20 batches in these formats."""
        set_formats(self.model, formats)
        with torch.no_grad():
            self.model.train()
            for batch in torch.randperm(len(self.y), generator=self.noise).split(64)[:20]:
                self.model(self.noisy(self.x[batch]))
            self.model.eval()
            x, y = self.test
            return 100 * (self.model(x).argmax(1) == y).float().mean().item()


def run(network: str, seed: int, steps: int, choose: Callable[[Training], dict | None], target: float) -> tuple:
    """Accuracy, cost / target and formats; `choose` gives formats, or None to search."""
    training = Training(network, seed, steps)
    formats = choose(training)
    if formats is None:
        formats = quant.search(
            training.step, training.cost, training.names, FORMATS, target, steps=steps, seed=seed
        ).formats
    else:
        for _ in range(steps):
            training.step(formats)
    return training.accuracy(formats), training.cost(formats) / target, formats


def main() -> None:
    """Search, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="vgg", choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--results")
    how = parser.parse_args()
    torch.set_num_threads(omniconv.get_num_threads())
    first = Training(how.network, 0, how.steps)
    target = first.cost(dict.fromkeys(first.names, "int4"))
    near = [
        formats
        for c in itertools.product(FORMATS, repeat=len(first.names))
        if abs(first.cost(formats := dict(zip(first.names, c, strict=True))) / target - 1) <= 0.05
    ]
    arms: dict[str, Callable[[Training, int], dict | None]] = {"search": lambda *_: None}
    for form in FORMATS:
        arms[form] = lambda t, _, form=form: dict.fromkeys(t.names, form)
    arms["random"] = lambda _, seed: near[np.random.default_rng(seed).integers(len(near))]
    found: dict[str, list] = {}
    print("arm       accuracy  cost / target   (means over seeds)")
    for arm, formats in arms.items():
        found[arm] = [
            run(how.network, seed, how.steps, lambda t: formats(t, seed), target)  # noqa: B023
            for seed in range(how.seeds)
        ]
        print(
            f"{arm:8} {np.mean([f[0] for f in found[arm]]):8.2f} {np.mean([f[1] for f in found[arm]]):8.3f}", flush=True
        )
    better = sum(s[0] >= u[0] for s, u in zip(found["search"], found["int4"], strict=True))
    print(f"search at least as accurate as int4 of the same seed: {better} of {how.seeds}")
    if how.results:
        rows = {arm: [[round(a, 3), round(c, 4), list(f.values())] for a, c, f in runs] for arm, runs in found.items()}
        what = {"schema": "omniconv-fliqs-digits/1", "machine": machine.describe(), "network": how.network}
        with open(how.results, "w", encoding="utf-8") as file:
            json.dump(what | {"steps": how.steps, "formats": FORMATS, "accuracy_cost_formats": rows}, file)


if __name__ == "__main__":
    main()
