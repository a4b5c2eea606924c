"""E-3DSNN: sizes as published, integers beside their float twin, costs, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import omniconv
from omniconv import models, sparse
from omniconv.models.e3dsnn import sweep_voxels, voxelize

SMALL = {"in_channels": 3, "stem": 8, "widths": (8, 12), "blocks": (1, 2), "classes": 3}


def cloud(seed, points=400, batch=2):
    rng = np.random.default_rng(seed)
    where = rng.standard_normal((points, 3))
    where /= np.linalg.norm(where, axis=1, keepdims=True)
    return where, where.astype(np.float32), np.sort(rng.integers(0, batch, points))


def lively(seed=0, **options):
    """A network whose neurons fire."""
    model = models.create("e3dsnn_t", **(SMALL | options))
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters().items():
        if name.endswith("bn.bias"):
            parameter.array = rng.uniform(0, 1.5, parameter.shape).astype(np.float32)
        elif name.endswith("running_var"):
            parameter.array = rng.uniform(0.2, 1, parameter.shape).astype(np.float32)
    return model


def test_sizes_are_those_published():
    assert 19.9e6 < models.create("e3dsnn_seg").num_parameters < 20.1e6  # "20 M"
    sizes = {"e3dsnn_t": 1_874_216, "e3dsnn_s": 3_271_144, "e3dsnn_m": 17_330_600, "e3dsnn_l": 46_574_248}
    assert {name: models.create(name).num_parameters for name in sizes} == sizes


def test_voxels_start_at_zero_and_keep_their_first_point():
    points = np.array(
        [[0.5, -0.2, 3], [0.55, -0.25, 3.09], [0.51, -0.2, 3.01], [0.71, 0, 3.5], [9, 9, 9], [8.85, 9, 9]]
    )
    features = np.arange(6, dtype=np.float32)[:, None]
    st = voxelize(points, features, 0.1, batch=[0, 0, 0, 0, 1, 1])
    assert st.coords.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 2, 3, 5], [1, 0, 0, 0], [1, 2, 0, 0]]
    assert st.features.ravel().tolist() == [1, 0, 3, 5, 4]
    one = voxelize(points[:4], features[:4], 0.1)
    assert one.coords.tolist() == st.coords[:3].tolist() and len(voxelize(points[:0], features[:0])) == 0
    with pytest.raises(ValueError, match="expected are finite rows"):
        voxelize(points * np.nan, features)


def test_integers_are_their_float_twin(isa):
    st = voxelize(*cloud(0)[:2], 0.1, cloud(0)[2])
    model = lively()
    exact, twin, ints = model.outputs(st), model.quantize(twin=True).outputs(st), model.quantize().outputs(st)
    assert list(ints) == list(exact) and {"stage1", "coords_stage1", "logits_spike_head"} < set(ints)
    for name, rows in ints.items():
        assert np.array_equal(rows, twin[name]), name
    assert np.array_equal(model(st), ints["logits"]) and not np.array_equal(exact["logits"], ints["logits"])
    assert np.linalg.norm(ints["logits"] - exact["logits"]) < 0.3 * np.linalg.norm(exact["logits"])
    for algorithm in ("events", "reference"):  # counts to 4 and these weights fit both
        layer = model.stages[1].blocks[1][0]
        spikes = sparse.ilif(sparse.SparseTensor(ints["coords_stage1"], ints["stage1"]))
        a, b = (
            sparse.spike_conv(spikes, layer.quantized[0], levels=4, membrane=False, algorithm=name)
            for name in ("dense", algorithm)
        )
        assert np.array_equal(a.counts, b.counts) and a.counts.any()


def test_samples_and_threads_change_no_bit():
    points, features, batch = cloud(1)
    model = lively().quantize()
    whole = model(voxelize(points, features, 0.1, batch))
    omniconv.set_num_threads(1)
    for b in (0, 1):
        alone = model(voxelize(points[batch == b], features[batch == b], 0.1))
        assert np.array_equal(alone[0], whole[b])


def test_every_layer_is_counted():
    st = voxelize(*cloud(2)[:2], 0.1)
    model = lively()
    found = model.operations(st)
    assert next(iter(found)) == "stem.0" and list(found)[-2:] == ["head", "total"] and len(found) == 3 + 4 + 7 + 2
    plan = sparse.plan(st)
    assert found["stem.0"]["macs"] == plan.map.pairs * 3 * 8 and found["stem.0"]["events"] == 0
    spikes = sparse.ilif(sparse.SparseTensor(st.coords, model.outputs(st)["stem"]))
    down = sparse.plan(spikes, 2, 2, "strided")
    assert found["stages.0.down"] == sparse.operations(spikes, down, 8)
    total = found.pop("total")
    assert all(np.isclose(total[k], sum(each[k] for each in found.values())) for k in total)
    assert model.stem[0].meet is None and 0 < total["synaptic_operations"] < 4 * total["macs"]


def test_calibrated_networks_fire():
    st = voxelize(*cloud(4, 3000)[:2], 0.05)
    model = models.create("e3dsnn_t", **SMALL).calibrate(st, 0.3)
    rates = []
    model._met(lambda layer, x, plan: rates.append((x.features != 0).mean()), st)
    assert len(rates) == 3 + 4 + 7 and all(0.2 < rate < 0.75 for rate in rates[1:]), rates


def test_torch_runs_the_same_text_and_learns():
    st = voxelize(*cloud(3)[:2], 0.1, cloud(3)[2])
    model = lively()
    want = model.outputs(st)
    model.to("torch")
    x = st.replace(torch.from_numpy(st.features))
    got = model.outputs(x)
    for name in ("stem", "stage0", "logits", "logits_spike_head"):
        assert np.linalg.norm(got[name].numpy() - want[name]) < 1e-5 * np.linalg.norm(want[name]), name
    trained = {n: t.requires_grad_() for n, t in model.state_dict().items() if "running" not in n}
    optimiser, losses = torch.optim.Adam(trained.values(), 5e-3), []
    before = model.stages[0].down.bn.running_mean.clone()
    model.train()
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(model(x), torch.tensor([0, 2]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0] and all(t.grad is not None for t in trained.values())
    assert trained["stem.0.conv.weight"].grad.abs().max() > 0
    after = model.stages[0].down.bn.running_mean
    assert not torch.equal(before, after) and not after.requires_grad
    with torch.no_grad():
        logits = model.train(False).to("numpy").quantize()(st)
    assert logits.shape == (2, 3) and np.isfinite(logits).all()


def test_the_segmenter_labels_every_site(isa):
    """int8 beside its twin and PyTorch; and the way back beside dense transposed convolution."""
    where, features, batch = cloud(5)
    st = voxelize(where, features, 0.15, batch)
    options = {"in_channels": 3, "stem": 6, "widths": (8, 12), "blocks": (1, 1), "decoder": 10, "classes": 3}
    model = models.create("e3dsnn_seg", **options).calibrate(st, 0.4)
    exact = model.outputs(st)
    assert exact["logits"].shape == (len(st), 3) and exact["decoded"].shape == (len(st), 10)
    order = np.random.default_rng(6).permutation(len(st))
    turned = model(sparse.SparseTensor(st.coords[order], st.features[order]))
    assert np.array_equal(turned, exact["logits"][order])
    assert list(model.operations(st))[-5:-2] == ["decoder.1.up", "decoder.1.mlp.0", "decoder.1.mlp.1"]
    twin, ints = model.quantize(twin=True).outputs(st), model.quantize().outputs(st)
    assert all(np.array_equal(ints[name], twin[name]) for name in ints) and ints["logits"].any()

    up, last = model.decoder[0], model._encoded(st)
    beside, (_, spikes) = last[-2][1], last[-1]
    size = [int(n) // 2 * 2 + 2 for n in st.coords[:, 1:].max(0)]
    shape = (2, *(n // 4 + 1 for n in size), 12)
    dense = np.zeros(shape)
    dense[tuple(spikes.coords.T)] = spikes.counts
    w = torch.from_numpy(up.up.conv.weight.astype(np.float64))  # [Co, Ci, 2, 2, 2]; its taps as they are
    full = torch.nn.functional.conv_transpose3d(torch.from_numpy(dense).movedim(-1, 1), w.swapaxes(0, 1), stride=2)
    want = full.movedim(1, -1).numpy()[tuple(beside.coords.T)]
    got = up.up.conv(spikes, plan=sparse.plan(spikes, mode="inverse", of=sparse.plan(beside, 2, 2, "strided"))).features
    assert np.linalg.norm(got - want) < 1e-6 * np.linalg.norm(want)

    for _, layer in model._layers():
        layer.quantized = None
    model.to("torch")
    logits = model(st.replace(torch.from_numpy(st.features)))
    assert np.linalg.norm(logits.numpy() - exact["logits"]) < 1e-5 * np.linalg.norm(exact["logits"])


DETECTOR = {"in_channels": 3, "stem": 6, "widths": (6, 8, 10), "blocks": (1, 1, 1), "out": 7}
GRID = (21, 12, 10)  # z, y, x; two places of z are left


def sweep(seed, sites=150, batch=2, dtype=np.float32):
    rng = np.random.default_rng(seed)
    places = rng.permutation(batch * np.prod(GRID))[:sites]
    coords = np.stack(np.unravel_index(places, (batch, *GRID)), 1).astype(np.int32)
    return sparse.SparseTensor(coords, rng.standard_normal((sites, 3)).astype(dtype), GRID, batch)


def dense_detector(model, parameters, x, mask):
    """The map [batch, C * Z, Y, X] by dense convolutions of PyTorch, of features and occupancy as dense arrays."""
    functional = torch.nn.functional

    def layer(name, x, mask, stride=1, padding=(1, 1, 1), residual=None):
        weight, gain, shift, mean, var = (
            parameters[f"{name}.{key}"]
            for key in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        if stride != 1:
            taps = torch.ones(1, 1, *weight.shape[2:], dtype=x.dtype)
            mask = (functional.conv3d(mask, taps, stride=stride, padding=padding) > 0).to(x.dtype)
        y = functional.conv3d(x, weight, stride=stride, padding=padding)
        y = functional.batch_norm(y, mean, var, gain, shift, eps=1e-3)
        u = (y if residual is None else y + residual) * mask
        clipped = u.clamp(0, 4)
        return u, clipped + (torch.floor(clipped + 0.5) - clipped).detach(), mask

    s = x
    for i in range(3):
        u, s, _ = layer(f"stem.{i}", s, mask)
    for i, blocks in enumerate(DETECTOR["blocks"]):
        if i:
            padding = (0, 1, 1) if i == len(model.stages) - 1 else (1, 1, 1)
            u, s, mask = layer(f"stages.{i}.down", s, mask, 2, padding)
        for b in range(blocks):
            u, s, _ = layer(f"stages.{i}.blocks.{b}.0", s, mask, residual=u)
            _, inner, _ = layer(f"stages.{i}.blocks.{b}.1", s, mask)
            u, s, _ = layer(f"stages.{i}.blocks.{b}.2", inner, mask, residual=u)
    return layer("out", s, mask, (2, 1, 1), 0)[0].flatten(1, 2)


def test_the_detector_is_the_dense_network_and_so_are_its_gradients():
    st = sweep(7, dtype=np.float64)
    model = models.create("e3dsnn_det", **DETECTOR).calibrate(sweep(7), 0.4)
    plain = model(sweep(7))
    model.to("float64")
    got, rows = model(st), model.outputs(st)
    model.to("torch")
    own = {n: t for n, t in model.state_dict().items() if "num_batches" not in n}
    trained = {n: t.requires_grad_() for n, t in own.items() if "running" not in n}
    twins = {n: t.detach().clone().requires_grad_(n in trained) for n, t in own.items()}
    dense, features = (torch.from_numpy(a).requires_grad_() for a in (np.array(st.dense()), st.features))
    mask = torch.zeros(2, 1, *GRID, dtype=torch.float64)
    mask[tuple(np.insert(st.coords.T, 1, 0, axis=0))] = 1
    want = dense_detector(model, twins, dense, mask)
    assert got.shape == (2, 14, 3, 3) == want.shape
    scale = np.linalg.norm(want.detach().numpy())
    assert np.linalg.norm(got - want.detach().numpy()) < 1e-13 * scale
    assert np.linalg.norm(plain - want.detach().numpy()) < 1e-5 * scale
    at = tuple(rows["coords_out"].T)
    assert np.array_equal(got.reshape(2, 7, 2, 3, 3)[at[0], :, at[1], at[2], at[3]], rows["out"])
    assert list(rows) == [f"{c}{n}" for n in ("stem", "stage0", "stage1", "stage2", "out") for c in ("", "coords_")] + [
        "bev"
    ]

    found = model(st.replace(features))
    weight = torch.from_numpy(np.random.default_rng(8).standard_normal(want.shape))
    (found * weight).sum().backward()
    (want * weight).sum().backward()
    beside = dense.grad.movedim(1, -1)[tuple(st.coords.T)]
    assert (features.grad - beside).norm() < 1e-12 * beside.norm() and beside.norm() > 0
    for name, t in trained.items():
        assert (t.grad - twins[name].grad).norm() <= 1e-12 * twins[name].grad.norm() and t.grad.norm() > 0, name


def test_the_detector_in_integers(isa):
    """Beside its float twin; and rows, samples and threads change no bit."""
    st = sweep(9)
    model = models.create("e3dsnn_det", **DETECTOR).calibrate(st, 0.4)
    exact, twin, ints = model.outputs(st), model.quantize(twin=True).outputs(st), model.quantize().outputs(st)
    assert all(np.array_equal(ints[name], twin[name]) for name in ints) and ints["bev"].any()
    error = np.linalg.norm(ints["bev"] - exact["bev"])  # of random weights: spikes that flip add up
    assert 0 < error < 0.8 * np.linalg.norm(exact["bev"])
    costs = model.operations(st)
    assert list(costs)[-3:] == ["stages.2.blocks.0.2", "out", "total"] and costs["out"]["synaptic_operations"] > 0
    omniconv.set_num_threads(1)
    order = np.random.default_rng(10).permutation(len(st))
    assert np.array_equal(model(sparse.SparseTensor(st.coords[order], st.features[order], GRID, 2)), ints["bev"])
    for b in (0, 1):
        mine = st.coords[:, 0] == b
        alone = sparse.SparseTensor(st.coords[mine] * (0, 1, 1, 1), st.features[mine], GRID)
        assert np.array_equal(model(alone)[0], ints["bev"][b])


def test_sweeps_become_voxels_of_means():
    points = np.array([[0.01, -39.99, -2.95], [0.03, -39.96, -2.92], [70.39, 39.99, 0.99], [-1, 0, 0], [70.4, 0, 0]])
    features = np.arange(10, dtype=np.float32).reshape(5, 2)
    st = sweep_voxels(points, features, batch=[0, 0, 1, 0, 2])
    assert st.spatial_shape == (41, 1600, 1408) and st.batch_size == 3
    assert st.coords.tolist() == [[0, 0, 0, 0], [1, 39, 1599, 1407]]
    assert st.features.tolist() == [[1, 2], [4, 5]]
    model = models.create("e3dsnn_det", in_channels=2)
    for given, message in (
        (lambda: sweep_voxels(points[:, :2], features), "points have shape"),
        (lambda: sweep_voxels(points, features, extent=(0, 1)), "extent is"),
        (lambda: model(sparse.SparseTensor(st.coords, st.features)), "no spatial_shape"),
        (lambda: model(sparse.SparseTensor(st.coords[:1], st.features[:1], (9, 32, 32))), "smaller than the kernel"),
        (lambda: models.create("e3dsnn_det", stem=8), "the stem's, 8"),
    ):
        with pytest.raises(ValueError, match=message):
            given()
