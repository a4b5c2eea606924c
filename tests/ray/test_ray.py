"""Batch inference: the function of batches alone, and by Ray Data where that is installed."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv.ray
from omniconv import models, nn
from omniconv.nn.images import DEVIATION, MEAN

OPTIONS = {"layers": (1, 1, 1, 1), "num_classes": 4}


@pytest.fixture
def weights(tmp_path):
    nn.save_state(models.create("resnet18", **OPTIONS, seed=3), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture
def photos():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3), dtype=np.uint8)


def logits(weights, photos):
    x = ((photos / np.float32(255) - MEAN) / DEVIATION).transpose(0, 3, 1, 2)
    return models.create("resnet18", **OPTIONS).load(weights)(np.ascontiguousarray(x, dtype=np.float32))


def test_a_batch_gets_columns(weights, photos):
    pytest.importorskip("safetensors")
    predictor = omniconv.ray.Predictor("resnet18", weights=weights, options=OPTIONS, outputs=["stage4", "logits"])
    found = predictor({"image": photos, "name": np.arange(6)})
    assert list(found) == ["image", "name", "stage4", "logits"] and found["stage4"].shape == (6, 512, 1, 2)
    assert np.allclose(found["logits"], logits(weights, photos), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="columns has 'image'; the batch has picture"):
        predictor({"picture": photos})
    ragged = np.empty(2, dtype=object)
    ragged[:] = [photos[0], photos[1, :20]]
    with pytest.raises(ValueError, match=r"rows of shapes \[\(20, 40, 3\), \(32, 40, 3\)\]"):
        predictor({"image": ragged})
    with pytest.raises(ValueError, match="columns of these names already"):
        predictor({"image": photos, "logits": photos})
    wrong = omniconv.ray.Predictor("resnet18", options=OPTIONS, outputs=["stage5"])
    with pytest.raises(ValueError, match=r"outputs has .*stage5.*; the model computes stage1"):
        wrong({"image": photos})


def test_other_inputs_and_a_function_that_prepares_them():
    options = {"d_model": 4, "l_max": 64, "kernel_dim": 8}
    u = np.random.default_rng(0).standard_normal((2, 4, 50))
    layer = models.create("sgconv", **options)
    want = layer(u.astype(np.float32))
    how = {"options": options, "fold": False}
    found = omniconv.ray.Predictor("sgconv", columns=["u"], **how)({"u": u})
    assert np.array_equal(found[layer.main], want)
    twice = omniconv.ray.Predictor("sgconv", prepare=lambda b: [2 * b["v"].astype(np.float32)], **how)
    assert np.array_equal(twice({"v": u / 2})[layer.main], want)


def test_datasets_are_asked_for():
    with pytest.raises(TypeError, match=r"dataset is a list; expected is a ray\.data\.Dataset"):
        omniconv.ray.predict([1], "resnet18")


def test_ray_data(weights, photos):
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        dataset = ray.data.from_items([{"id": i, "image": photo} for i, photo in enumerate(photos)])
        found = omniconv.ray.predict(dataset, "resnet18", weights=weights, options=OPTIONS, batch_size=2, concurrency=2)
        rows = sorted(found.take_all(), key=lambda row: row["id"])
    finally:
        ray.shutdown()
    assert [row["id"] for row in rows] == list(range(6))
    assert np.allclose([row["logits"] for row in rows], logits(weights, photos), rtol=1e-4, atol=1e-4)
