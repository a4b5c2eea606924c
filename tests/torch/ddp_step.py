"""One data-parallel step in two processes over gloo on the loopback: its gradients are those of the whole batch."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import omniconv.torch as ot


def gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    model(x).square().mean().backward()
    return [p.grad for p in model.parameters()]


def work(rank: int, store: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.Sequential(
        ot.Conv2d(3, 8, 3, padding=1), nn.ReLU(), ot.ConvTranspose2d(8, 4, 2, stride=2), ot.Conv2d(4, 2, 3)
    )
    x = torch.randn(4, 3, 8, 8)
    expected = [g.clone() for g in gradients(model, x)]
    model.zero_grad()
    found = gradients(DistributedDataParallel(model), x[2 * rank : 2 * rank + 2])
    for g, e in zip(found, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-5, atol=1e-7)
    print("equal", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, (sys.argv[1],), nprocs=2)
