"""Data-parallel training with PyTorch: a small ResNet with omniconv's convolutions on scikit-learn's digits.

    torchrun --nproc-per-node 2 examples/ddp_digits.py [--epochs 4] [--compile]
    python examples/ddp_digits.py                       # one process

Processes, gradients and sampling are torch.distributed's; `omniconv.torch.replace` changes the convolutions and nothing
else. The loss is averaged over equal parts of each batch, so any number of processes that divides 64 takes the same
steps but for rounding and batch normalisation, which sees a process's own part. Needs omniconv, PyTorch, scikit-learn.
"""

from __future__ import annotations

import argparse
import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import omniconv.torch

BATCH = 64  # of all processes together


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] to the same shape."""
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + x)


def network() -> nn.Sequential:
    """[N, 1, 8, 8] to ten logits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), Residual(16), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), Residual(32),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def main() -> None:
    """Train, and print the accuracy on images held out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()

    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels))
    training, held_out = torch.utils.data.random_split(data, [1437, 360])

    model = omniconv.torch.replace(network())
    wrapped = DistributedDataParallel(model) if world > 1 else model
    step = torch.compile(wrapped) if arguments.compile else wrapped
    sampler = DistributedSampler(training, num_replicas=world, rank=rank)
    loader = DataLoader(training, BATCH // world, sampler=sampler, drop_last=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimiser.zero_grad()
            loss = F.cross_entropy(step(x), y)
            loss.backward()
            optimiser.step()
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

    model.eval()
    x, y = next(iter(DataLoader(held_out, 360)))
    with torch.no_grad():
        accuracy = (model(x).argmax(1) == y).float().mean()
    if rank == 0:
        print(f"{world} process{'es' * (world > 1)}: {accuracy:.1%} of 360 images held out are right")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
