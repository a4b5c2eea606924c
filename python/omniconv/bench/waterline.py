"""The waterline of a sequence of layers, and its efficiency gap: the roofline of each layer, added up over a network.

After Lavin, "On the Efficiency of Convolutional Neural Networks" (arXiv:2404.03617). The waterline is the rate of
multiply-adds over that of memory, both measured, in flop per byte. A layer that does fewer operations for each byte it
must move lies under it: memory bounds its time, whatever the kernel, and only fusing it with its neighbours lifts it.
Three times tell where those of a network go:

- ideal: operations / multiply rate, what the arithmetic alone would take;
- floor: the larger of that and bytes / copy rate for each layer, what kernels of one layer each can reach;
- measured.

Operations are those of the direct sum: Winograd may pass the ideal, and layers that stay in the caches the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import omniconv
from omniconv import models
from omniconv.bench import layers, machine, peers
from omniconv.bench.layers import Layer
from omniconv.bench.layers.of_model import of_model
from omniconv.bench.race import LONG_SETTLE, race

__all__ = ["OURS", "measure", "roof"]

SCHEMA = "omniconv-bench-waterline/1"
OURS, MODEL = "omniconv", "model"


def roof(layer: Layer, batch: int, gflops: float, gbytes: float) -> dict[str, Any]:
    """Operations, bytes of float32 that must be moved at least, and the times that the rates allow."""
    flops, size = layer.flops(batch), 4 * layer.elements(batch)
    ideal, memory = flops / gflops * 1e-9, size / gbytes * 1e-9
    return {
        "flops": flops, "bytes": size, "intensity": flops / size, "ideal_seconds": ideal, "memory_seconds": memory,
        "floor_seconds": max(ideal, memory), "bound": "memory" if memory > ideal else "compute",
    }  # fmt: skip


def _sequence(target: str, size: int) -> tuple[list[Layer], list[str]]:
    """The layers in the order of the network, each as often as it has it, and the names of what is left out."""
    if target in models.list():
        found = of_model(target, size)
        return found.layers, found.left_out
    return [replace(layer, count=1) for layer in layers.load(target) for _ in range(layer.count)], []


def _seconds(
    layer: Layer, batch: int, precision: str, layout: str, chosen: list[str], repeat: int | None, budget: float
) -> tuple[str, dict[str, float]]:
    """The algorithm that "auto" takes, and the medians of omniconv and the peers."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal(layer.x_shape(batch), np.float32)
    w = rng.standard_normal(layer.w_shape, np.float32) / np.float32(math.sqrt(math.prod(layer.w_shape[1:])))
    last = layout == "nhwc"
    ours = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x
    plan = omniconv.plan_conv2d(x.shape, w, channels_last=last, precision=precision, **layer.geometry)
    calls = {OURS: lambda: plan(ours)} | {c.name: c.call for c in peers.conv_peers(chosen, layer, x, w)}
    timings = race(calls, repeat=repeat, budget=budget, warm=True, settle=LONG_SETTLE)
    return plan.algorithm, {name: timing.median for name, timing in timings.items()}


def _totals(rows: list[dict[str, Any]], found: list[Layer], batch: int, gflops: float, gbytes: float) -> dict[str, Any]:
    def total(word: str) -> float:
        return sum(row["count"] * row[word] for row in rows)

    names = {name for row in rows for name in row["seconds"]}
    seconds = {name: sum(row["count"] * row["seconds"][name] for row in rows) for name in names}
    weights = sum(math.prod(layer.w_shape) for layer in found)
    # With all between the first and the last in the caches; never more than layer by layer.
    ends = math.prod(found[0].x_shape(batch)) + math.prod(found[-1].y_shape(batch))
    fused = max(total("ideal_seconds"), 4 * (weights + ends) / gbytes * 1e-9)
    return {
        "flops": total("flops"), "bytes": total("bytes"), "ideal_seconds": total("ideal_seconds"),
        "floor_seconds": total("floor_seconds"), "fused_seconds": min(fused, total("floor_seconds")),
        "seconds": seconds, "waterline": gflops / gbytes,
        "under_water": sum(row["count"] for row in rows if row["bound"] == "memory"), "layers": len(found),
    }  # fmt: skip


def measure(
    target: str,
    batch: int = 1,
    *,
    size: int = 224,
    precision: str = "highest",
    layout: str = "nchw",
    chosen: Sequence[str] = (),
    repeat: int | None = None,
    budget: float = 1.0,
    progress: Callable[[str, float], None] = lambda what, part: None,
) -> dict[str, Any]:
    """Measure a model's convolutions, or those of a layer set or CSV file, with the threads in force.

    Parameters
    ----------
    target : str
        A model of images that `omniconv.models` knows; else what `omniconv.bench.layers.load` takes.
    batch, size : int
        Images, and the height and width of those that a model gets.
    precision, layout
        Of omniconv: as for `omniconv.conv2d`; "nchw" or "nhwc" in memory.
    chosen : sequence of str
        Peers to time beside it, as `omniconv.bench.peers.choose` gives them.
    repeat, budget
        As for `omniconv.bench.race.race`, for each distinct layer.

    Returns
    -------
    dict
        What ``--json`` writes: machine, settings, rates, ``layers`` (each distinct one with its count, times per call),
        ``sequence`` (indices into it, in the order of the network), ``totals`` over the sequence, ``left_out``, and for
        a model with precision "highest" ``model_seconds``, those of the whole.

    Raises
    ------
    ValueError
        For a target that is not known, and for a model that does not take images of that size.
    """
    progress("layers", 0)
    found, left_out = _sequence(target, size)
    distinct = layers.distinct(found)
    peers.set_threads(list(chosen), omniconv.get_num_threads())
    progress("rates of the machine", 0)
    # A shared machine has slow minutes: the rates are the better of those before and after.
    rates = [(machine.multiply_rate(), machine.copy_rate())]
    measured = []
    with machine.OtherWork() as elsewhere:
        for done, layer in enumerate(distinct):
            progress(layer.name, done / len(distinct))
            measured.append(_seconds(layer, batch, precision, layout, list(chosen), repeat, budget))
        whole = _model_seconds(target, batch, size, repeat, budget) if precision == "highest" else None
    rates.append((machine.multiply_rate(), machine.copy_rate()))
    multiply = max((m for m, _ in rates), key=lambda rate: rate["gflops"])
    copy = max((c for _, c in rates), key=lambda rate: rate["gbytes"])
    rows = []
    for layer, (algorithm, seconds) in zip(distinct, measured, strict=True):
        limits = roof(layer, batch, multiply["gflops"], copy["gbytes"])
        row = {"name": layer.name, "text": layer.describe(), "count": layer.count, "algorithm": algorithm, **limits}
        gap = seconds[OURS] - limits["floor_seconds"]
        efficiency = limits["ideal_seconds"] / seconds[OURS]
        rows.append(row | {"seconds": seconds, "gap_seconds": gap, "efficiency": efficiency})
    places = {layer.describe(): i for i, layer in enumerate(distinct)}
    return {
        "schema": SCHEMA,
        "machine": machine.describe(),
        "settings": {"target": target, "batch": batch, "size": size, "precision": precision, "layout": layout},
        "others_busy_cpus": [elsewhere.cpus],
        "multiply_rate": multiply,
        "copy_rate": copy,
        "layers": rows,
        "sequence": [places[layer.describe()] for layer in found],
        "totals": _totals(rows, found, batch, multiply["gflops"], copy["gbytes"]),
        "left_out": left_out,
        "model_seconds": whole,
    }


def _model_seconds(target: str, batch: int, size: int, repeat: int | None, budget: float) -> float | None:
    """One call of the whole model; None where the target is none."""
    if target not in models.list():
        return None
    from omniconv.bench.models import problem

    model, x = problem(target, batch, size)
    model(*x)  # packs its weights
    return race({MODEL: lambda: model(*x)}, repeat=repeat, budget=budget, warm=True)[MODEL].median
