"""A ResNet-50 and a ConvNeXt as PyTorch programs have them, thin enough for tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class Bottleneck(nn.Module):
    def __init__(self, ci: int, width: int, stride: int, act: Activation) -> None:
        super().__init__()
        co, self.act = 4 * width, act
        self.conv1, self.bn1 = nn.Conv2d(ci, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, co, 1, bias=False), nn.BatchNorm2d(co)
        self.downsample = None
        if stride != 1 or ci != co:
            self.downsample = nn.Sequential(nn.Conv2d(ci, co, 1, stride, bias=False), nn.BatchNorm2d(co))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        return self.act(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def resnet(
    depths: Sequence[int] = (3, 4, 6, 3), width: int = 8, classes: int = 10, act: Activation = torch.relu
) -> nn.Sequential:
    """ResNet-50 by its depths: stem with a pool, and four stages of bottlenecks."""
    stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks, ci = [], width
    for stage, count in enumerate(depths):
        for j in range(count):
            blocks.append(Bottleneck(ci, width << stage, 2 if stage and not j else 1, act))
            ci = 4 * (width << stage)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(ci, classes))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.gamma = nn.Parameter(torch.full((channels,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.gamma * self.mlp(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


def convnext(depths: Sequence[int] = (3, 3, 9, 3), width: int = 12, classes: int = 10) -> nn.Sequential:
    """ConvNeXt-T by its depths."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 4), LayerNorm2d(width, eps=1e-6)]
    for stage, count in enumerate(depths):
        if stage:
            layers += [LayerNorm2d(width, eps=1e-6), nn.Conv2d(width, 2 * width, 2, 2)]
            width *= 2
        layers += [ConvNeXtBlock(width) for _ in range(count)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, classes))


NETWORKS = {"resnet": resnet, "convnext": convnext}


@functools.cache
def batch() -> tuple[Tensor, Tensor]:
    """Four images, and their labels."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 32, 32, generator=generator), torch.tensor([0, 3, 9, 4])


def steps(model: nn.Module, x: Tensor, labels: Tensor, count: int) -> list[float]:
    """The losses of steps of gradient descent."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(count):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses
