"""Linear maps of networks, and attribution of torch modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import omniconv.torch as ot
from omniconv import attribution, models
from omniconv.torch.linear import Linearized


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        ot.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), ot.Conv2d(4, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 30),
    ).double().eval()  # fmt: skip


def test_linearized_networks_are_their_jacobians(network):
    x0 = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    frozen = Linearized(network, x0)
    matrix = torch.autograd.functional.jacobian(network, x0).reshape(30, 128)
    x, y = torch.randn_like(x0), torch.randn(1, 30, dtype=torch.float64)
    torch.testing.assert_close(frozen.apply(x).flatten(), matrix @ x.flatten())
    torch.testing.assert_close(frozen.apply_transposed(y).flatten(), matrix.T @ y.flatten())
    torch.testing.assert_close(frozen(x0), network(x0))
    torch.testing.assert_close(frozen.row(3).flatten(), matrix[3])
    torch.testing.assert_close(frozen.column(5).flatten(), matrix[:, 5])
    values = torch.linalg.svdvals(matrix)
    for steps in (None, 25):
        u, found, v = frozen.svd(3, steps=steps)
        torch.testing.assert_close(found, values[:3], rtol=1e-8, atol=0)
        torch.testing.assert_close(frozen.apply(v[1:2].squeeze(0)).flatten(), found[1] * u[1].flatten())
    with pytest.raises(ValueError, match="count is 31; allowed are 1 to 30"):
        frozen.svd(31)
    with pytest.raises(ValueError, match=r"x has shape \(1, 2, 8, 7\)"):
        frozen.apply(x[..., :7])


def test_attribution_of_both_kinds_of_models():
    ours = models.create("resnet18", layers=(1, 1, 1, 1), num_classes=5).to("float64").to("torch")
    x = torch.randn(1, 3, 32, 48, dtype=torch.float64)
    cam, weights = attribution.grad_cam(ours, x, 2, "layer3")
    assert cam.shape == (1, 1, 2, 3) and weights.shape == (256,) and (cam >= 0).all()
    assert "forward" not in vars(ours._modules["layer3"])
    stage, head = ours.outputs(x)["stage3"], ours._modules["layer4"]
    stage = stage.detach().requires_grad_()
    logit = ours.fc(head(stage).mean((2, 3)))[0, 2]
    torch.testing.assert_close(weights, torch.autograd.grad(logit, stage)[0].mean((0, 2, 3)))
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), pooled, nn.Linear(4, 5)).double()
    cam, weights = attribution.grad_cam(plain, x, 2, "1")
    torch.testing.assert_close(weights, plain[3].weight[2] / (30 * 46))
    many = attribution.integrated_gradients(plain, x, 2, steps=200)
    change = plain(x)[0, 2] - plain(x * 0)[0, 2]
    torch.testing.assert_close(many.sum(), change, rtol=1e-4, atol=1e-7)  # what it adds up to, by its axiom
    with pytest.raises(ValueError, match=r"layer is 'layer9'; the model has .*layer4"):
        attribution.grad_cam(ours, x, 2, "layer9")
    with pytest.raises(ValueError, match="expected is one image"):
        attribution.grad_cam(plain, torch.cat([x, x]), 2, "1")


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_pixels_go_and_come_hottest_first(kind):
    x = np.random.default_rng(0).random((1, 2, 3, 4))
    heat = np.arange(12.0).reshape(3, 4)[::-1]

    def model(images):  # the class 1 is as likely as its first channel is bright
        total = images[:, 0].reshape(len(images), -1).sum(-1)
        return torch.stack([total * 0, total], -1) if kind == "torch" else np.stack([total * 0, total], -1)

    given = torch.tensor(x) if kind == "torch" else x
    flat = x[0, 0].ravel()[[*range(3, -1, -1), *range(7, 3, -1), *range(11, 7, -1)]]
    left = np.array([flat[n:].sum() for n in (0, 3, 6, 9, 12)])
    area, curve = attribution.deletion(model, given, 1, heat, steps=4, batch=2)
    assert np.allclose(curve, 1 / (1 + np.exp(-left)))
    assert np.isclose(area, np.trapezoid(curve, dx=0.25) if hasattr(np, "trapezoid") else np.trapz(curve, dx=0.25))
    _, rising = attribution.insertion(model, given, 1, heat, steps=4, baseline=0.0)
    assert np.allclose(rising, 1 / (1 + np.exp(-(flat.sum() - left))))
    with pytest.raises(ValueError, match=r"heat has shape \(4, 3\)"):
        attribution.deletion(model, given, 1, heat.T)


def test_rise_of_open_masks_is_the_probability():
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 7))
    masks = attribution.rise_masks(np.zeros((3, 2, 2)), [5, 0, 2], [1, 9, 3], (6, 7))
    assert masks.shape == (3, 6, 7) and (masks == 1).all()
    found, scores = attribution.rise(lambda v: v.mean((2, 3)), x, 1, masks, batch=2)
    e = np.exp(x.mean((2, 3))[0])
    assert np.allclose(scores, e[1] / e.sum()) and np.allclose(found, 2 * e[1] / e.sum())
    half = attribution.rise_masks(np.array([[[0.0, 0.9], [0.0, 0.9]]]), [0], [0], (4, 4))
    assert half[0, 0, 0] == 1 and half[0, 0, 3] < 0.5
