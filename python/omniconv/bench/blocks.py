"""Fused blocks beside the same operations one by one, here and in PyTorch eager: ConvNeXt's and ConvFirst's block.

Each block is as in its paper, with its norm, layer scale and shortcut, at the shapes of the four stages of ConvNeXt-T:
56x56 pixels of 96 channels to 7x7 of 768. Weights are packed once where a contestant may. Errors are relative, L2,
against the block in float64.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import omniconv
from omniconv import nn
from omniconv.bench import machine
from omniconv.bench.race import geometric_mean, race
from omniconv.models import convfirst, convnext

__all__ = ["BLOCKS", "SHAPES", "measure"]

#: name: the block of so many channels
BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "convnext": lambda c: convnext.Block(c, layer_scale=1.0),
    "convfirst": lambda c: convfirst.Block(c, 3, 4, 8),
}
#: pixels along an edge, channels
SHAPES = ((56, 96), (28, 192), (14, 384), (7, 768))


def _problem(name: str, batch: int, edge: int, channels: int) -> tuple[nn.Module, np.ndarray]:
    block, rng = BLOCKS[name](channels), np.random.default_rng(0)
    for parameter in block.named_parameters().values():
        if parameter.fill is None:
            parameter.array = rng.standard_normal(parameter.shape, dtype=np.float32) / np.float32(
                np.prod(parameter.shape[1:]) ** 0.5
            )
    block._fold()
    x = rng.standard_normal((batch, edge, edge, channels), dtype=np.float32)
    return block, np.moveaxis(x, -1, 1)


def _torch_calls(block: nn.Module, x: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    import torch

    from omniconv.bench.torch_twin import torch_twin

    torch.set_num_threads(omniconv.get_num_threads())
    module = torch_twin(block, x).module()
    layouts = {"torch-nchw": torch.contiguous_format, "torch-nhwc": torch.channels_last}
    calls = {}
    for name, layout in layouts.items():
        tensor = torch.from_numpy(np.ascontiguousarray(x)).to(memory_format=layout)

        def call(tensor: Any = tensor) -> np.ndarray:
            with torch.inference_mode():
                return module(tensor).numpy()

        calls[name] = call
    return calls


def _one_by_one(block: nn.Module, x: np.ndarray) -> np.ndarray:
    with nn.one_by_one():
        return block(x)


def measure(
    names: Sequence[str], batches: Sequence[int], *, shapes: Sequence[tuple[int, int]] = SHAPES, peers: bool = True,
    repeat: int | None = None, budget: float = 3.0, progress: Callable[[str, float], None] = lambda what, part: None,
) -> dict[str, Any]:  # fmt: skip
    """Race blocks; a report to print or write as JSON. ValueError for a block that is not known."""
    for name in names:
        if name not in BLOCKS:
            raise ValueError(f"block is {name!r}; allowed are {', '.join(BLOCKS)}")
    peers = peers and importlib.util.find_spec("torch") is not None
    entries: list[dict[str, Any]] = []
    cases = [(n, b, *s) for n in names for b in batches for s in shapes]
    for i, (name, batch, edge, channels) in enumerate(cases):
        progress(f"{name} {edge}x{edge}x{channels}, batch {batch}", i / len(cases))
        block, x = _problem(name, batch, edge, channels)
        calls = {
            "omniconv": lambda block=block, x=x: block(x),
            "one by one": lambda block=block, x=x: _one_by_one(block, x),
        } | (_torch_calls(block, x) if peers else {})
        found = {n: np.asarray(call())[:1].astype(np.float64) for n, call in calls.items()}
        exact = block.to("float64")(x[:1].astype(np.float64))
        block.to("float32")
        seconds = {n: t.median for n, t in race(calls, repeat=repeat, budget=budget).items()}
        best = min((s for n, s in seconds.items() if n.startswith("torch")), default=None)
        entries.append(
            {
                "block": name,
                "batch": batch,
                "shape": [edge, edge, channels],
                "results": [
                    {
                        "name": n,
                        "seconds": s,
                        "ratio": s / seconds["omniconv"],
                        "error": float(np.linalg.norm(found[n] - exact) / np.linalg.norm(exact)),
                    }
                    for n, s in seconds.items()
                ],
                "one_by_one": seconds["one by one"] / seconds["omniconv"],
                "pytorch": None if best is None else best / seconds["omniconv"],
            }
        )
    means = {
        name: {
            peer: geometric_mean([e[peer] for e in entries if e["block"] == name and e[peer] is not None])
            for peer in ("one_by_one", *(("pytorch",) if peers else ()))
        }
        for name in names
    }
    return {
        "schema": "omniconv-bench-blocks/1",
        "machine": machine.describe(),
        "entries": entries,
        "means": means,
    }
