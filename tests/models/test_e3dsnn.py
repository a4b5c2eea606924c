"""E-3DSNN: sizes as published, integers beside their float twin, costs, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import omniconv
from omniconv import models, sparse
from omniconv.models.e3dsnn import voxelize

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
