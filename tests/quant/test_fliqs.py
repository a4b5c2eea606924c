"""Search for formats against all assignments, its gradient against autograd, training in formats against kernels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import omniconv.torch.quant as tq
from omniconv import dfp16, quant
from omniconv.quant import fliqs

LAYERS, FORMATS = [f"layer{i}" for i in range(8)], ["int2", "int4", "int8"]
LOSS = {"int2": 0.3, "int4": 0.08, "int8": 0.01}
_RNG = np.random.default_rng(3)
COST = quant.bit_operations(dict(zip(LAYERS, (int(m) for m in _RNG.integers(5, 40, 8)), strict=True)))
SENSITIVITY = dict(zip(LAYERS, _RNG.random(8) ** 2, strict=True))
UNIFORM = dict.fromkeys(LAYERS, "int4")


def _quality(formats: dict) -> float:
    return -sum(SENSITIVITY[name] * LOSS[form] for name, form in formats.items())


def test_the_search_lands_on_the_target_and_above_uniform_and_random_formats():
    every = [dict(zip(LAYERS, c, strict=True)) for c in itertools.product(FORMATS, repeat=8)]
    target = COST(UNIFORM)
    chance = np.mean([_quality(f) for f in every if abs(COST(f) / target - 1) < 0.05])
    good = 0
    for seed in range(10):
        noise = np.random.default_rng(seed)
        train = lambda f, noise=noise: _quality(f) + 0.02 * noise.standard_normal()  # noqa: E731
        found = quant.search(train, COST, LAYERS, FORMATS, target, steps=1500, seed=seed)
        assert found.cost == COST(found.formats)
        assert found.probabilities.shape == (8, 3)
        assert _quality(found.formats) > chance + 0.05
        good += abs(found.cost / target - 1) < 0.055 and _quality(found.formats) >= _quality(UNIFORM)
    assert good >= 8


def test_the_same_seed_searches_the_same_way():
    runs = [quant.search(_quality, COST, LAYERS, FORMATS, 1e4, steps=40, seed=s) for s in (1, 1, 2)]
    assert np.array_equal(runs[0].rewards, runs[1].rewards)
    assert not np.array_equal(runs[0].rewards, runs[2].rewards)


def test_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.standard_normal((4, 3)), requires_grad=True)
    chosen = np.array([0, 2, 1, 2])
    log_p = torch.log_softmax(logits, 1)
    loss = -0.7 * log_p[torch.arange(4), torch.from_numpy(chosen)].mean()
    loss = loss + 0.3 * -(log_p.exp() * log_p).sum(1).mean()
    loss.backward()
    np.testing.assert_allclose(fliqs._gradient(logits.detach().numpy(), chosen, 0.7, 0.3), logits.grad, atol=1e-12)


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_training_in_dfp_rounds_as_the_kernels_do(bits):
    x = torch.randn(3, 5, 7) * 10
    x[0, 0, 0] = 63.99999
    t = dfp16.quantize(x.numpy(), bits - 1)
    assert np.array_equal(tq.fake_quantize(x, f"dfp{bits}").numpy(), t.dequantize())
    rows = tq.fake_quantize(x, f"dfp{bits}", 0).numpy()
    assert np.array_equal(rows, dfp16.quantize(x.numpy(), bits - 1, "image").dequantize())


def test_training_in_int_rounds_to_the_symmetric_scheme_and_passes_gradients():
    x = torch.randn(4, 9, requires_grad=True)
    y = tq.fake_quantize(x, "int8")
    np.testing.assert_allclose(y.detach(), quant.calibrate(x.detach().numpy()).rounded(x.detach().numpy()), atol=1e-6)
    assert len(tq.fake_quantize(x, "int2").unique()) == 3
    y.square().sum().backward()
    assert torch.equal(x.grad, 2 * y.detach())
    assert torch.equal(tq.fake_quantize(x, "bfloat16"), x.bfloat16().float())
    assert tq.fake_quantize(x, "float32") is x


def test_a_model_trains_in_formats():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, groups=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3, 2),
        torch.nn.Flatten(), torch.nn.Linear(4 * 9, 5),
    )  # fmt: skip
    x = torch.randn(2, 3, 8, 8)
    small, names = tq.searchable(model)
    assert names == ["0", "2", "4"]
    assert torch.equal(small(x), model(x))
    assert tq.macs(small, x) == {"0": 64 * 8 * 27, "2": 9 * 4 * 72, "4": 36 * 5}
    errors = []
    for form in ("dfp16", "int8", "int4"):
        tq.set_formats(small, dict.fromkeys(names, form))
        errors.append((small(x) - model(x)).norm().item())
    assert 0 < errors[0] < errors[1] < errors[2]
    small(x).sum().backward()
    assert all(p.grad is not None for p in small.parameters())
    with pytest.raises(ValueError, match="names '1'"):
        tq.set_formats(small, {"1": "int8"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": []}, "layers is empty"),
        ({"formats": ["int9"]}, "format is 'int9'"),
        ({"formats": ["float16"]}, "format is 'float16'"),
        ({"target": 0.0}, "target is 0.0"),
        ({"warm_up": 10}, "warm_up is 10"),
        ({"train": lambda _: float("nan")}, "reward of nan in step 0"),
    ],
)
def test_errors_name_the_argument(change, words):
    how = {"train": _quality, "cost": COST, "layers": LAYERS, "formats": FORMATS, "target": 1.0, "steps": 10} | change
    with pytest.raises(ValueError, match=words):
        quant.search(**how)
