"""Long convolutions beside their peers: nanoseconds per output of float32, causal, and the error of each.

"forward" has gates and skip and a kernel that was transformed before, for omniconv and the FFT recipes alike;
"training" is one forward and backward of every array in PyTorch, kernels transformed in it; "short" convolves with
fewer taps than samples, without gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import omniconv
from omniconv.bench import machine
from omniconv.bench.race import geometric_mean, race

__all__ = ["KINDS", "Problem", "measure", "problems"]

KINDS = ("forward", "training", "short")
_DIRECT_TAPS = 512  # more would keep torch.conv1d busy for minutes


class Problem(NamedTuple):
    """u [batch, channels, length], k [channels, taps]."""

    kind: str
    batch: int
    channels: int
    length: int
    taps: int

    @property
    def outputs(self) -> int:
        """Elements of y."""
        return self.batch * self.channels * self.length


def problems(lengths: list[int], kinds: list[str], samples: int = 1 << 22) -> list[Problem]:
    """One problem of about `samples` outputs per kind and length; "short" ones for 64, 1024 and 16384 taps."""
    found = []
    for kind in kinds:
        for length in lengths:
            channels = max(1, samples // (2 * length))
            taps = [k for k in (64, 1024, 16384) if 4 * k <= length] if kind == "short" else [length]
            found += [Problem(kind, 2, channels, length, k) for k in taps]
    return found


def _arrays(p: Problem, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = (p.batch, p.channels, p.length)
    arrays = {n: rng.standard_normal(rows, np.float32) for n in ("u", "pre", "post", "grad")}
    arrays["k"] = rng.standard_normal((p.channels, p.taps), np.float32) * np.exp(
        -8 * np.arange(p.taps, dtype=np.float32) / p.taps
    )
    arrays["skip"] = rng.standard_normal(p.channels, np.float32)
    return arrays


def _truth(p: Problem, a: dict[str, np.ndarray]) -> np.ndarray:
    """The result y of the first sample's first channel, in float64."""
    gated = p.kind != "short"
    v = a["u"][0, 0].astype(np.float64) * (a["pre"][0, 0] if gated else 1)
    n = p.length + p.taps
    y = np.fft.irfft(np.fft.rfft(v, n) * np.fft.rfft(a["k"][0].astype(np.float64), n), n)[: p.length]
    return a["post"][0, 0] * (y + a["skip"][0] * v) if gated else y


def _size(p: Problem) -> int:
    return 1 << (p.length + p.taps - 1).bit_length()


def _omniconv(p: Problem, a: dict[str, np.ndarray]) -> Callable[[], Any]:
    if p.kind == "training":
        import omniconv.torch as ot

        return _training(a, lambda u, k, pre, post, skip: ot.fft_conv(u, k, pre_gate=pre, post_gate=post, skip=skip))
    spectrum = omniconv.KernelSpectrum(a["k"], length=p.length)
    if p.kind == "short":
        return lambda: omniconv.fft_conv(a["u"], spectrum)
    return lambda: omniconv.fft_conv(a["u"], spectrum, pre_gate=a["pre"], post_gate=a["post"], skip=a["skip"])


def _training(a: dict[str, np.ndarray], conv: Callable[..., Any]) -> Callable[[], Any]:
    import torch

    leaves = [torch.from_numpy(a[n]).clone().requires_grad_() for n in ("u", "k", "pre", "post", "skip")]
    grad = torch.from_numpy(a["grad"])

    def step() -> Any:
        for leaf in leaves:
            leaf.grad = None
        y = conv(*leaves)
        y.backward(grad)
        return y.detach()

    return step


def _torch_rfft(p: Problem, a: dict[str, np.ndarray]) -> Callable[[], Any]:
    import torch

    n = _size(p)

    def recipe(u: Any, spectrum: Any, pre: Any, post: Any, skip: Any) -> Any:
        v = u * pre
        y = torch.fft.irfft(torch.fft.rfft(v, n) * spectrum, n)[..., : p.length]
        return post * (y + skip[:, None] * v)

    if p.kind == "training":
        return _training(a, lambda u, k, *rest: recipe(u, torch.fft.rfft(k, n), *rest))
    u, k, pre, post, skip = (torch.from_numpy(a[name]) for name in ("u", "k", "pre", "post", "skip"))
    spectrum = torch.fft.rfft(k, n)
    if p.kind == "short":
        return lambda: torch.fft.irfft(torch.fft.rfft(u, n) * spectrum, n)[..., : p.length]
    return lambda: recipe(u, spectrum, pre, post, skip)


def _scipy_rfft(p: Problem, a: dict[str, np.ndarray]) -> Callable[[], Any] | None:
    if p.kind != "forward":
        return None
    from scipy import fft

    n, workers = _size(p), omniconv.get_num_threads()
    spectrum = fft.rfft(a["k"], n)

    def recipe() -> np.ndarray:
        v = a["u"] * a["pre"]
        y = fft.irfft(fft.rfft(v, n, workers=workers) * spectrum, n, workers=workers)[..., : p.length]
        return a["post"] * (y + a["skip"][:, None] * v)

    return recipe


def _scipy_oaconvolve(p: Problem, a: dict[str, np.ndarray]) -> Callable[[], Any] | None:
    if p.kind != "short":
        return None
    from scipy import signal

    return lambda: signal.oaconvolve(a["u"], a["k"][None], axes=-1)[..., : p.length]


def _torch_conv1d(p: Problem, a: dict[str, np.ndarray]) -> Callable[[], Any] | None:
    if p.kind != "short" or p.taps > _DIRECT_TAPS:
        return None
    import torch

    u, w = torch.from_numpy(a["u"]), torch.from_numpy(a["k"][:, ::-1].copy())[:, None]
    return lambda: torch.conv1d(torch.nn.functional.pad(u, (p.taps - 1, 0)), w, groups=p.channels)


PEERS: dict[str, Callable[[Problem, dict[str, np.ndarray]], Callable[[], Any] | None]] = {
    "torch rfft": _torch_rfft, "scipy rfft": _scipy_rfft, "scipy oaconvolve": _scipy_oaconvolve,
    "torch conv1d": _torch_conv1d,
}  # fmt: skip


def _entry(p: Problem, seed: int, budget: float, repeat: int | None) -> dict[str, Any]:
    a = _arrays(p, seed)
    calls, skipped = {"omniconv": _omniconv(p, a)}, {}
    for name, make in PEERS.items():
        try:
            call = make(p, a)
        except ImportError as missing:
            skipped[name] = f"{missing.name} is not installed"
            continue
        if call is not None:
            calls[name] = call
    times = race(calls, budget=budget, repeat=repeat)
    truth, rows = _truth(p, a), []
    for name, call in calls.items():
        found = np.asarray(call())[0, 0].astype(np.float64)
        rows.append(
            {
                "name": name,
                "seconds": times[name].median,
                "ns": times[name].median / p.outputs * 1e9,
                "ratio": times[name].median / times["omniconv"].median,
                "error": float(np.linalg.norm(found - truth) / np.linalg.norm(truth)),
            }
        )
    plan = omniconv.fft_conv_algorithms(p.length, p.taps)[0].name
    return {**p._asdict(), "algorithm": plan, "results": rows, "skipped": skipped}


def measure(
    work: list[Problem],
    *,
    seed: int = 0,
    budget: float = 2.0,
    repeat: int | None = None,
    progress: Callable[[str, float], None] = lambda what, part: None,
) -> dict[str, Any]:
    """Every problem: a report for JSON and the table. `ratios` are geometric means over "torch rfft" per kind."""
    entries = []
    for done, p in enumerate(work):
        progress(f"{p.kind}, L = {p.length}, K = {p.taps}", done / len(work))
        entries.append(_entry(p, seed, budget, repeat))
    ratios = {}
    for kind in dict.fromkeys(p.kind for p in work):
        found = [r["ratio"] for e in entries if e["kind"] == kind for r in e["results"] if r["name"] == "torch rfft"]
        ratios[kind] = geometric_mean(found) if found else None
    return {"schema": "omniconv-bench-fft/1", "machine": machine.describe(), "entries": entries, "ratios": ratios}
