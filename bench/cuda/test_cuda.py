"""The CUDA kernels on a GPU: values, promises, bits, streams, graphs; the same file runs on the emulator."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

import omniconv
import omniconv.torch
from bench.cuda.arrays import DEVICE, EMULATED, to_device
from omniconv import special
from tests.conv.problems import Problem, laid_out
from tests.cuda.test_bessel import points
from tests.cuda.test_kernels import OPS, PROBLEMS, error_of, wanted

MOST = {"highest": 1e-6, "high": 2e-5, "medium": 6e-3}
on_gpu = pytest.mark.skipif(EMULATED, reason="needs a GPU")
LARGER = {} if EMULATED else {
    "56x56": Problem((56, 56), (3, 3), 4, 1, 64, 64, padding=((1, 1), (1, 1))),
    "stem": Problem((224, 224), (7, 7), 2, 1, 3, 64, (2, 2), padding=((3, 3), (3, 3))),
    "large depthwise": Problem((32, 32), (31, 31), 2, 48, 1, 1, padding=((15, 15), (15, 15))),
    "1x1": Problem((28, 28), (1, 1), 4, 1, 512, 128),
}  # fmt: skip
ALL = {**PROBLEMS, **LARGER}


def tensors(p: Problem, layout: str) -> list[torch.Tensor]:
    return [to_device(torch.from_numpy(laid_out(a, layout))) for a in (p.x(), p.w(), p.g())]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", ALL)
def test_values_and_repeated_bits(name, op, layout):
    p = ALL[name]
    x, w, g = tensors(p, layout)
    want = wanted(p, op)
    for precision, most in MOST.items():
        listed = omniconv.algorithms(p.x_shape, p.w_shape, op=op, precision=precision, device=DEVICE, **p.options)
        for algorithm in (a.name for a in listed if a.usable):
            how = {"precision": precision, "algorithm": algorithm}
            first = OPS[op](p, x, w, g, **how)
            assert first.device == x.device
            assert error_of(first.cpu().numpy(), want) <= most, how
            assert torch.equal(first, OPS[op](p, x, w, g, **how)), how


def test_autograd_is_that_of_torch():
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    w, b = torch.randn(8, 3, 3, 3, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    ours = [to_device(t.clone()).requires_grad_() for t in (x, w, b)]
    theirs = [t.clone().requires_grad_() for t in (x, w, b)]
    y = omniconv.torch.conv2d(*ours, padding=1, stride=2, groups=2)
    z = F.conv2d(*theirs, padding=1, stride=2, groups=2)
    g = torch.randn_like(z)
    y.backward(to_device(g))
    z.backward(g)
    assert torch.allclose(y.cpu(), z, rtol=1e-12)
    for mine, expected in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad.cpu(), expected.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", special.__all__)
def test_bessel_functions_are_those_of_scipy_and_of_numpy_arrays(name, dtype):
    v, x = points(dtype)
    got = getattr(special, name)(to_device(torch.from_numpy(v)), to_device(torch.from_numpy(x)))
    got = torch.stack(got) if isinstance(got, tuple) else got
    want = np.asarray(getattr(special, name)(v, x))
    assert np.allclose(got.cpu(), want, rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps, equal_nan=True)
    if name in ("log_ive", "log_kve"):
        with np.errstate(all="ignore"):
            known = np.log(getattr(scipy.special, name.removeprefix("log_"))(v.astype("f8"), x.astype("f8")))
        seen = np.isfinite(known) & (v >= 0)
        assert np.allclose(got.cpu()[seen], known[seen], rtol=1e-5, atol=1e-5)


def test_a_number_beside_an_array():
    x = to_device(torch.linspace(1, 50, 9))
    assert torch.equal(special.log_iv(2, x), special.log_iv(torch.full_like(x, 2), x))
    assert special.log_iv(2, x).device == x.device


@on_gpu
def test_arrays_of_two_devices_are_refused():
    x = torch.ones(3)
    with pytest.raises(ValueError, match="v is on cpu and x is on cuda:0"):
        special.log_iv(x, x.cuda())


@on_gpu
def test_the_current_stream_is_respected():
    """Work behind a long kernel on a side stream sees that kernel's results."""
    p = ALL["3x3"]
    x, w, _ = tensors(p, "nchw")
    want = omniconv.conv2d(2 * x, w, **p.options)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        got = omniconv.conv2d(x.mul_(2), w, **p.options)
    torch.cuda.current_stream().wait_stream(side)
    assert torch.equal(got, want)


@on_gpu
def test_a_graph_captures_a_run():
    p = ALL["3x3"]
    x, w, _ = tensors(p, "nchw")
    out = omniconv.conv2d(x, w, **p.options)
    want = omniconv.conv2d(3 * x, w, **p.options)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        omniconv.conv2d(x, w, out=out, **p.options)
    x.mul_(3)
    graph.replay()
    assert torch.equal(out, want)


@on_gpu
def test_operands_of_two_devices_are_refused():
    p = ALL["3x3"]
    x, w, _ = tensors(p, "nchw")
    with pytest.raises((ValueError, TypeError), match="weight is on the CPU"):
        omniconv.conv2d(x, w.cpu(), **p.options)
