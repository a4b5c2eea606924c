"""Sparse convolution and its gradients: against dense ones, bit by bit over threads, orders and batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omniconv
from omniconv import sparse
from tests.sparse.oracle import by_relation, error, relation, sites

torch = pytest.importorskip("torch")


@st.composite
def problems(draw):
    dims = draw(st.integers(1, 4))
    mode = draw(st.sampled_from(["subm", "strided", "transposed"]))
    per = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(dims))  # noqa: E731
    kernel = per(1, 4 if dims < 3 else 3)
    stride = (1,) * dims if mode == "subm" else per(1, 3)
    return dims, mode, kernel, stride, per(0, 2), per(1, 3), draw(st.integers(0, 2**32)), draw(st.integers(0, 130))


@given(problems())
@settings(max_examples=70)
def test_pairs_are_those_of_the_definition(problem):
    dims, mode, kernel, stride, padding, dilation, seed, count = problem
    rng = np.random.default_rng(seed)
    coords = sites(rng, ((200,), (17, 90), (9, 8, 7), (5, 4, 5, 4))[dims - 1], count, 2)
    coords[:, 1:] += rng.integers(-100, 100, dims).astype(np.int32)
    x = sparse.SparseTensor(coords, np.zeros((len(coords), 1), np.float32))
    plan = sparse.plan(x, kernel, stride, mode, padding=padding, dilation=dilation)
    found = [tuple(t) for t in plan.triples().tolist()]
    out = plan.out_coords
    if mode == "transposed":
        want = {(o, i, t) for i, o, t in relation(out, coords, plan)}
    else:
        want = relation(coords, out, plan)
    assert len(found) == len(set(found)) and set(found) == want
    if mode != "subm":  # every output that a tap reaches, in order
        assert {o for _, o, _ in want} == set(range(len(out)))
        assert out.tolist() == sorted(out.tolist())
    back = sparse.plan(sparse.SparseTensor(out, np.zeros((len(out), 1), np.float32)), mode="inverse", of=plan)
    assert {(o, i, t) for i, o, t in map(tuple, back.triples().tolist())} == want
    assert sum(plan.stats()["tap_histogram"]) == len(want) == plan.stats()["pairs"]


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0, 5)])
@pytest.mark.parametrize("shape", [None, (9, 8, 7)])
def test_windows_that_touch_reach_one_output_each(size, padding, shape):
    coords = sites(np.random.default_rng(0), (9, 8, 7), 120, 2)
    coords[:, 1:] -= 0 if shape else np.int32([4, 9, 3])
    plan = sparse.plan(sparse.SparseTensor(coords, np.zeros((120, 1), np.float32), shape), size, size, "strided",
                       padding=padding)  # fmt: skip
    steps, pads = np.array(size), np.broadcast_to(padding, 3)
    want = np.concatenate([coords[:, :1], (coords[:, 1:] + pads) // steps], 1)
    if shape is not None:
        want = want[(want[:, 1:] < (np.array(shape) + 2 * pads - steps) // steps + 1).all(1)]
    assert plan.out_coords.tolist() == np.unique(want, axis=0).tolist()
    assert {tuple(t) for t in plan.triples().tolist()} == relation(coords, plan.out_coords, plan)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    ("mode", "stride"), [("subm", 1), ("strided", 1), ("strided", 2), ("transposed", 1), ("transposed", 2)]
)
def test_is_the_dense_convolution_at_the_sites(dims, mode, stride, isa):
    rng = np.random.default_rng(dims)
    grid = ((700,), (40, 33), (14, 11, 12))[dims - 1]
    coords = sites(rng, grid, 600, 2)
    x = sparse.SparseTensor(coords, rng.standard_normal((600, 11), dtype=np.float32), grid, 2)
    kernel = (3, 2, 3)[:dims]
    w = rng.standard_normal((19, 11, *kernel), dtype=np.float32)
    padding = tuple(k // 2 for k in kernel)
    y = sparse.conv(x, w, mode=mode, stride=stride, padding=padding)
    dense, weight = torch.from_numpy(x.dense()).double(), torch.from_numpy(w).double()
    if mode == "transposed":
        function = getattr(torch, f"conv_transpose{dims}d")
        want = function(dense, weight.swapaxes(0, 1), None, stride, padding)
    else:
        want = getattr(torch, f"conv{dims}d")(dense, weight, None, stride, padding)
    if y.spatial_shape is not None and mode != "subm":
        assert y.spatial_shape == tuple(want.shape[2:])
        away = np.ones((2, *want.shape[2:]), bool)
        away[tuple(y.coords.T)] = False
        assert not want.movedim(1, -1)[torch.from_numpy(away)].any()  # no output that is not zero was left out
    at = want.movedim(1, -1).numpy()[tuple(y.coords.T)]
    assert error(y.features, at) < 1e-6


def layer(rng, ins=9, outs=21, kernel=(3, 3, 3), grid=(20, 20, 20), count=1500, groups=1):
    coords = sites(rng, grid, count, 2)
    x = rng.standard_normal((count, ins * groups), dtype=np.float32)
    return coords, x, rng.standard_normal((outs * groups, ins, *kernel), dtype=np.float32)


@pytest.mark.parametrize(("ins", "outs", "groups"), [(1, 1, 1), (64, 64, 1), (300, 70, 1), (5, 8, 3), (1, 1, 6)])
def test_channels_and_groups(ins, outs, groups, isa):
    coords, x, w = layer(np.random.default_rng(1), ins, outs, (3, 3), (30, 30), 700, groups)
    tensor = sparse.SparseTensor(coords, x)
    plan = sparse.plan(tensor)
    y = sparse.conv(tensor, w, groups=groups, plan=plan).features
    assert error(y, by_relation(x, w, plan.triples(), 700, groups)) < 1e-6
    g = np.random.default_rng(2).standard_normal(y.shape)
    x, w = x.astype(np.float64), w.astype(np.float64)
    dx = sparse.conv_grad_input(g.astype(np.float32), w.astype(np.float32), plan, groups=groups)
    dw = sparse.conv_grad_weight(g.astype(np.float32), x.astype(np.float32), w.shape, plan, groups=groups)
    y = sparse.conv(tensor.replace(x), w, groups=groups, plan=plan).features
    wide = (
        sparse.conv_grad_input(g, w, plan, groups=groups),
        sparse.conv_grad_weight(g, x, w.shape, plan, groups=groups),
    )
    assert np.isclose((y * g).sum(), (wide[0] * x).sum()) and np.isclose((y * g).sum(), (wide[1] * w).sum())
    assert error(dx, wide[0]) < 1e-6 and error(dw, wide[1]) < 1e-6


@pytest.mark.parametrize("mode", ["subm", "strided", "inverse"])
def test_bits_do_not_depend_on_threads_order_or_batch(mode, isa):
    rng = np.random.default_rng(3)
    coords, x, w = layer(rng)
    order = rng.permutation(len(x))
    w_back = rng.standard_normal((9, 21, 3, 3, 3), dtype=np.float32)

    def run(coords, x):
        tensor = sparse.SparseTensor(coords, x, (20, 20, 20), 2)
        plan = sparse.plan(tensor, 3, 1 if mode == "subm" else 2, "subm" if mode == "subm" else "strided")
        y = sparse.conv(tensor, w, plan=plan)
        g = np.cos(y.features)
        grads = sparse.conv_grad_input(g, w, plan), sparse.conv_grad_weight(g, x, w.shape, plan)
        if mode == "inverse":
            y = sparse.conv(y, w_back, mode="inverse", plan=plan)
        return y, *grads

    omniconv.set_num_threads(1)
    y, dx, dw = run(coords, x)
    omniconv.set_num_threads(3)
    again = run(coords, x)
    assert np.array_equal(again[0].features, y.features)
    assert np.array_equal(again[1], dx) and np.array_equal(again[2], dw)
    turned = run(coords[order], x[order])
    rows = order if mode != "strided" else slice(None)
    assert np.array_equal(turned[0].features, y.features[rows]) and np.array_equal(turned[1], dx[order])
    assert np.array_equal(turned[2], dw)
    for batch in (0, 1):
        part = coords[:, 0] == batch
        alone = run(coords[part], x[part])
        assert np.array_equal(alone[0].features, y.features[y.coords[:, 0] == batch])
        assert np.array_equal(alone[1], dx[part])


def test_gradient_of_weights_over_many_sites():
    """More than one run of tiles: sums of rows, tap by tap."""
    rng = np.random.default_rng(8)
    coords = sites(rng, (300, 300), 30000)
    tensor = sparse.SparseTensor(coords, rng.standard_normal((30000, 3), dtype=np.float32))
    plan, g = sparse.plan(tensor), rng.standard_normal((30000, 2), dtype=np.float32)
    dw = sparse.conv_grad_weight(g, tensor.features, (2, 3, 3, 3), plan)
    i, o, t = plan.triples().T
    for tap in range(9):
        rows = t == tap
        want = g[o[rows]].astype(np.float64).T @ tensor.features[i[rows]]
        assert error(dw[:, :, tap // 3, tap % 3], want) < 1e-5


def test_translation_changes_no_bit():
    coords, x, w = layer(np.random.default_rng(4))
    y = sparse.conv(sparse.SparseTensor(coords, x), w)
    moved = sparse.conv(sparse.SparseTensor(coords + np.int32([0, 1000, -77, 40]), x), w)
    assert np.array_equal(y.features, moved.features)


def test_epilogue_layouts_and_out():
    rng = np.random.default_rng(5)
    coords, x, w = layer(rng, 6, 70)  # more than the columns of a task
    tensor = sparse.SparseTensor(coords, x)
    plain = sparse.conv(tensor, w).features
    bias, scale = rng.standard_normal((2, 70), dtype=np.float32)
    residual = rng.standard_normal(plain.shape, dtype=np.float32)
    out = np.full(plain.shape, np.nan, np.float32)
    y = sparse.conv(tensor, w, bias, scale=scale, residual=residual, activation="relu", out=out)
    assert y.features is out and error(out, np.maximum(plain * scale + bias + residual, 0)) < 1e-6
    taps = np.ascontiguousarray(w.reshape(70, 6, 27).transpose(2, 1, 0))
    spconv = np.ascontiguousarray(np.moveaxis(w, 1, -1))
    assert np.array_equal(sparse.conv(tensor, taps, weight_layout="taps").features, plain)
    assert np.array_equal(sparse.conv(tensor, spconv, weight_layout="spconv").features, plain)
    assert np.array_equal(sparse.conv(tensor.replace(np.asfortranarray(x)), w).features, plain)


@pytest.mark.parametrize("mode", ["subm", "strided", "transposed"])
@pytest.mark.parametrize("count", [0, 1])
def test_no_site_and_one_site(mode, count):
    coords = np.full((count, 4), 5, np.int32)
    tensor = sparse.SparseTensor(coords, np.ones((count, 2), np.float32), (9, 9, 9), 6)
    w = np.ones((3, 2, 3, 3, 3), np.float32)
    y = sparse.conv(tensor, w, mode=mode)
    assert len(y) == count * (1 if mode == "subm" else 27)
    assert (y.features == 2).all() and y.features.shape == (len(y), 3)
    plan = sparse.plan(tensor, mode=mode)
    assert sparse.conv_grad_input(y.features, w, plan).shape == (count, 2)
    assert sparse.conv_grad_weight(y.features, tensor.features, w.shape, plan).shape == w.shape


def test_a_hub_gathers_from_every_tap():
    side = np.arange(9)
    coords = np.stack(np.meshgrid([0], side, side, side, indexing="ij"), -1).reshape(-1, 4).astype(np.int32)
    tensor = sparse.SparseTensor(coords, np.ones((729, 1), np.float32))
    y = sparse.conv(tensor, np.ones((1, 1, 9, 9, 9), np.float32))
    assert y.features.max() == 729 and sparse.plan(tensor, 9).stats(1, 1)["synaptic_operations"] == y.features.sum()


def test_plans_are_kept_with_the_sites():
    coords, x, _ = layer(np.random.default_rng(6))
    tensor = sparse.SparseTensor(coords, x)
    assert sparse.plan(tensor) is sparse.plan(tensor.replace(2 * x))
    down = sparse.conv(tensor, np.ones((2, 9, 2, 2, 2), np.float32), stride=2, mode="strided")
    again = sparse.conv(tensor, np.ones((2, 9, 2, 2, 2), np.float32), stride=2, mode="strided")
    assert down.sites is again.sites
    back = sparse.conv(
        down, np.ones((9, 2, 2, 2, 2), np.float32), mode="inverse", plan=sparse.plan(tensor, 2, 2, "strided")
    )
    assert back.sites is tensor.sites and sparse.plan(back) is sparse.plan(tensor)


def test_torch_tensors_come_back_as_such():
    coords, x, w = layer(np.random.default_rng(7))
    y = sparse.conv(sparse.SparseTensor(torch.from_numpy(coords), torch.from_numpy(x)), torch.from_numpy(w))
    assert isinstance(y.features, torch.Tensor)
    assert np.array_equal(y.features.numpy(), sparse.conv(sparse.SparseTensor(coords, x), w).features)
