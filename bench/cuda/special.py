"""The Bessel functions on a GPU: times beside the CPU's kernels, and beside PyTorch where it has the function."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from bench.cuda.arrays import DEVICE, EMULATED
from omniconv import special

RANGES = {"(0, 150)": (0.0, 150.0), "(150, 1e4)": (150.0, 1e4)}
FUNCTIONS = ("log_iv", "log_kv", "iv_ratio", "log_iv_grad", "log_kv_grad")
ROUNDS = 5


def host_seconds(call: Callable[[], Any]) -> float:
    """Of one call on the CPU."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def calls_of(v: torch.Tensor, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """What to call, by name."""
    calls: dict[str, Callable[[], Any]] = {name: partial(getattr(special, name), v, x) for name in FUNCTIONS}
    calls["log_ive of order 0"] = lambda: special.log_ive(0, x)
    calls["PyTorch log(i0e)"] = lambda: torch.log(torch.special.i0e(x))
    return calls


def rows(seconds_of: Callable[[Callable[[], Any]], float]) -> list[dict[str, Any]]:
    """Nanoseconds per value of every function, type and range, and the largest difference from the CPU's results."""
    count, some = (200, 200) if EMULATED else (1 << 24, 1 << 18)  # on the GPU, on the CPU
    rounds = 1 if EMULATED else ROUNDS
    found = []
    for dtype in (torch.float32, torch.float64):
        for where, (low, high) in RANGES.items():
            torch.manual_seed(2)
            v, x = (torch.rand(count, dtype=dtype) * (high - low) + low for _ in range(2))
            host = calls_of(v[:some], x[:some])
            for name, call in calls_of(v.to(DEVICE), x.to(DEVICE)).items():
                row: dict[str, Any] = {"function": name, "dtype": str(dtype).removeprefix("torch."), "range": where}
                row["ns"] = statistics.median(seconds_of(call) for _ in range(rounds)) / count * 1e9
                row["cpu_ns"] = statistics.median(host_seconds(host[name]) for _ in range(rounds)) / some * 1e9
                got, want = (torch.stack(r) if isinstance(r, tuple) else r for r in (call(), host[name]()))
                got = got[..., :some].cpu()
                row["difference"] = float(((got - want).abs() / want.abs().clamp(min=1)).max())
                found.append(row)
    return found


def table(found: list[dict[str, Any]]) -> str:
    """One line for each row."""
    lines = ["| function | type | v and x in | ns per value | on the CPU | difference |", "|---|---|---|---|---|---|"]
    for row in found:
        cells = [f"{row['ns']:.4f}", f"{row['cpu_ns']:.2g}", f"{row['difference']:.1e}"]
        lines.append(f"| {row['function']} | {row['dtype']} | {row['range']} | {' | '.join(cells)} |")
    return "\n".join(lines)
