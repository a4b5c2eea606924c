"""One small call of every kernel: what compute-sanitizer runs, where each memory access takes long."""

from __future__ import annotations

import torch

import omniconv
from bench.cuda.arrays import DEVICE, synchronize
from omniconv import special


def main() -> None:
    """Run forward and both gradients by every algorithm at every precision."""
    how = {"stride": 2, "padding": 1, "padding_mode": "reflect"}
    for groups, ci in ((1, 5), (6, 1)):
        x = torch.randn(2, groups * ci, 9, 10, device=DEVICE)
        w = torch.randn(12, ci, 3, 3, device=DEVICE)
        shape = omniconv.conv2d(x, w, groups=groups, **how).shape
        g = torch.randn(shape, device=DEVICE)
        for precision in ("highest", "high", "medium"):
            options = {**how, "groups": groups, "precision": precision}
            for op, call in (
                ("forward", lambda o, x=x, w=w: omniconv.conv2d(x, w, activation="gelu", **o)),
                ("grad_input", lambda o, x=x, w=w, g=g: omniconv.conv2d_grad_input(g, w, x.shape, **o)),
                ("grad_weight", lambda o, x=x, w=w, g=g: omniconv.conv2d_grad_weight(g, x, w.shape, **o)),
            ):
                listed = omniconv.algorithms(x.shape, w.shape, op=op, device=DEVICE, **options)
                for algorithm in (a.name for a in listed if a.usable):
                    call({**options, "algorithm": algorithm})
        omniconv.conv_grad_bias(g)
    for dtype in (torch.float32, torch.float64):
        v, x = (10 ** torch.empty(256, dtype=dtype).uniform_(-3, 5).to(DEVICE) for _ in range(2))
        for name in special.__all__:
            getattr(special, name)(v, x)
    synchronize()
    print("every kernel ran")


if __name__ == "__main__":
    main()
