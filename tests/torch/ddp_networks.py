"""Three data-parallel steps of the networks in two processes over gloo, against the same steps in one."""

from __future__ import annotations

import copy
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import omniconv.torch as ot
from tests.torch.networks import NETWORKS, batch, steps


def work(rank: int, store: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    x, labels = batch()
    half = slice(2 * rank, 2 * rank + 2)
    for make in NETWORKS.values():
        torch.manual_seed(0)
        one = ot.replace(make(depths=(1, 1)))
        one.eval()  # batch normalisation would see half of the batch
        model = copy.deepcopy(one)
        steps(one, x, labels, 3)
        steps(DistributedDataParallel(model), x[half], labels[half], 3)
        for found, expected in zip(model.parameters(), one.parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        print("equal", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, (sys.argv[1],), nprocs=2)
