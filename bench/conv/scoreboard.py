"""The scoreboard of dense convolution: omniconv's precisions beside its peers on the layers of networks, losses kept.

    python -m bench.conv.scoreboard im2win12 --batch 1 16 --out bench/results/conv_avx512.json
    python -m bench.conv.scoreboard --show bench/results/conv_avx512.json

A set is a name of SETS, or what `omniconv.bench.layers.load` takes. A file is added to, so that sets can be measured
one after the other; what it has of the same layers is replaced, or, with --resume, kept. All contestants of a layer run
in one race with the same threads: PyTorch NCHW, channels_last, and oneDNN's blocked layout with its weights prepacked
and no conversion timed; ONNX Runtime and OpenVINO where they are installed. omniconv's weights are prepacked, its x and
y are NCHW, or NHWC on demand. A ratio is the time of a peer over that of omniconv. Errors are relative, L2, against
float64, with a batch of 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import omniconv
from bench.conv.data import KINDS
from omniconv.bench import layers, machine, peers
from omniconv.bench.layers import Layer
from omniconv.bench.oracle import conv2d_float64, grad_weight_float64, plain_float32, relative_error
from omniconv.bench.peers import Contestant
from omniconv.bench.race import LONG_SETTLE, race

__all__ = ["SETS", "LayerSet", "measure", "merge"]

SCHEMA = "omniconv-scoreboard/1"
PRECISIONS = ("highest", "high", "medium")
PLAIN, PLAIN_CHANNELS = "plain float32", 4  # the chain is slow in NumPy; a few channels tell its error


class LayerSet(NamedTuple):
    """What is measured under one name."""

    layers: tuple[str, ...]  #: each as `omniconv.bench.layers.load` takes it
    op: str = "forward"


SETS = {
    "im2win12": LayerSet(("im2win12",)),
    "resnet50": LayerSet(("resnet50",)),
    "convnext_tiny": LayerSet(("convnext_tiny",)),
    "inception_next_tiny": LayerSet(("inception_next_tiny",)),
    "unireplknet_t": LayerSet(("unireplknet_t",)),
    "mobilenet_v2": LayerSet(("mobilenet_v2",)),
    "grad_weight": LayerSet(("im2win12", "resnet50", "convnext_tiny"), "grad_weight"),
}


def load(name: str) -> tuple[list[Layer], str]:
    """The layers of a set and what is done with them. Products of a single pixel, as in classifiers, are left out."""
    chosen = SETS.get(name, LayerSet((name,)))
    found = layers.distinct([layer for each in chosen.layers for layer in layers.load(each)])
    return [layer for layer in found if layer.h * layer.w > 1], chosen.op


# ---- contestants ---------------------------------------------------------------------------------------------------


def _ours(layer: Layer, op: str, x: np.ndarray, other: np.ndarray, layout: str) -> dict[str, tuple[Contestant, str]]:
    """By precision: the contestant, and the name of its algorithm. `other`: weights, or the gradient of the output."""
    last = layout == "nhwc"
    if last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    found = {}
    for precision in PRECISIONS:
        how = {**layer.geometry, "precision": precision}
        call: Callable[[], Any]
        if op == "forward":
            plan = omniconv.plan_conv2d(x.shape, other, channels_last=last, **how)
            call, algorithm = lambda plan=plan: plan(x), plan.algorithm
        else:
            shape = (x.shape[0], *x.shape[2:], x.shape[1]) if last else x.shape
            said = omniconv.algorithms(shape, layer.w_shape, op=op, layout=layout.upper(), **how)
            call, algorithm = lambda how=how: omniconv.conv2d_grad_weight(other, x, layer.w_shape, **how), said[0].name
        found[precision] = Contestant(precision, "omniconv", call, np.asarray), algorithm
    return found


def _contestants(
    layer: Layer, batch: int, op: str, chosen: list[str], layout: str, kind: str
) -> tuple[dict[str, tuple[Contestant, str]], list[Contestant], np.ndarray, np.ndarray]:
    """Ours, the peers, x and w (or the gradient of the output)."""
    rng = np.random.default_rng(1)
    x, other = KINDS[kind](layer, batch, rng)
    make = peers.conv_peers
    if op == "grad_weight":
        # The gradient is to x what w is: of one kind with it.
        oh, ow = layer.out
        other = KINDS[kind](Layer("gradient", layer.co, oh, layer.co, 1, ow, groups=layer.co), batch, rng)[0]
        make = peers.grad_weight_peers
    return _ours(layer, op, x, other, layout), make(chosen, layer, x, other), x, other


def _distinct(ours: dict[str, tuple[Contestant, str]]) -> tuple[list[Contestant], dict[str, str]]:
    """The contestants that differ, and for each precision which one it is: one algorithm, the same bits."""
    racing: dict[str, np.ndarray] = {}
    same = {}
    for precision, (contestant, algorithm) in ours.items():
        y = np.array(contestant.call())
        same[precision] = next(
            (p for p, z in racing.items() if ours[p][1] == algorithm and np.array_equal(y, z, equal_nan=True)),
            precision,
        )
        racing.setdefault(same[precision], y)
    return [ours[precision][0] for precision in racing], same


def errors(layer: Layer, op: str, chosen: list[str], layout: str) -> dict[str, dict[str, float]]:
    """By contestant and kind of data; `PLAIN` is one chain of float32 multiplications and additions."""
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        ours, others, x, other = _contestants(layer, 1, op, chosen, layout, kind)
        truth = (conv2d_float64 if op == "forward" else grad_weight_float64)(x, other, layer)
        for contestant in [c for c, _ in ours.values()] + others:
            y = contestant.to_numpy(contestant.call())
            found.setdefault(contestant.name, {})[kind] = relative_error(y, truth)
        if op == "forward":
            some = min(PLAIN_CHANNELS, layer.co)
            error = relative_error(plain_float32(x, other, layer, some), truth[:, :some])
            found.setdefault(PLAIN, {})[kind] = error
    return found


# ---- measuring -----------------------------------------------------------------------------------------------------


def _too_large(layer: Layer, batch: int, contestants: int) -> str:
    """Why the layer is left out, or nothing. Every contestant may hold a copy of x, of y, and of one on the way."""
    free = machine.available_bytes()
    needed = 4 * contestants * (np.prod(layer.x_shape(batch)) + 2 * np.prod(layer.y_shape(batch)))
    if free is None or needed <= 0.8 * free:
        return ""
    return f"needs about {int(needed) >> 20} MiB; {free >> 20} MiB are free"


def _entry(
    layer: Layer, batch: int, op: str, chosen: list[str], layout: str, budget: float, repeat: int | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "layer": layer.name, "batch": batch, "op": op, "layout": layout, "text": layer.describe(),
        "count": layer.count, "flops": layer.flops(batch), "bytes": 4 * layer.elements(batch), "skipped": {},
    }  # fmt: skip
    if reason := _too_large(layer, batch, len(PRECISIONS) + len(chosen)):
        return entry | {"skipped": {"*": reason}}
    ours, others, _, _ = _contestants(layer, batch, op, chosen, layout, "normal")
    racing, same = _distinct(ours)
    entry["skipped"] = {c: "has no such operation" for c in chosen if c not in [other.name for other in others]}
    calls = {c.name: c.call for c in racing + others}
    with machine.OtherWork() as elsewhere:
        timings = race(calls, budget=budget, repeat=repeat, warm=True, settle=LONG_SETTLE)
    entry["algorithms"] = {precision: algorithm for precision, (_, algorithm) in ours.items()}
    entry["seconds"] = {p: timings[same[p]].median for p in PRECISIONS} | {
        c.name: timings[c.name].median for c in others
    }
    # Distance of the quartiles over the median.
    entry["spread"] = {n: (t.quartiles[1] - t.quartiles[0]) / t.median for n, t in timings.items()}
    entry["runs"] = {name: len(timing.runs) for name, timing in timings.items()}
    entry["others_busy_cpus"] = elsewhere.cpus
    return entry


def measure(
    name: str,
    batches: Sequence[int],
    chosen: list[str],
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    layout: str = "nchw",
    budget: float = 2.0,
    repeat: int | None = None,
    known: Sequence[dict[str, Any]] = (),
    resume: bool = False,
    done: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> list[dict[str, Any]]:
    """Race the layers of a set; `only`: those of these names; `quick`: one round of the two smallest.

    `known` entries: where one has errors of a layer no others are made, for they do not depend on the batch; with
    `resume` what they have is left out.
    """
    found, op = load(name)
    if only:
        unknown = [each for each in only if each not in [layer.name for layer in found]]
        if unknown:
            raise ValueError(
                f"set {name} has no layers {', '.join(unknown)}; it has {', '.join(v.name for v in found)}"
            )
        found = [layer for layer in found if layer.name in only]
    if quick:
        found, repeat = sorted(found, key=lambda layer: layer.flops(1))[:2], 1
    peers.set_threads(chosen, omniconv.get_num_threads())
    entries = []
    for layer in found:
        for batch in batches:
            key = {"set": name, "layer": layer.name, "layout": layout}
            alike = [e for e in known if key.items() <= e.items()]
            if resume and any(e["batch"] == batch for e in alike):
                continue
            wrong = {} if any("errors" in e for e in alike) else {"errors": errors(layer, op, chosen, layout)}
            entries.append(key | _entry(layer, batch, op, chosen, layout, budget, repeat) | wrong)
            known = [*known, entries[-1]]
            done(entries[-1])
    return entries


# ---- files ---------------------------------------------------------------------------------------------------------


def _about() -> dict[str, Any]:
    told = machine.describe()
    return {
        name: told[name] for name in ("date", "cpu", "cpus", "caches", "omniconv", "compiler", "isa", "threads")
    } | {"versions": {n: v for n, v in told["versions"].items() if n in ("numpy", "torch", "onnxruntime", "openvino")}}


def merge(report: dict[str, Any] | None, entries: list[dict[str, Any]], missing: dict[str, str]) -> dict[str, Any]:
    """A report with these entries in place of those of the same set, layer, batch and layout.

    ValueError where the report is of another machine, number of threads or version of anything that was raced.
    """
    about = _about()
    if report is None:
        report = {"schema": SCHEMA, "machine": about, "not_installed": missing, "entries": []}
    for name in about.keys() - {"date"}:
        if report["machine"].get(name) != about[name]:
            raise ValueError(
                f"the file was measured with {name} {report['machine'].get(name)}; here it is {about[name]}"
            )
    known = {_key(entry): entry for entry in report["entries"]}
    for entry in entries:  # what is measured again keeps its errors
        known[_key(entry)] = {n: v for n, v in known.get(_key(entry), {}).items() if n == "errors"} | entry
    return report | {"machine": about, "entries": list(known.values())}


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("set", "layer", "batch", "layout"))


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no scoreboard: its schema is not {SCHEMA}")
    return report


def _rounded(value: Any, digits: int = 4) -> Any:
    """Four digits of a time, two of an error or a spread, are more than a race can tell."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {name: _rounded(v, 2 if name in ("errors", "spread") else digits) for name, v in value.items()}
    return [_rounded(v, digits) for v in value] if isinstance(value, (list, tuple)) else value


def _write(path: Path, report: dict[str, Any]) -> None:
    """A line for each layer, so that a difference can be read."""
    head = json.dumps({name: value for name, value in report.items() if name != "entries"}, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(_rounded(entry)) for entry in report["entries"])
    path.write_text(f'{head},\n "entries": [\n{lines}\n ]\n}}\n')


def main() -> None:
    from bench.conv.scoreboard_text import layer_line, text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sets", nargs="*", metavar="SET", help=f"{', '.join(SETS)}, a model, a CSV file; all if left out"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="batch sizes")
    parser.add_argument("--layers", default="", help="names of layers, commas between; all if left out")
    parser.add_argument("--peers", help=f"{', '.join(peers.names())}, all that are installed, or none")
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of omniconv's x and y")
    parser.add_argument("--threads", type=int, help="of omniconv and the peers alike")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds for each layer; 3 rounds run at least")
    parser.add_argument("--quick", action="store_true", help="one round of the two smallest layers of each set")
    parser.add_argument("--resume", action="store_true", help="leave out what the file has")
    parser.add_argument("--out", type=Path, help="JSON file to add to")
    parser.add_argument("--show", type=Path, help="print the tables of a JSON file, measure nothing")
    told = parser.parse_args()
    try:
        if told.show:
            report = _read(told.show)
            if report is None:
                raise ValueError(f"{told.show} does not exist")
            print(text(report))
            return
        if told.threads is not None:
            omniconv.set_num_threads(told.threads)
        chosen, report = peers.choose(told.peers), _read(told.out) if told.out else None
        report = merge(report, [], peers.missing())  # an error now, not after minutes

        def keep(entry: dict[str, Any]) -> None:
            nonlocal report
            print(layer_line(entry), flush=True)
            report = merge(report, [entry], peers.missing())
            if told.out:
                _write(told.out, report)

        for name in told.sets or SETS:
            measure(
                name, told.batch, chosen, only=[n for n in told.layers.split(",") if n], quick=told.quick,
                layout=told.layout, budget=told.budget, known=report["entries"], resume=told.resume, done=keep,
            )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    if not told.out:
        print(text(report))


if __name__ == "__main__":
    main()
