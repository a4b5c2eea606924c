"""omniconv bench models: report, table, JSON; the PyTorch twin computes what the model does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omniconv import models

torch = pytest.importorskip("torch")
from omniconv.bench.models import choose, problem  # noqa: E402
from omniconv.bench.torch_twin import torch_twin  # noqa: E402


def test_command(omniconv_command, tmp_path):
    file = tmp_path / "models.json"
    result = omniconv_command(
        "bench", "models", "regnetx_002", "--size", 32, "--batch", 2, "--peers", "torch-nchw,torch-nhwc",
        "--repeat", 1, "--json", file,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    (entry,) = report["entries"]
    assert [row["name"] for row in entry["results"]] == ["omniconv", "torch-nchw", "torch-nhwc"]
    assert max(row["error"] for row in entry["results"]) < 5e-6
    assert report["means"]["pytorch"]["2"] == pytest.approx(entry["ratios"]["pytorch"]) and "geometric" in result.output
    result = omniconv_command("bench", "models", "nothing", "--peers", "none")
    assert result.exit_code == 2 and "nothing are not known" in result.output
    with pytest.raises(ValueError, match="allowed are all, none, torch-nchw"):
        choose("tensorflow")


@pytest.mark.parametrize(
    "name, overrides",
    [
        ("convnext_tiny", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
        ("unireplknet_t", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
        ("hornet_tiny_7x7", {"depths": (1, 1, 1, 1), "base_dim": 16}),
    ],
)
def test_twin(name, overrides):
    model, x = problem(name, 1, 64, overrides)
    program = torch_twin(model, *x)
    kinds = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.conv2d.default" in kinds and not any("omniconv" in kind for kind in kinds)
    with torch.inference_mode():
        got = program.module()(torch.from_numpy(x[0])).numpy()
    want = model(*x)
    assert np.linalg.norm(got - want) <= 2e-5 * np.linalg.norm(want)


@pytest.mark.parametrize("name, shape", [("sgconv", (2, 8, 60)), ("hyena", (2, 60, 8))])
def test_twin_of_long_convolutions(name, shape):
    model, x = models.create(name, d_model=8, l_max=64).fold(), np.ones(shape, np.float32)
    program = torch_twin(model, x)
    kinds = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.fft_rfft.default" in kinds and not any("omniconv" in kind for kind in kinds)
    got, want = program.module()(torch.from_numpy(x)).detach().numpy(), model(x)
    assert np.linalg.norm(got - want) <= 1e-5 * np.linalg.norm(want)


def test_twin_leaves_the_model_and_its_precise_source_as_they_were():
    model = models.create("regnetx_002", num_classes=3)
    x = np.ones((1, 3, 32, 32), np.float32)
    want = model(x)
    torch_twin(model, x)
    assert np.array_equal(model(x), want)
    assert model.to("float64")(x.astype(np.float64)).dtype == np.float64
