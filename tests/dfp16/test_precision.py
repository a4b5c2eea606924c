"""precision="dfp16" of the convolutions: the operands of omniconv.dfp16, in every function and through PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

import omniconv
import omniconv.torch as ot
from omniconv import dfp16
from tests.conv.problems import Problem, problems


def _through(x: np.ndarray, granularity: str) -> torch.Tensor:
    """What is left of x after it was quantised, float64."""
    return torch.from_numpy(dfp16.quantize(x, granularity=granularity).dequantize("float64"))


def _expected(p: Problem, op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The float64 result of the quantised operands."""
    image = "image" if op != "dw" else "tensor"
    a, b = _through(a, image).numpy(), _through(b, "tensor").numpy()
    if op == "y":
        return omniconv.conv(a, b, **p.options)
    name = {"dx": "grad_input", "dw": "grad_weight"}[op]
    return getattr(omniconv, f"conv{p.nd}d_{name}")(a, b, p.x_shape if op == "dx" else p.w_shape, **p.options)


def _close(found: np.ndarray, exact: np.ndarray, sums: int = 1) -> bool:
    """The nearest float32, up to what float64 lost of the sum; several roundings where a border was folded in."""
    return np.abs(found - exact).max(initial=0) <= sums * np.abs(exact).max(initial=0) * 2.0**-23


@settings(max_examples=40)
@given(p=problems())
def test_every_function_computes_what_its_quantised_operands_say(p):
    operands = {"y": (p.x(), p.w()), "dx": (p.g(), p.w()), "dw": (p.g(), p.x())}
    how = p.options | {"precision": "dfp16"}
    y = omniconv.conv(*operands["y"], **how)
    dx = getattr(omniconv, f"conv{p.nd}d_grad_input")(*operands["dx"], p.x_shape, **how)
    dw = getattr(omniconv, f"conv{p.nd}d_grad_weight")(*operands["dw"], p.w_shape, **how)
    for op, found in (("y", y), ("dx", dx), ("dw", dw)):
        exact = _expected(p, op, *operands[op])
        assert _close(found, exact, 1 if p.mode == "zeros" or op != "dx" else 64), op


def test_the_error_is_that_of_fifteen_bits():
    p = Problem((16, 16), (3, 3), batch=2, ci=32, co=16)
    exact = omniconv.conv(p.x("float64"), p.w("float64"))
    found = omniconv.conv(p.x(), p.w(), precision="dfp16")
    assert 1e-5 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < 2e-4


def test_plans_layouts_and_epilogues():
    p = Problem((9, 8), (3, 3), batch=2, ci=16, co=24, padding=((1, 1), (0, 2)))
    x, w, bias = p.x(), p.w(), np.arange(24, dtype=np.float32)
    y = omniconv.conv2d(x, w, bias, padding=p.padding, activation="relu", precision="dfp16")
    plan = omniconv.plan_conv2d(x.shape, w, bias, padding=p.padding, activation="relu", precision="dfp16")
    assert np.array_equal(plan(x), y)
    assert plan.packed_bytes > 0
    assert plan.algorithm in ("pairs", "tiles")
    assert "dfp16" in plan.explain()
    last = omniconv.conv2d(
        np.ascontiguousarray(np.moveaxis(x, 1, -1)), w, bias, padding=p.padding, activation="relu", precision="dfp16",
        layout="NHWC",
    )  # fmt: skip
    assert np.array_equal(np.moveaxis(last, -1, 1), y)
    residual, out = p.g(), np.full(p.y_shape, np.nan, np.float32)
    omniconv.conv2d(x, w, bias, residual=residual, padding=p.padding, precision="dfp16", out=out)
    plain = omniconv.conv2d(x, w, padding=p.padding, precision="dfp16")
    assert np.array_equal(out, plain + bias[:, None, None] + residual)
    names = {a.name: a for a in omniconv.algorithms(x.shape, w.shape, precision="dfp16")}
    assert set(names) == {"lines", "pairs", "tiles", "emulated_tiles"}
    for name, about in names.items():
        if about.usable:
            again = omniconv.conv2d(x, w, padding=p.padding, precision="dfp16", algorithm=name)
            assert np.array_equal(again, plain)


def test_transposed_convolution():
    x, w = np.random.default_rng(0).standard_normal((2, 6, 5, 4)).astype("f4"), np.ones((6, 3, 2, 2), "f4")
    found = omniconv.conv_transpose2d(x, w, stride=3, precision="dfp16")  # outputs that meet no tap are zero
    exact = F.conv_transpose2d(_through(x, "image"), _through(w, "tensor"), stride=3)
    assert _close(found, exact.numpy())


def test_errors():
    x, w = np.ones((1, 2, 4, 4), "f4"), np.ones((2, 2, 3, 3), "f4")
    with pytest.raises(NotImplementedError, match="float32"):
        omniconv.conv2d(x.astype("f8"), w.astype("f8"), precision="dfp16")
    with pytest.raises(NotImplementedError, match="algorithm 'tiles' cannot run"):
        omniconv.set_isa("scalar")
        omniconv.conv2d(x, w, precision="dfp16", algorithm="tiles")
    with pytest.raises(ValueError, match="algorithm is 'direct'"):
        omniconv.conv2d(x, w, precision="dfp16", algorithm="direct")
    for bad, name in ((np.nan, "x"), (np.inf, "x")):
        broken = x.copy()
        broken[0, 0, 0, 0] = bad
        with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
            omniconv.conv2d(broken, w, precision="dfp16")
        with pytest.raises(ValueError, match="weight holds NaN or infinity"):
            omniconv.conv2d(x, np.full_like(w, bad), precision="dfp16")
    with pytest.raises(ValueError, match="precision is 'dfp8'"):
        ot.replace(torch.nn.Conv2d(1, 1, 1), precision="dfp8")


# ---- PyTorch -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [False, True])
def test_autograd_is_the_three_integer_convolutions(transposed):
    x = torch.randn(3, 4, 7, 6, requires_grad=True)
    weight = torch.randn((4, 5, 3, 3) if transposed else (5, 4, 3, 3), requires_grad=True)
    function, name = (ot.conv_transpose2d, "conv_transpose2d") if transposed else (ot.conv2d, "conv2d")
    y = function(x, weight, stride=2, padding=1, precision="dfp16")
    g = torch.randn_like(y)
    y.backward(g)
    xn, wn, gn = (v.detach().numpy() for v in (x, weight, g))
    how = {"stride": 2, "padding": 1, "precision": "dfp16"}
    assert np.array_equal(y.detach().numpy(), getattr(omniconv, name)(xn, wn, **how))
    if transposed:
        dx, dw = omniconv.conv2d(gn, wn, **how), omniconv.conv2d_grad_weight(xn, gn, wn.shape, **how)
    else:
        dx = omniconv.conv2d_grad_input(gn, wn, xn.shape, **how)
        dw = omniconv.conv2d_grad_weight(gn, xn, wn.shape, **how)
    assert np.array_equal(x.grad.numpy(), dx)
    assert np.array_equal(weight.grad.numpy(), dw)


def test_replaced_models_train_in_integers():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3))
    ours = ot.replace(model, inplace=False, precision="dfp16")
    x = torch.randn(2, 3, 8, 8)
    found, expected = ours(x), model(x)
    error = (torch.linalg.norm(found - expected) / torch.linalg.norm(expected)).item()
    assert 1e-6 < error < 1e-3
    found.square().sum().backward()
    assert all(p.grad is not None and p.dtype == torch.float32 for p in ours.parameters())
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), found)


def test_the_function_with_all_choices_is_the_recipe():
    x = torch.randn(3, 4, 6, 6, requires_grad=True)
    weight = torch.randn(6, 2, 3, 3, requires_grad=True)
    bias = torch.randn(6, requires_grad=True)
    y = ot.dfp16.conv2d(x, weight, bias, 1, 1, groups=2)
    plain = ot.conv2d(x, weight, None, 1, 1, groups=2, precision="dfp16") + bias.reshape(1, -1, 1, 1)
    assert torch.equal(y, plain)
    g = torch.randn_like(y)
    for one, two in zip(
        torch.autograd.grad(y, (x, weight, bias), g), torch.autograd.grad(plain, (x, weight, bias), g), strict=True
    ):
        assert torch.equal(one, two)
    how = {"bits": 6, "rounding": "stochastic"}
    first, again, other = (ot.dfp16.conv2d(x, weight, padding=1, groups=2, seed=s, **how) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
