"""Bessel functions inside PyTorch: opcheck, derivatives in both arguments, compile."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch

from omniconv import special as plain
from omniconv.torch import special

NAMES = plain.DIFFERENTIABLE
# Every region: series and Temme, quadrature, the zero line, large order, large argument, the expansion's tiers.
V = [0.3, 2.5, 7.0, 12.0, 30.0, 80.0, 400.0, 3.0, 1000.0]
X = [0.05, 1.7, 9.0, 21.0, 19.88, 53.1, 2.0, 300.0, 900.0]


def tensors(requires_grad=True):
    return [torch.tensor(a, dtype=torch.float64, requires_grad=requires_grad) for a in (V, X)]


@pytest.mark.parametrize("name", NAMES)
def test_opcheck_and_gradcheck(name):
    v, x = tensors()
    torch.library.opcheck(torch.ops.omniconv.bessel.default, (name, v, x))
    function = getattr(special, name)
    assert torch.autograd.gradcheck(function, (v, x), eps=1e-6, atol=1e-5)
    assert torch.autograd.gradcheck(function, (v[:3, None], x[:2]), atol=1e-5)
    assert torch.autograd.gradcheck(lambda x: function(2.5, x), (x,), atol=1e-5)
    np.testing.assert_array_equal(function(v, x).detach().numpy(), getattr(plain, name)(np.array(V), np.array(X)))


def exact(name, v, x):
    i, k = mp.besseli, mp.besselk
    return {
        "log_iv": lambda: mp.log(i(v, x)),
        "log_kv": lambda: mp.log(k(v, x)),
        "log_ive": lambda: mp.log(i(v, x)) - x,
        "log_kve": lambda: mp.log(k(v, x)) + x,
        "iv_ratio": lambda: i(v + 1, x) / i(v, x),
        "iv_ratioc": lambda: 1 - i(v + 1, x) / i(v, x),
        "kv_ratio": lambda: k(v + 1, x) / k(v, x),
    }[name]()


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_against_mpmath(name):
    v, x = tensors()
    getattr(special, name)(v, x).sum().backward()
    with mp.workdps(50):
        h = mp.mpf(10) ** -18
        for n, (a, b) in enumerate(zip(V[:7], X[:7], strict=True)):
            a, b = mp.mpf(a), mp.mpf(b)
            dv = (exact(name, a + h, b) - exact(name, a - h, b)) / (2 * h)
            dx = (exact(name, a, b + h) - exact(name, a, b - h)) / (2 * h)
            # A difference of derivatives of log K near 2 v / x, times the ratio of that size again.
            scale = max(1, (2 * a / b) ** 2) if name == "kv_ratio" else max(1, a / b, abs(dv), abs(dx))
            assert abs(v.grad[n].item() - dv) <= 3e-15 * scale, (a, b)
            assert abs(x.grad[n].item() - dx) <= 3e-15 * scale, (a, b)


def test_compiled_widened_and_bad_arguments():
    v, x = torch.rand(5, requires_grad=True), torch.rand(5) + 1
    compiled = torch.compile(lambda v, x: special.log_iv(v, x).exp(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(v, x), special.log_iv(v, x).exp())
    compiled(v, x).sum().backward()
    assert v.grad.shape == (5,)
    assert special.iv_ratio(torch.tensor(2.0), 3).shape == ()
    with pytest.raises(TypeError, match=r"v is torch\.float32 and x is torch\.float64"):
        special.log_iv(v, x.double())
    with pytest.raises(TypeError, match="expected is a tensor"):
        special.log_iv(1.0, 2.0)
    with pytest.raises(TypeError, match=r"v has dtype torch\.float16"):
        special.log_iv(v.detach().half(), x.half())
    first = torch.autograd.grad(special.log_iv(v, x).sum(), v, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match="log_iv has derivatives of first order"):
        first.sum().backward()
