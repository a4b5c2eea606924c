"""Where arrays go: a GPU, or host memory whose convolutions the emulator computes."""

from __future__ import annotations

import torch

import omniconv

EMULATED = omniconv.array_device() == "emu"
DEVICE = "cpu" if EMULATED else "cuda:0"


def to_device(array: torch.Tensor) -> torch.Tensor:
    """The tensor on the device, in the memory format that it has."""
    return array.to(DEVICE)


def synchronize() -> None:
    """Wait for the GPU."""
    if not EMULATED:
        torch.cuda.synchronize()
