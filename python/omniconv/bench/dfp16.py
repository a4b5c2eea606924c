"""Integer convolution beside float32: omniconv's dfp16, int8 and float32, PyTorch's float32 in three layouts and int8.

Weights are prepacked where a contestant may; quantising the input and writing float32 is part of every timed call of
dfp16 and of int8. The int8 peer is a quantised ``torch.nn.Conv2d`` of PyTorch's own (u8 activations, s8 weights with a
scale for each output channel), its output dequantised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import omniconv
from omniconv import quant
from omniconv.bench import machine, peers
from omniconv.bench.layers import Layer
from omniconv.bench.oracle import conv2d_float64, relative_error
from omniconv.bench.race import geometric_mean, race

__all__ = ["PEERS", "measure"]

PEERS = tuple(name for name in peers.names() if name.startswith("torch"))


def _int8(layer: Layer, x: np.ndarray, w: np.ndarray) -> peers.Contestant:
    import torch

    scales = torch.from_numpy(np.abs(w).max((1, 2, 3)) / 127.0).double().clamp_min(1e-30)
    weight = torch.quantize_per_channel(
        torch.from_numpy(w), scales, torch.zeros(layer.co, dtype=torch.long), 0, torch.qint8
    )
    xt = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    geometry = (layer.stride,) * 2, (layer.padding, layer.padding_w), (layer.dilation,) * 2, layer.groups
    packed = torch.ops.quantized.conv2d_prepack(weight, None, *geometry)
    low, high = float(x.min()), float(x.max())
    scale = (high - low) / 255
    zero = round(-low / scale)
    y = conv2d_float64(x[:1], w, layer)
    out_scale, out_zero = float(y.max() - y.min()) / 255, round(-float(y.min()) / float(y.max() - y.min()) * 255)

    def call() -> Any:
        quantised = torch.quantize_per_tensor(xt, scale, zero, torch.quint8)
        return torch.ops.quantized.conv2d(quantised, packed, out_scale, out_zero).dequantize()

    return peers.Contestant("torch-int8", "peer", call, lambda found: found.numpy())


def _ours(layer: Layer, x: np.ndarray, w: np.ndarray) -> list[peers.Contestant]:
    found = []
    for name, precision in (("dfp16", "dfp16"), ("float32", "highest")):
        plan = omniconv.plan_conv2d(x.shape, w, precision=precision, **layer.geometry)
        call = lambda plan=plan: plan(x)  # noqa: E731
        found.append(peers.Contestant(name, "omniconv", call, np.asarray, plan.workspace_bytes, plan.packed_bytes))
    form, w_form = quant.calibrate(x, "asymmetric"), quant.calibrate(w, granularity="channel")
    int8 = quant.Int8Conv2d(x.shape, w, form, w_form, **layer.geometry)
    found.append(peers.Contestant("int8", "omniconv", lambda: int8(x), np.asarray))
    return found


def _measure(layer: Layer, batch: int, chosen: Sequence[str], repeat: int | None, budget: float) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(layer.x_shape(batch), dtype=np.float32)
    w = rng.standard_normal(layer.w_shape, dtype=np.float32) / np.float32(math.sqrt(math.prod(layer.w_shape[1:])))
    contestants = _ours(layer, x, w) + peers.conv_peers(list(chosen), layer, x, w)
    skipped = {}
    if chosen:
        try:
            int8 = _int8(layer, x, w)
            int8.call()
            contestants.append(int8)
        except (AttributeError, RuntimeError) as error:  # builds of PyTorch without a quantised engine
            skipped["torch-int8"] = str(error).splitlines()[0]
    truth = conv2d_float64(x[:1], w, layer)
    errors = {c.name: relative_error(c.to_numpy(c.call())[:1], truth) for c in contestants}
    seconds = {
        n: t.median for n, t in race({c.name: c.call for c in contestants}, repeat=repeat, budget=budget).items()
    }
    best = min((seconds[name] for name in chosen), default=None)
    rows = [
        {"name": n, "seconds": s, "gmacs": layer.flops(batch) / 2e9 / s, "error": errors[n],
         "vs_best_float32": best / s if best else None}
        for n, s in seconds.items()
    ]  # fmt: skip
    return {"name": layer.name, "batch": batch, "text": layer.describe(), "results": rows, "skipped": skipped}


def measure(
    layers: list[Layer],
    batches: Sequence[int],
    chosen: Sequence[str] = PEERS,
    *,
    least_channels: int = 64,
    repeat: int | None = None,
    budget: float = 3.0,
    done: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Race the layers that have `least_channels` input channels.

    `chosen`: PyTorch's float32 layouts; where there are any, its int8 runs too. Returns machine, ``layers`` with a row
    per contestant, and ``summary``: the geometric mean of each contestant's speed over the best float32 of PyTorch.
    """
    peers.set_threads(list(chosen), omniconv.get_num_threads())
    entries = []
    for batch in batches:
        for layer in layers:
            if layer.ci < least_channels:
                continue
            entries.append(_measure(layer, batch, chosen, repeat, budget))
            if done:
                done(entries[-1])
    speeds: dict[str, list[float]] = {}
    for entry in entries:
        for row in entry["results"]:
            if row["vs_best_float32"]:
                speeds.setdefault(row["name"], []).append(row["vs_best_float32"])
    return {
        "schema": "omniconv-bench-dfp16/1",
        "machine": machine.describe(),
        "layers": entries,
        "summary": {name: geometric_mean(values) for name, values in speeds.items()},
    }
