"""Bessel functions inside PyTorch: opcheck, derivatives in both arguments, compile."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omniconv import special as plain
from omniconv import special_grad
from omniconv.torch import special

NAMES = special_grad.DIFFERENTIABLE
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
    for found, expected in zip(
        torch.autograd.grad(function(v, x).sum(), (v, x)),
        special_grad.partials(name, np.array(V), np.array(X)),
        strict=True,
    ):
        np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_array_equal(function(v, x).detach().numpy(), getattr(plain, name)(np.array(V), np.array(X)))


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
