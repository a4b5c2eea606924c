"""The machine: what it is, which versions run on it, how fast it multiplies and moves memory."""

from __future__ import annotations

import datetime
import importlib.metadata
import itertools
import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import omniconv
from omniconv import _core
from omniconv.bench.race import race

__all__ = [
    "OtherWork",
    "available_bytes",
    "busy_cpus",
    "copy_rate",
    "cpu_name",
    "describe",
    "hardware",
    "multiply_rate",
    "versions",
]

# CuPy is one import name and several distributions, one per CUDA version.
_DISTRIBUTIONS = (
    "numpy",
    "scipy",
    "torch",
    "onnxruntime",
    "openvino",
    "jax",
    "jaxlib",
    "cupy",
    "cupy-cuda12x",
    "cupy-cuda13x",
)


def versions() -> dict[str, str]:
    """Versions of what is installed beside omniconv, read without importing it."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def cpu_name() -> str:
    """The CPU's model, as it calls itself."""
    for line in _text("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _caches() -> dict[str, str]:
    """Size of each cache that the first CPU sees, as the system words it: {"L1d": "48K", ...}."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        letter = {"Data": "d", "Instruction": "i"}.get(_text(folder / "type"), "")
        sizes[f"L{_text(folder / 'level')}{letter}"] = _text(folder / "size")
    return sizes


def _memory_fields() -> dict[str, int]:
    pairs = (line.split(":") for line in _text("/proc/meminfo").splitlines() if ":" in line)
    return {name: int(rest.split()[0]) << 10 for name, rest in pairs}


def _group_room() -> Iterator[int]:
    """Bytes that memory limits of the container leave, cgroup v2 and v1."""
    root = Path("/sys/fs/cgroup")
    for limit, used in (
        (root / "memory.max", root / "memory.current"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes"),
    ):
        if _text(limit).isdigit() and _text(used).isdigit():
            yield int(_text(limit)) - int(_text(used))


def available_bytes() -> int | None:
    """Memory that can be allocated without swapping; None where the system does not say."""
    free = _memory_fields().get("MemAvailable")
    return None if free is None else max(0, min([free, *_group_room()]))


def _busy_ticks() -> int:
    """CPU time of the whole machine, and what its host took away, in clock ticks."""
    user, nice, system, _idle, _wait, irq, soft, stolen = map(int, _text("/proc/stat").split()[1:9])
    return user + nice + system + irq + soft + stolen


def busy_cpus(seconds: float = 0.5) -> float | None:
    """CPUs that other processes use while this one sleeps; None where the system does not say."""
    if not os.path.exists("/proc/stat"):
        return None
    before, start = _busy_ticks(), time.perf_counter()
    time.sleep(seconds)
    return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - start)


class OtherWork:
    """CPUs that other processes use during a ``with`` block: `cpus`, None where the system does not say."""

    cpus: float | None = None

    def _spent(self) -> tuple[float, float]:
        """Wall time, and CPU time of all other processes."""
        own = os.times()
        return time.perf_counter(), _busy_ticks() / os.sysconf("SC_CLK_TCK") - own.user - own.system

    def __enter__(self) -> OtherWork:
        self._before = self._spent() if os.path.exists("/proc/stat") else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            (start, before), (end, after) = self._before, self._spent()
            self.cpus = max(0.0, (after - before) / max(end - start, 1e-9))


def hardware() -> dict[str, Any]:
    """The machine and its operating system."""
    return {
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "caches": _caches(),
        "memory_bytes": _memory_fields().get("MemTotal"),
        "system": platform.platform(),
    }


def describe() -> dict[str, Any]:
    """Machine, versions, threads, compiler and date: what must stand beside a measurement."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **hardware(),
        "python": platform.python_version(),
        "omniconv": omniconv.__version__,
        "compiler": _core.compiler,
        "isa": omniconv.isa(),
        "threads": omniconv.get_num_threads(),
        "versions": versions(),
    }


def multiply_rate() -> dict[str, Any]:
    """The fastest float32 multiply-adds seen, in GFLOP/s: of 1x1 convolutions whose weights stay in the cache.

    The shapes are the easiest for omniconv's own kernels, so this is a lower bound on the peak of the machine, not
    the figure of its data sheet; a better kernel can go past it. Uses the threads in force.
    """
    rng = np.random.default_rng(0)
    best = 0.0
    for channels, pixels in ((128, 1024), (256, 1024), (512, 2048)):
        w = rng.standard_normal((channels, channels, 1, 1), dtype=np.float32)
        x = rng.standard_normal((1, 1, pixels, channels), dtype=np.float32)
        out = np.empty_like(x)
        plan = omniconv.plan_conv2d(x.shape, w, layout="NHWC")
        seconds = race({"conv": lambda plan=plan, x=x, out=out: plan(x, out=out)}, budget=0.25)["conv"].best
        best = max(best, plan.flops / seconds * 1e-9)
    return {"gflops": best, "how": "best call of the fastest of three 1x1 convolutions by omniconv, float32"}


def copy_rate() -> dict[str, Any]:
    """Bytes per second that a copy between buffers larger than the caches reads and writes, in GB/s."""
    free = available_bytes() or 1 << 30
    size = min(1 << 28, free // 8)
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    threads = omniconv.get_num_threads()
    parts = np.linspace(0, size, threads + 1).astype(int)
    slices = [slice(a, b) for a, b in itertools.pairwise(parts)]
    with ThreadPoolExecutor(threads) as pool:  # NumPy copies without the GIL

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), slices))

        seconds = race({"copy": copy}, budget=0.5)["copy"].best
    return {
        "gbytes": 2 * size / seconds * 1e-9,
        "how": f"best copy of {size >> 20} MiB, bytes read plus bytes written",
    }
