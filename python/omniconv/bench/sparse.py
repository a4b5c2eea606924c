"""Sparse convolution on a synthetic LiDAR sweep, CSR times rows, and masked convolution, beside their peers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import omniconv
from omniconv import sparse
from omniconv.bench import machine
from omniconv.bench.race import race

__all__ = ["RATES", "lidar", "measure", "power_graph"]

RATES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)  # parts of the counts that are not zero


def lidar(beams: int = 64, seed: int = 0) -> np.ndarray:
    """Points [N, 3] in metres of one turn of a scanner 1.8 m above flat ground, 3600 steps, among boxes and foliage.

    Boxes are cars and houses; a beam that meets foliage ends at a random depth in it. Numbers are chosen so that 64
    beams come near a sweep of a real scanner, which has 125,655 voxels of 0.1 m with 6.3 pairs each under 3x3x3 taps.
    """
    rng = np.random.default_rng(seed)
    azimuth = np.repeat(np.linspace(0, 2 * np.pi, 3600, endpoint=False), beams)
    elevation = np.tile(np.linspace(-0.26, 0.042, beams), 3600)
    way = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    reach = np.where(way[2] < 0, -1.8 / np.minimum(way[2], -1e-9), np.inf)
    for _ in range(47):
        distance, angle = rng.uniform(19, 104), rng.uniform(0, 2 * np.pi)
        kind = rng.choice(["foliage", "house", "car"], p=[0.52, 0.34, 0.14])
        half = {"foliage": rng.uniform(1, 4, 2), "house": rng.uniform(3, 10, 2), "car": rng.permutation([2.1, 0.9])}[
            kind
        ]
        centre = distance * np.array([np.cos(angle), np.sin(angle)])
        low, high = (
            np.append(centre - half, -1.8),
            np.append(centre + half, 1.5 if kind == "car" else rng.uniform(1.2, 8.2)),
        )
        with np.errstate(divide="ignore"):
            ends = np.stack([low[:, None] / way, high[:, None] / way])
        near, far = ends.min(0).max(0), ends.max(0).min(0)
        hit = (near < far) & (near > 0)
        if kind == "foliage":
            near = near + rng.exponential(3.2, near.size)
            hit &= near < far
        hit &= near < reach
        reach[hit] = near[hit]
    seen = reach < 88
    return ((reach + rng.normal(0, 0.045, reach.size))[seen] * way[:, seen]).T


def power_graph(nodes: int, edges: int, seed: int = 0) -> sparse.Graph:
    """A normalised graph in which few nodes have most of the edges."""
    rng = np.random.default_rng(seed)
    return sparse.gcn_norm(sparse.Graph.from_edges((nodes * rng.random((2, edges)) ** 3).astype(np.int64), nodes))


def _torch_conv(triples: np.ndarray, x: np.ndarray, w: np.ndarray) -> Callable[[], Any]:
    """Per tap gather, GEMM and scatter: how sparse convolution is written in PyTorch."""
    import torch

    xt, taps = torch.from_numpy(x), w.reshape(*w.shape[:2], -1)
    steps = []
    for t in range(taps.shape[2]):
        rows = torch.from_numpy(triples[triples[:, 2] == t].astype(np.int64))
        steps.append((rows[:, 0].contiguous(), rows[:, 1].contiguous(), torch.from_numpy(taps[:, :, t].T.copy())))

    def run() -> Any:
        y = torch.zeros(len(x), w.shape[0], dtype=xt.dtype)
        for i, o, m in steps:
            y.index_add_(0, o, xt[i] @ m)
        return y

    return run


def _spconv(st: sparse.SparseTensor, w: np.ndarray) -> Callable[[], Any]:
    """The CPU wheel of spconv, its index pairs found before."""
    import spconv.pytorch as spconv
    import torch

    layer = spconv.SubMConv3d(w.shape[1], w.shape[0], 3, bias=False, indice_key="pairs")
    layer.weight.data = torch.from_numpy(np.ascontiguousarray(w.transpose(0, 2, 3, 4, 1)))
    coords = np.concatenate([st.coords[:, :1], st.coords[:, 1:] - st.coords[:, 1:].min(0)], 1)  # none negative
    coords, shape = torch.from_numpy(coords), [int(n) for n in coords[:, 1:].max(0) + 1]
    rows = torch.from_numpy(st.features)
    with torch.no_grad():
        known = layer(spconv.SparseConvTensor(rows, coords, shape, 1)).replace_feature(rows)

    def run() -> Any:
        with torch.no_grad():
            return layer(known).features

    return run


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of omniconv and of PyTorch, with it of the extensions on its threads."""
    import torch

    before = omniconv.get_num_threads(), torch.get_num_threads()
    omniconv.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        omniconv.set_num_threads(before[0])
        torch.set_num_threads(before[1])


def _entry(kind: str, channels: int, calls: dict, flops: float, truth: Any, how: dict[str, Any]) -> dict[str, Any]:
    errors = {}
    if truth is not None:
        for name, call in calls.items():  # the worst of three calls: a peer may race with itself
            found = (np.linalg.norm(np.asarray(call()) - truth) for _ in range(3))
            errors[name] = float(max(found) / np.linalg.norm(truth))
    times = {name: t.median for name, t in race(calls, **how).items()}
    ours = times["omniconv"]
    results = [
        {
            "name": name,
            "seconds": seconds,
            "gflops": flops / seconds / 1e9 if flops else None,
            "ratio": seconds / ours,
            "error": errors.get(name),
        }
        for name, seconds in times.items()
    ]
    return {"kind": kind, "channels": channels, "results": results}


def _conv_entries(st: sparse.SparseTensor, c: int, how: dict[str, Any]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(c)
    x, g = rng.standard_normal((2, len(st), c), dtype=np.float32)
    w = rng.standard_normal((c, c, 3, 3, 3), dtype=np.float32) / np.float32((10 * c) ** 0.5)
    st, plan = st.replace(x), sparse.plan(st)
    flops = 2.0 * plan.map.pairs * c * c
    calls = {"omniconv": lambda: sparse.conv(st, w, plan=plan).features}
    peers = {
        "torch gather-GEMM-scatter": lambda: _torch_conv(plan.triples(), x, w),
        "spconv": lambda: _spconv(st, w),
    }
    for name, make in peers.items():
        try:
            calls[name] = make()
        except ModuleNotFoundError:
            pass
    truth = sparse.conv(st.replace(x.astype(np.float64)), w.astype(np.float64), plan=plan).features
    entries = [_entry("forward", c, calls, flops, truth, how)]
    if "spconv" in calls:  # whose threads write to the same rows: with two, some results are wrong
        with _one_thread():
            alone = {name: calls[name] for name in ("omniconv", "spconv")}
            entries.append(_entry("forward, one thread", c, alone, flops, truth, how))
    for kind, call in {
        "gradient of x": lambda: sparse.conv_grad_input(g, w, plan),
        "gradient of w": lambda: sparse.conv_grad_weight(g, x, w.shape, plan),
    }.items():
        entries.append(_entry(kind, c, {"omniconv": call}, flops, None, how))
    return entries


def _spike_entry(st: sparse.SparseTensor, c: int, rate: float, how: dict[str, Any]) -> dict[str, Any]:
    """Counts to 4 by int8 weights, by each algorithm, beside the same numbers in float32."""
    rng = np.random.default_rng(c)
    counts = rng.integers(1, 5, (len(st), c), dtype=np.uint8) * (rng.random((len(st), c)) < rate)
    spikes, plan = sparse.SpikeTensor.at(st, counts), sparse.plan(st)
    values = rng.integers(-127, 128, (c, c, 3, 3, 3)).astype(np.int8)
    weight, floats, w = sparse.SpikeWeight(values), spikes.as_floats(), values.astype(np.float32)
    calls: dict[str, Callable[[], Any]] = {"omniconv": lambda: sparse.conv(spikes, weight, plan=plan).features}
    for name in ("dense", "events"):
        calls[name] = lambda name=name: sparse.spike_conv(spikes, weight, plan=plan, algorithm=name).features
    calls["float32"] = lambda: sparse.conv(floats, w, plan=plan).features
    truth = calls["float32"]().astype(np.float64)
    return _entry(f"spikes, {rate:.0%} fire", c, calls, 2.0 * plan.map.pairs * c * c, truth, how)


def _network_entry(points: int, how: dict[str, Any]) -> dict[str, Any]:
    """E-3DSNN-T from raw points of a sphere: voxels, plans, network, in int8 and in float32."""
    from omniconv import models
    from omniconv.models.e3dsnn import voxelize

    rng = np.random.default_rng(0)
    where = rng.standard_normal((points, 3))
    where /= np.linalg.norm(where, axis=1, keepdims=True)
    features = np.concatenate([where, where], 1).astype(np.float32)
    ints, floats = models.create("e3dsnn_t"), models.create("e3dsnn_t")
    for model in (ints, floats):
        model.calibrate(voxelize(where, features), fire=0.3)
    ints.quantize()
    calls = {
        "omniconv": lambda: ints(voxelize(where, features)),
        "float32": lambda: floats(voxelize(where, features)),
    }
    return _entry(f"E-3DSNN-T, {points} points", 0, calls, 0.0, None, how)


def _graph_entry(width: int, nodes: int, edges: int, how: dict[str, Any]) -> dict[str, Any]:
    graph = power_graph(nodes, edges)
    values = np.repeat(graph.row_scale, np.diff(graph.indptr)) * graph.column_scale[graph.indices]
    x = np.random.default_rng(width).standard_normal((nodes, width), dtype=np.float32)
    calls: dict[str, Callable[[], Any]] = {"omniconv": lambda: sparse.spmm(graph, x)}
    try:
        import torch

        with warnings.catch_warnings():  # of a beta state
            warnings.simplefilter("ignore")
            csr = torch.sparse_csr_tensor(graph.indptr, graph.indices.astype(np.int64), torch.from_numpy(values))
        xt = torch.from_numpy(x)
        calls["torch CSR"] = lambda: csr @ xt
    except ModuleNotFoundError:
        pass
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((values, graph.indices, graph.indptr), (nodes, nodes))
    calls["scipy CSR"] = lambda: matrix @ x
    truth = matrix.astype(np.float64) @ x.astype(np.float64)
    return _entry("graph", width, calls, 2.0 * len(values) * width, truth, how)


def _masked_entry(c: int, side: int, depthwise: bool, last: bool, how: dict[str, Any]) -> dict[str, Any]:
    """A layer of 8 images whose 7 x 7 cells are 60 % hidden, beside the dense layer."""
    rng = np.random.default_rng(c)
    x = rng.standard_normal((8, side, side, c) if last else (8, c, side, side), dtype=np.float32)
    x = x.transpose(0, 3, 1, 2) if last else x
    kernel, groups = (7, c) if depthwise else (3, 1)
    w = rng.standard_normal((c, c // groups, kernel, kernel), dtype=np.float32)
    mask = np.stack([(rng.permutation(49) < 20).reshape(7, 7) for _ in range(8)])
    options = {"padding": kernel // 2, "groups": groups}
    masked = sparse.plan_masked_conv2d(x.shape, w, 7, channels_last=last, **options)
    dense = omniconv.plan_conv2d(x.shape, w, channels_last=last, **options)
    calls = {
        "omniconv": lambda: masked(x, mask),
        "omniconv, dense": lambda: dense(x),
        "omniconv, no plan": lambda: sparse.masked_conv2d(x, w, mask, **options),
        "omniconv, dense, no plan": lambda: omniconv.conv2d(x, w, **options),
    }
    try:
        import torch

        xt, wt = torch.from_numpy(x), torch.from_numpy(w)
        calls["torch, dense"] = lambda: torch.nn.functional.conv2d(xt, wt, **options)
    except ModuleNotFoundError:
        pass
    kind = f"masked {kernel}x{kernel}, {side}x{side}, {'NHWC' if last else 'NCHW'}"
    return _entry(kind, c, calls, 0.0, None, how)


def measure(
    beams: int,
    voxel: float,
    channels: list[int],
    *,
    repeat: int | None = None,
    budget: float = 3.0,
    progress: Callable[[str, float], None] = lambda what, part: None,
) -> dict[str, Any]:
    """Race plan, convolution, gradients, spikes and graphs; a report to print or write as JSON."""
    how = {"repeat": repeat, "budget": budget}
    points = lidar(beams)
    ones = np.ones((len(points), 1), np.float32)
    st = sparse.from_points(points, ones, voxel, reduce="first")
    coords, rows = st.coords, st.features

    def plan() -> sparse.SparsePlan:
        return sparse.plan(sparse.SparseTensor(coords, rows))

    progress("plan", 0.0)
    entries = [_entry("tensor and plan", 0, {"omniconv": plan}, 0.0, None, how)]
    for i, c in enumerate(channels):
        progress(f"{c} channels", (1 + i) / (1 + 2 * len(channels)))
        entries += _conv_entries(st, c, how)
    for rate in RATES:
        progress(f"spikes, {rate:.0%}", (1 + len(channels)) / (1 + 2 * len(channels)))
        entries.append(_spike_entry(st, channels[-1], rate, how))
    entries.append(_network_entry(10_000 if beams >= 16 else 500, how))
    for i, c in enumerate(channels):
        progress(f"graph, {c} columns", (1 + len(channels) + i) / (1 + 2 * len(channels)))
        entries.append(_graph_entry(c, 900 * beams, 9000 * beams, how))
    progress("masks", 1.0)
    sizes = [  # of ResNet and ConvNeXt
        (64, 56, False), (128, 28, False), (256, 14, False), (512, 7, False),
        (96, 56, True), (192, 28, True), (384, 14, True), (768, 7, True),
    ]  # fmt: skip
    for last in (False, True):
        for c, side, depthwise in sizes:
            entries.append(_masked_entry(c, side, depthwise, last, how | {"budget": budget / 4}))
    return {
        "schema": "omniconv-bench-sparse/1",
        "machine": machine.describe(),
        "sites": len(st),
        "pairs": sparse.plan(st).map.pairs,
        "entries": entries,
    }
