"""omniconv's CUDA kernels beside cuDNN, called through PyTorch: times, errors, memory; JSON and a short table.

    python -m bench.cuda.race [--batch 128] [--results bench/results]

Layers: the twelve of the Im2win papers and those of ResNet-50. cuDNN runs with float32 products (TF32 off), with TF32
and in bfloat16, in NCHW and channels_last, with its autotuner on. omniconv runs at its three precisions. Contestants
take turns; a time is the median of events around several calls.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import omniconv
from bench.cuda import special
from bench.cuda.arrays import DEVICE, EMULATED
from omniconv.bench import machine
from omniconv.bench.layers import Layer, load
from omniconv.bench.race import geometric_mean

ROUNDS, CALLS = 5, 10
LADDER = ["im2win_naive", "im2win_shared", "im2win_tiled", "im2win_micro", "im2win_buffered"]  # then im2win_full

LARGE_KERNELS = [
    Layer("depthwise 13x13", 192, 192, 28, 13, padding=6, groups=192),
    Layer("depthwise 31x31", 96, 96, 56, 31, padding=15, groups=96),
]


def seconds_of(call: Callable[[], Any], calls: int = CALLS) -> float:
    """Of one call, from events around several of them."""
    if EMULATED:
        call()
        return 0.0  # nothing is said about speed
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3 / calls


def contestants(layer: Layer, x: torch.Tensor, w: torch.Tensor, op: str) -> dict[str, Callable[[], torch.Tensor]]:
    """What to call; results are float32 or bfloat16 tensors of one shape."""
    how = layer.geometry
    oh, ow = layer.out
    last = x.to(memory_format=torch.channels_last)
    g = torch.randn(x.shape[0], layer.co, oh, ow, device=x.device)

    def cudnn(x: torch.Tensor, w: torch.Tensor, g: torch.Tensor, tf32: bool) -> Callable[[], torch.Tensor]:
        def call() -> torch.Tensor:
            torch.backends.cudnn.allow_tf32 = tf32
            if op == "forward":
                return F.conv2d(x, w, **how)
            if op == "grad_input":
                return torch.nn.grad.conv2d_input(x.shape, w, g, **how)
            return torch.nn.grad.conv2d_weight(x, w.shape, g, **how)

        return call

    def ours(x: torch.Tensor, g: torch.Tensor, precision: str, algorithm: str = "auto") -> Callable[[], torch.Tensor]:
        options = {**how, "precision": precision, "algorithm": algorithm}
        if op == "forward":
            return lambda: omniconv.conv2d(x, w, **options)
        if op == "grad_input":
            return lambda: omniconv.conv2d_grad_input(g, w, x.shape, **options)
        return lambda: omniconv.conv2d_grad_weight(g, x, w.shape, **options)

    all_of = {}
    for layout, a in (("nchw", x), ("nhwc", last)):
        b, d = (t.contiguous(memory_format=torch.channels_last) if layout == "nhwc" else t for t in (w, g))
        all_of[f"cudnn float32 {layout}"] = cudnn(a, b, d, False)
        all_of[f"cudnn tf32 {layout}"] = cudnn(a, b, d, True)
        half = [t.bfloat16() for t in (a, b, d)]
        all_of[f"cudnn bfloat16 {layout}"] = cudnn(*half, False)
        for precision in ("highest", "high", "medium"):
            all_of[f"omniconv {precision} {layout}"] = ours(a, d, precision)
    for listed in omniconv.algorithms(x.shape, w.shape, op=op, device=DEVICE, **how):
        if listed.usable and listed.name not in ("reference", *LADDER):
            all_of[f"omniconv {listed.name} nchw"] = ours(x, g, "highest", listed.name)
    return all_of


def measure(layer: Layer, batch: int, op: str) -> dict[str, Any]:
    """A row: seconds, error and memory of every contestant."""
    torch.manual_seed(1)
    x = torch.randn(layer.x_shape(batch), device=DEVICE)
    w = torch.randn(layer.w_shape, device=DEVICE) / (w_terms(layer) ** 0.5)
    calls = contestants(layer, x, w, op)
    row: dict[str, Any] = {"layer": layer.name, "op": op, "batch": batch, "seconds": {}, "error": {}, "peak_bytes": {}}
    want = calls["cudnn float32 nchw"]().double()
    for name, call in list(calls.items()):
        if not EMULATED:
            torch.cuda.reset_peak_memory_stats()
        try:
            got = call().double()
        except Exception as error:  # a contestant that cannot do the layer is a row as well
            row["seconds"][name], row["error"][name] = None, str(error)[:200]
            del calls[name]
            continue
        row["error"][name] = float((got - want).norm() / want.norm())  # against cuDNN in float32
        row["peak_bytes"][name] = 0 if EMULATED else torch.cuda.max_memory_allocated()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 if EMULATED else ROUNDS):
        for name, call in calls.items():
            times[name].append(seconds_of(call))
    row["seconds"].update({name: statistics.median(runs) for name, runs in times.items()})
    return row


def w_terms(layer: Layer) -> int:
    """Products in one sum."""
    return layer.ci // layer.groups * layer.kh * layer.kw


def ablation(layer: Layer, batch: int) -> dict[str, Any]:
    """Seconds of every step that leads to im2win_full, forward in NCHW: how much each one gains."""
    torch.manual_seed(1)
    x = torch.randn(layer.x_shape(batch), device=DEVICE)
    w = torch.randn(layer.w_shape, device=DEVICE) / (w_terms(layer) ** 0.5)
    how = layer.geometry
    plans = {name: omniconv.plan_conv2d(x.shape, w, algorithm=name, **how) for name in (*LADDER, "im2win_full")}
    seconds = {}
    for name, plan in plans.items():
        out = plan(x)
        seconds[name] = statistics.median(seconds_of(partial(plan, x, out=out), 2) for _ in range(3))
    return {"layer": layer.name, "batch": batch, "seconds": seconds}


def ablation_table(rows: list[dict[str, Any]]) -> str:
    """How many times as fast as the step before, geometric mean over the layers."""
    lines = ["| step | times as fast as the one before | as im2win_naive |", "|---|---|---|"]
    names = [*LADDER, "im2win_full"]
    for i, name in enumerate(names):
        cells = []
        for before in (names[max(i - 1, 0)], names[0]):
            ratios = [row["seconds"][before] / row["seconds"][name] for row in rows if row["seconds"][name]]
            cells.append(f"{geometric_mean(ratios):.2f}" if ratios else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


PAIRS = {"highest": "float32", "high": "float32", "medium": "bfloat16"}


def table(rows: list[dict[str, Any]]) -> str:
    """How many times as fast as cuDNN at the products that match, the better layout of each."""
    lines = ["| layer | op | highest / float32 | high / float32 | medium / bfloat16 |", "|---|---|---|---|---|"]
    ratios: dict[str, list[float]] = {p: [] for p in PAIRS}
    for row in rows:
        cells = []
        for ours, theirs in PAIRS.items():
            best = []
            for name in (f"omniconv {ours}", f"cudnn {theirs}"):
                best.append(min((s for layout in ("nchw", "nhwc") if (s := row["seconds"].get(f"{name} {layout}"))),
                                default=0.0))  # fmt: skip
            cells.append(f"{best[1] / best[0]:.2f}" if all(best) else "-")
            if all(best):
                ratios[ours].append(best[1] / best[0])
        lines.append(f"| {row['layer']} | {row['op']} | {' | '.join(cells)} |")
    means = [f"{geometric_mean(r):.2f}" if r else "-" for r in ratios.values()]
    return "\n".join([*lines, f"| geometric mean | | {' | '.join(means)} |"])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    parser.add_argument("--steps", type=Path, help="what bench/cuda_check.sh did before")
    parser.add_argument("--dry-run", action="store_true", help="one tiny layer")
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    sets = (
        [Layer("tiny", 4, 6, 5, 3, padding=1)]
        if args.dry_run
        else [*load("im2win12"), *load("resnet50"), *LARGE_KERNELS]
    )
    batch = 1 if args.dry_run else args.batch
    rows = []
    for op in ("forward", "grad_input", "grad_weight"):
        for layer in sets:
            rows.append(measure(layer, batch, op))
            print(json.dumps({k: rows[-1][k] for k in ("layer", "op", "seconds")}), flush=True)
    steps_of_im2win = [ablation(layer, batch) for layer in (sets if args.dry_run else load("im2win12"))]
    bessel = special.rows(seconds_of)
    gpu = "emulator" if EMULATED else torch.cuda.get_device_name()
    steps = [line.split("\t") for line in args.steps.read_text().splitlines()] if args.steps else []
    result = {
        "schema": "omniconv-cuda-check/1", "gpu": gpu, "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(), "machine": machine.describe(), "steps": steps, "rows": rows,
        "im2win_ablation": steps_of_im2win, "bessel": bessel,
    }  # fmt: skip
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M")
    args.results.mkdir(parents=True, exist_ok=True)
    stem = args.results / f"cuda_check-{gpu.replace(' ', '_')}-{stamp}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1))
    text = f"{gpu}, batch {batch}: times as fast as cuDNN through PyTorch, the better layout of each\n\n{table(rows)}\n"
    text += f"\nThe steps of im2win_full\n\n{ablation_table(steps_of_im2win)}\n"
    text += f"\nBessel functions\n\n{special.table(bessel)}\n"
    stem.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
