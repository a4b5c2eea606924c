"""Spike counts: exact sums by every algorithm and instruction set, neurons, costs."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from omniconv import sparse
from tests.sparse.oracle import sites

torch = pytest.importorskip("torch")
ALGORITHMS = ("dense", "events", "auto", "reference")


def problem(seed, ins, outs, kernel=(3, 3, 3), count=700, levels=4, rate=0.3, steps=None, groups=1, extreme=False):
    rng = np.random.default_rng(seed)
    coords = sites(rng, (12, 11, 13)[: len(kernel)] if len(kernel) == 3 else (40, 60), count, 2)
    shape = (count, ins * groups) if steps is None else (steps, count, ins * groups)
    counts = rng.integers(1, levels + 1, shape) * (rng.random(shape) < rate)
    w = rng.integers(-128, 128, (outs * groups, ins, *kernel))
    if extreme:
        counts[:], w[:] = levels, rng.choice([-128, 127], len(w)).reshape(-1, *[1] * (w.ndim - 1))
    return sparse.SpikeTensor(coords, counts.astype(np.uint8), levels), w.astype(np.int8)


def exact(st, w, plan, groups=1):
    """int64 sums over the pairs."""
    w = w.reshape(*w.shape[:2], -1).astype(np.int64)
    outs, ins, counts = len(w) // groups, w.shape[1], st._timed().astype(np.int64)
    y = np.zeros((st.steps, len(plan.out_coords), len(w)), np.int64)
    for tap in range(w.shape[2]):
        i, o, _ = plan.triples()[plan.triples()[:, 2] == tap].T
        for g in range(groups):
            part = slice(g * outs, (g + 1) * outs)
            y[:, o, part] += counts[:, i, g * ins : (g + 1) * ins] @ w[part, :, tap].T
    return y if st.counts.ndim == 3 else y[0]


@pytest.mark.parametrize(
    ("ins", "outs", "groups", "levels"),
    [(64, 64, 1, 4), (1, 1, 1, 1), (6, 16, 1, 4), (37, 70, 1, 8), (300, 40, 1, 2), (16, 24, 2, 127), (5, 9, 3, 128)],
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sums_are_exact(ins, outs, groups, levels, algorithm, isa):
    st, w = problem(ins, ins, outs, (3, 3), levels=levels, groups=groups)
    plan = sparse.plan(st)
    y = sparse.spike_conv(st, w, groups=groups, plan=plan, algorithm=algorithm)
    assert y.features.dtype == np.int32 and np.array_equal(y.features, exact(st, w, plan, groups))


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 5, 8, 100, 127, 128, 129, 200, 255])
@pytest.mark.parametrize("algorithm", ["dense", "events"])
def test_no_chain_overflows(levels, algorithm, isa):
    """Every count the largest, every weight of a column -128 or 127: each chain goes as far as it can."""
    st, w = problem(levels, 260, 33, (3, 3), 200, levels, extreme=True)
    if algorithm == "events" and levels > 128:
        with pytest.raises(NotImplementedError, match="counts to 128, and these go to"):
            sparse.spike_conv(st, w, algorithm=algorithm)
        return
    assert np.array_equal(sparse.spike_conv(st, w, algorithm=algorithm).features, exact(st, w, sparse.plan(st)))


@pytest.mark.parametrize(("mode", "stride"), [("subm", 1), ("strided", 2), ("transposed", 2), ("inverse", 2)])
def test_modes_steps_and_the_float_twin(mode, stride, isa):
    st, w = problem(3, 16, 24, (2, 2, 2), steps=3)
    how = {"mode": mode, "stride": stride}
    if mode == "inverse":
        there = sparse.plan(st, 2, 2, "strided")
        counts = np.random.default_rng(4).integers(0, 5, (3, len(there.out_coords), 16)).astype(np.uint8)
        st = sparse.SpikeTensor(there.out_coords, counts, 4)
        how = {"mode": mode, "plan": there}
    y = sparse.conv(st, w, **how)
    plan = sparse.plan(st, mode="inverse", of=there) if mode == "inverse" else sparse.plan(st, 2, stride, mode)
    assert np.array_equal(y.features, exact(st, w, plan)) and y.features.shape[0] == 3
    rng = np.random.default_rng(5)
    bias, scale = rng.standard_normal((2, 24), dtype=np.float32)
    residual = rng.standard_normal(y.features.shape, dtype=np.float32)
    u = sparse.conv(st, w, bias, scale=scale, residual=residual, **how).features
    for t in range(3):  # whole numbers below 2^24 are exact in float32, so the twin has the same bits
        one = sparse.SpikeTensor.at(st, st.counts[t], 4)
        twin = sparse.conv(one, w.astype(np.float32), bias, scale=scale, residual=residual[t], **how).features
        assert np.array_equal(u[t], twin)


@pytest.mark.parametrize("rounding", ["half_up", "half_even"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_neuron_in_the_same_pass(rounding, algorithm, isa):
    st, w = problem(6, 32, 70)
    rng = np.random.default_rng(7)
    bias, scale = rng.standard_normal(70, dtype=np.float32), np.full(70, 2.0**-10, np.float32)
    residual = rng.standard_normal((700, 70), dtype=np.float32)
    how = {"scale": scale, "bias": bias, "residual": residual, "rounding": rounding, "algorithm": algorithm}
    u, fired = sparse.spike_conv(st, w, levels=4, **how)
    sums = exact(st, w, sparse.plan(st)).astype(np.float32)
    assert np.array_equal(u.features, sums * scale + bias + residual)
    assert (
        np.array_equal(fired.counts, sparse.ilif(u, 4, rounding=rounding).counts) and len(set(fired.counts.flat)) == 5
    )
    alone = sparse.spike_conv(st, w, levels=4, membrane=False, **how)
    assert np.array_equal(alone.counts, fired.counts) and alone.levels == 4
    weight = sparse.SpikeWeight(w, scale)
    again = sparse.spike_conv(st, weight, levels=4, membrane=False, **(how | {"scale": None}))
    assert np.array_equal(again.counts, fired.counts)


def test_ilif_rounds_as_published(isa):
    u = np.array([-1, -0.0, 0.49, 0.5, 1.5, 2.5, 3.49, 3.5, 4, 4.7, 1e38, -np.inf, np.inf, np.nan] * 3, np.float32)
    up, even = [0, 0, 0, 1, 2, 3, 3, 4, 4, 4, 4, 0, 4, 0] * 3, [0, 0, 0, 0, 2, 2, 3, 4, 4, 4, 4, 0, 4, 0] * 3
    for dtype in (np.float32, np.float64):
        assert sparse.ilif(u.astype(dtype)).tolist() == up
        assert sparse.ilif(u.astype(dtype), rounding="half_even").tolist() == even
    x = np.random.default_rng(0).normal(0, 3, 10007).astype(np.float32)
    assert np.array_equal(sparse.ilif(x, 8), np.floor(x.clip(0, 8) + np.float32(0.5)))
    assert np.array_equal(sparse.ilif(x, 255, rounding="half_even"), np.rint(x.clip(0, 255)))


def test_neurons_over_time():
    x = np.random.default_rng(1).normal(0.5, 1, (5, 4, 3))
    counts = sparse.ilif(x, 4, beta=0.25, rounding="half_even")
    u = s = np.zeros((4, 3))
    for t in range(5):
        u = 0.25 * (u - s) + x[t]
        s = np.rint(np.clip(u, 0, 4))
        assert np.array_equal(counts[t], s)
    assert sparse.lif(np.ones((4, 1)), 2.0).ravel().tolist() == [0, 0, 0, 0]  # 1/2, 3/4, 7/8, 15/16
    assert sparse.lif(np.full((4, 1), 1.5), 2.0).ravel().tolist() == [0, 1, 0, 1]  # 3/4, 9/8
    assert sparse.lif(np.full((4, 1), 0.75), 2.0, decay_input=False).ravel().tolist() == [0, 1, 0, 1]
    assert sparse.lif(np.full((5, 1), 1.5), 2.0, v_reset=None).ravel().tolist() == [0, 1, 0, 1, 0]
    assert sparse.lif(np.full((3, 1), 1.0), 1.0).ravel().tolist() == [1, 1, 1]
    st = sparse.SparseTensor(np.int32([[0, 1], [0, 5]]), np.zeros((2, 1), np.float32))
    st.features = np.full((3, 2, 1), 1.5, np.float32)
    fired = sparse.lif(st)
    assert fired.steps == 3 and fired.levels == 1 and fired.counts[:, 0, 0].tolist() == [0, 1, 0]


def test_bits_do_not_depend_on_threads_order_or_batch(isa):
    st, w = problem(8, 64, 96, count=1500, rate=0.1)
    omniconv.set_num_threads(1)
    y = sparse.conv(st, w)
    omniconv.set_num_threads(3)
    order = np.random.default_rng(9).permutation(1500)
    turned = sparse.SpikeTensor(st.coords[order], st.counts[order])
    assert np.array_equal(sparse.conv(st, w).features, y.features)
    assert np.array_equal(sparse.conv(turned, w).features, y.features[order])
    part = st.coords[:, 0] == 1
    alone = sparse.conv(sparse.SpikeTensor(st.coords[part], st.counts[part]), w)
    assert np.array_equal(alone.features, y.features[part])


def test_costs_are_those_of_counting():
    st, _ = problem(10, 5, 7, (3, 3), 90)
    plan = sparse.plan(st)
    ones = np.ones((7, 5, 3, 3), np.int8)
    found = sparse.operations(st, plan, 7)
    assert found["synaptic_operations"] == sparse.conv(st, ones).features.sum()
    binary = sparse.SpikeTensor.at(st, (st.counts > 0).astype(np.uint8), 1)
    assert found["events"] == sparse.conv(binary, ones).features.sum()
    assert found["macs"] == plan.map.pairs * 35 and found["picojoules"] == found["synaptic_operations"] * 0.9
    real = sparse.operations(st.as_floats(), plan, 7)
    assert real["macs"] == found["macs"] and real["picojoules"] == real["macs"] * 4.6
    assert st.firing_rate == np.count_nonzero(st.counts) / st.counts.size
    assert np.array_equal(sparse.SpikeTensor.from_packed(st, binary.packed(), 5).counts, binary.counts)
    assert binary.packed().shape == (90, 1) and "(90, 5) to 4" in repr(st)


def test_quantised_weights_are_near():
    w = np.random.default_rng(11).standard_normal((8, 3, 3, 3), dtype=np.float32)
    w[2] = 0
    q = sparse.SpikeWeight.quantize(w)
    assert np.abs(q.values * q.scale[:, None, None, None] - w).max() <= q.scale.max() / 2 * 1.001
    assert np.abs(q.values).reshape(8, -1).max(1).tolist() == [127, 127, 0, *[127] * 5]


@pytest.mark.parametrize("count", [0, 1])
def test_no_site_and_one_site(count, isa):
    st = sparse.SpikeTensor(np.full((count, 4), 5, np.int32), np.ones((count, 2), np.uint8))
    for algorithm in ALGORITHMS:
        assert (sparse.spike_conv(st, np.ones((3, 2, 3, 3, 3), np.int8), algorithm=algorithm).features == 2).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"counts": np.full((4, 2), 5, np.uint8)}, ValueError, "counts go to 5, and levels is 4"),
        ({"counts": np.zeros((4, 2), np.int64)}, TypeError, "counts have dtype int64; supported is uint8"),
        ({"counts": np.zeros((3, 2), np.uint8)}, ValueError, r"counts have shape \(3, 2\)"),
        ({"levels": 256}, ValueError, "levels is 256; allowed is 1 to 255"),
        ({"w": np.zeros((3, 5, 3), np.int8)}, ValueError, "channels of the counts is 2; expected is 5"),
        ({"bias": np.zeros(2, np.float32)}, ValueError, r"bias has shape \(2,\); expected is \(3,\)"),
        ({"residual": np.zeros((4, 2), np.float32)}, ValueError, "residual has shape"),
        ({"algorithm": "best"}, ValueError, "algorithm is 'best'; allowed are 'auto', 'dense'"),
        ({"rounding": "down"}, ValueError, "rounding is 'down'"),
        ({"neuron": 0}, ValueError, "levels is 0"),
        ({"w": np.zeros((3, 2, 3), np.int16)}, TypeError, "weight has dtype int16"),
        ({"w": np.zeros((3, 40000, 3), np.int8)}, NotImplementedError, "at most 65536 products"),
    ],
)
def test_bad_input_is_named(change, error, message):
    given = {"counts": np.ones((4, 2), np.uint8), "levels": 4, "w": np.ones((3, 2, 3), np.int8)} | change
    coords = np.int32([[0, i] for i in range(4)])
    how = {k: given[k] for k in ("bias", "residual", "algorithm", "rounding") if k in given}
    with pytest.raises(error, match=message):
        st = sparse.SpikeTensor(coords, given["counts"], given["levels"])
        sparse.spike_conv(st, given["w"], levels=given.get("neuron"), **how)
