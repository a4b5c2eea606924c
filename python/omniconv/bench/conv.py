"""The race of dense convolution: every algorithm and the peers over a set of layers, errors beside the times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import omniconv
from omniconv.bench import machine, peers
from omniconv.bench.layers import Layer
from omniconv.bench.oracle import conv2d_float64, relative_error
from omniconv.bench.peers import TORCH_NCHW, Contestant
from omniconv.bench.race import Timing, geometric_mean, race

__all__ = [
    "Settings",
    "algorithm_names",
    "busy_warning",
    "choose_algorithms",
    "measure",
    "summarise",
]

SCHEMA = "omniconv-bench-conv/1"
AUTO = "auto"
# The oracle would take the time of all others together; naming it brings it in.
_LEFT_OUT = "reference"
# CPUs: above this, a contestant that needs all its threads at the same time waits for the scheduler, others less.
_BUSY = 0.2
# Of the memory that is free: the rest is for what the estimate below does not know, such as the peers' scratch memory.
_MEMORY_SHARE = 0.8


class Settings(NamedTuple):
    """How a race is run."""

    algorithms: Sequence[str]
    peers: Sequence[str]
    precision: str = "highest"
    layout: str = "nchw"
    repeat: int | None = None
    budget: float = 3.0


def algorithm_names() -> list[str]:
    """All there are, whatever they can do."""
    return sorted(a.name for a in omniconv.algorithms((1, 1, 1, 1), (1, 1, 1, 1)))


def choose_algorithms(wish: str | None) -> list[str]:
    """The algorithms named, commas between; None: all but the reference; "all": all. ValueError for an unknown one."""
    known = algorithm_names()
    if wish is None or wish == "all":
        return [name for name in known if wish or name != _LEFT_OUT]
    chosen = [name.strip() for name in wish.split(",")]
    for name in chosen:
        if name not in known:
            raise ValueError(f"algorithms is {name!r}; allowed are all, {', '.join(known)}")
    return list(dict.fromkeys(chosen))


def _data(layer: Layer, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal data, scaled so that outputs are of size one."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal(layer.x_shape(batch), dtype=np.float32)
    fan_in = math.prod(layer.w_shape[1:])
    w = rng.standard_normal(layer.w_shape, dtype=np.float32) / np.float32(math.sqrt(fan_in))
    return x, w


def _options(layer: Layer, settings: Settings) -> dict[str, Any]:
    return {**layer.geometry, "precision": settings.precision}


def _plan(layer: Layer, batch: int, w: np.ndarray, settings: Settings, algorithm: str) -> omniconv.ConvPlan:
    return omniconv.plan_conv2d(
        layer.x_shape(batch),
        w,
        channels_last=settings.layout == "nhwc",
        algorithm=algorithm,
        **_options(layer, settings),
    )


def _survey(layer: Layer, batch: int, settings: Settings) -> list[omniconv.Algorithm]:
    """What every algorithm says, for the memory layout of the race."""
    shape = layer.x_shape(batch)
    if settings.layout == "nhwc":
        shape = (shape[0], *shape[2:], shape[1])
    layout = settings.layout.upper()
    return omniconv.algorithms(shape, layer.w_shape, layout=layout, **_options(layer, settings))


def _tensor_bytes(layer: Layer, batch: int, settings: Settings) -> int:
    """Copies of the input and outputs that exist at once: ours, one per layout of the peers, one inside PyTorch."""
    copies = 2 + len(settings.peers)
    return 4 * (math.prod(layer.x_shape(batch)) * copies + 3 * math.prod(layer.y_shape(batch)))


def _ours(
    layer: Layer, batch: int, x: np.ndarray, w: np.ndarray, settings: Settings, names: list[str]
) -> list[Contestant]:
    if settings.layout == "nhwc":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    found = []
    for name in names:
        plan = _plan(layer, batch, w, settings, name)
        call = partial(plan, x)
        found.append(Contestant(name, "algorithm", call, np.asarray, plan.workspace_bytes, plan.packed_bytes))
    return found


def _row(c: Contestant, timing: Timing, error: float, layer: Layer, batch: int, peak: float) -> dict[str, Any]:
    gflops = layer.flops(batch) / timing.median * 1e-9
    return {
        "name": c.name,
        "kind": c.kind,
        "seconds": timing.median,
        "quartiles": list(timing.quartiles),
        "runs": len(timing.runs),
        "gflops": gflops,
        "peak_percent": 100 * gflops / peak,
        "workspace_bytes": c.workspace_bytes,
        "packed_bytes": c.packed_bytes,
        "error": error,
    }


def _add_ratios(rows: list[dict[str, Any]]) -> None:
    """How many times faster each is than the best peer and than PyTorch NCHW; None where that did not run."""
    seconds = {row["name"]: row["seconds"] for row in rows if row["kind"] == "peer"}
    best = min(seconds.values(), default=None)
    nchw = seconds.get(TORCH_NCHW)
    for row in rows:
        row["vs_best_peer"] = best / row["seconds"] if best else None
        row["vs_torch_nchw"] = nchw / row["seconds"] if nchw else None


def measure_layer(
    layer: Layer, batch: int, settings: Settings, peak: float, tick: Callable[[float], None] | None = None
) -> dict[str, Any]:
    """Race one layer. The result has ``results`` (a row per contestant) and ``skipped`` (reasons by name)."""
    survey = {a.name: a for a in _survey(layer, batch, settings)}
    entry: dict[str, Any] = {
        "name": layer.name,
        "batch": batch,
        "count": layer.count,
        "x_shape": list(layer.x_shape(batch)),
        "w_shape": list(layer.w_shape),
        "options": layer.geometry,
        "text": layer.describe(),
        "flops": layer.flops(batch),
        "bytes": 4 * layer.elements(batch),
        "auto": next(a.name for a in survey.values() if a.usable),
        "skipped": {},
        "results": [],
    }
    free = machine.available_bytes()
    room = None if free is None else int(_MEMORY_SHARE * free)
    base, names = _tensor_bytes(layer, batch, settings), []
    if room is not None and base > room:
        entry["skipped"]["*"] = f"needs about {base >> 20} MiB; {room >> 20} MiB may be used"
        return entry
    for name in settings.algorithms:
        if not survey[name].usable:
            entry["skipped"][name] = survey[name].reason
        elif room is not None and base + survey[name].workspace_bytes > room:
            needed = base + survey[name].workspace_bytes
            entry["skipped"][name] = f"needs about {needed >> 20} MiB; {room >> 20} MiB may be used"
        else:
            names.append(name)
    x, w = _data(layer, batch)
    contestants = _ours(layer, batch, x, w, settings, names)
    contestants += peers.conv_peers(list(settings.peers), layer, x, w)
    truth = conv2d_float64(x[:1], w, layer)
    errors = {c.name: relative_error(c.to_numpy(c.call())[:1], truth) for c in contestants}
    timings = race({c.name: c.call for c in contestants}, repeat=settings.repeat, budget=settings.budget, tick=tick)
    rows = [_row(c, timings[c.name], errors[c.name], layer, batch, peak) for c in contestants]
    _add_ratios(rows)
    entry["results"] = rows
    return entry


def _pick(entry: dict[str, Any], name: str) -> dict[str, Any] | None:
    wanted = entry["auto"] if name == AUTO else name
    return next((row for row in entry["results"] if row["name"] == wanted), None)


def summarise(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric means per contestant over the layers that it ran, of one batch size.

    "auto" is the choice that omniconv makes by itself.
    """
    entries = [entry for entry in entries if entry["results"]]
    order = [AUTO, *dict.fromkeys(row["name"] for entry in entries for row in entry["results"])]
    fastest = {entry["name"]: min(entry["results"], key=lambda row: row["seconds"])["name"] for entry in entries}
    summary = []
    for name in order:
        rows = [(entry, row) for entry in entries if (row := _pick(entry, name))]
        if not rows:
            continue
        line: dict[str, Any] = {
            "name": name,
            "layers": len(rows),
            "of": len(entries),
            "fastest_on": sum(row["name"] == fastest[entry["name"]] for entry, row in rows),
            "peak_percent": geometric_mean(row["peak_percent"] for _, row in rows),
            "seconds": sum(row["seconds"] * entry["count"] for entry, row in rows),
            "largest_error": max(row["error"] for _, row in rows),
        }
        for ratio in ("vs_best_peer", "vs_torch_nchw"):
            values = [(row[ratio], entry["name"]) for entry, row in rows if row[ratio] is not None]
            line[ratio] = geometric_mean(value for value, _ in values) if values else None
            line[f"{ratio}_least"] = list(min(values)) if values else None
        summary.append(line)
    return summary


def busy_warning(report: dict[str, Any]) -> str:
    """What must be said of a race on a machine that did other work, else empty."""
    busy = max((cpus for cpus in report["others_busy_cpus"] if cpus is not None), default=0.0)
    return f"Other processes kept {busy:.1f} CPUs busy: do not quote these figures." if busy > _BUSY else ""


def measure(
    layers: list[Layer],
    batches: list[int],
    settings: Settings,
    *,
    progress: Callable[[str, float], None] | None = None,
    done: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Race all layers at all batch sizes with the threads in force.

    `progress` is told what runs and the part of the whole that is done, `done` every finished layer. Returns what
    ``--json`` writes: machine, settings, rates, ``layers`` (see `measure_layer`) and ``summary`` per batch size.
    """

    def tell(what: str, part: float) -> None:
        if progress:
            progress(what, part)

    def part_of(what: str, before: float, weight: float, part: float) -> None:
        tell(what, (before + part * weight) / whole)

    peers.set_threads(list(settings.peers), omniconv.get_num_threads())
    tell("rates of the machine", 0)
    busy = [machine.busy_cpus()]
    multiply, copy = machine.multiply_rate(), machine.copy_rate()
    # Long layers count for more; every layer takes its budget at least.
    jobs = [(layer, batch, 1e11 + layer.flops(batch)) for batch in batches for layer in layers]
    whole, before, entries = sum(weight for _, _, weight in jobs), 0.0, []
    for layer, batch, weight in jobs:
        what = f"{layer.name}, batch {batch}"
        tell(what, before / whole)
        tick = partial(part_of, what, before, weight)
        entries.append(measure_layer(layer, batch, settings, multiply["gflops"], tick))
        before += weight
        if done:
            done(entries[-1])
    tell("done", 1)
    busy.append(machine.busy_cpus())
    return {
        "schema": SCHEMA,
        "machine": machine.describe(),
        "settings": {**settings._asdict(), "batches": list(batches)},
        "others_busy_cpus": busy,
        "multiply_rate": multiply,
        "copy_rate": copy,
        "layers": entries,
        "summary": {str(b): summarise([entry for entry in entries if entry["batch"] == b]) for b in batches},
    }
