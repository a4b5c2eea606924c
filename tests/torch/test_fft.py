"""Long convolutions inside PyTorch: opcheck, gradcheck, and modules with published signatures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import omniconv
import omniconv.torch as ot
from omniconv.torch.fft import definition


def samples():
    t = lambda *s: torch.randn(*s, dtype=torch.float64, requires_grad=True)  # noqa: E731
    u, k, vec = (2, 3, 11), (3, 5), (3,)
    yield (t(*u), t(*k)), {}
    yield (
        (t(*u), t(*k)),
        {"pre_gate": t(*u), "post_gate": t(*u), "skip": t(*vec), "bias": t(*vec), "activation": "gelu"},
    )
    yield (t(*u), t(*k)), {"k_rev": t(3, 4), "mode": "circular", "skip": t(*vec)}
    yield (t(*u), t(2, *k)), {"per_sample": True, "mode": "same"}
    yield (t(*u), t(4, *k)), {"mode": "full", "pre_gate": t(*u)}
    yield (t(2, 11, 3), t(*k)), {"layout": "BLH", "mode": "valid", "bias": t(*vec)}


def full_call(args, how):
    names = ("pre_gate", "post_gate", "skip", "bias", "k_rev")
    rest = ("mode", "causal"), ("activation", None), ("negative_slope", 0.01), ("per_sample", False), ("layout", "BHL")
    return (*args, *(how.get(n) for n in names), *(how.get(n, d) for n, d in rest), "auto")


@pytest.mark.parametrize("number", range(6))
def test_opcheck_and_gradcheck(number):
    torch.manual_seed(0)
    args, how = list(samples())[number]
    torch.library.opcheck(torch.ops.omniconv.fft_conv.default, full_call(args, how))
    names = [n for n, v in how.items() if isinstance(v, torch.Tensor)]
    rest = {n: v for n, v in how.items() if n not in names}

    def call(u, k, *more):
        return ot.fft_conv(u, k, **dict(zip(names, more, strict=True)), **rest)

    every = (*args, *(how[n] for n in names))
    want = definition(*args, **how)
    assert torch.allclose(call(*every), want, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(call, every)
    assert torch.autograd.gradgradcheck(call, every, fast_mode=True)
    if "post_gate" in how:
        torch.library.opcheck(torch.ops.omniconv.fft_conv_sums.default, full_call(args, how))


def test_compiled_trained_and_widened():
    u, k = torch.randn(2, 3, 300), torch.randn(3, 300, requires_grad=True)
    compiled = torch.compile(lambda u, k: ot.fft_conv(u, k, activation="silu"), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(u, k), ot.fft_conv(u, k, activation="silu"))
    compiled(u, k).sum().backward()
    assert k.grad.shape == k.shape
    with torch.autocast("cpu", torch.bfloat16):
        assert ot.fft_conv(u.bfloat16(), k).dtype == torch.float32
    spectrum = omniconv.KernelSpectrum(k.detach(), length=300)
    assert torch.equal(ot.fft_conv(u, spectrum), ot.fft_conv(u, k.detach()))
    with pytest.raises(ValueError, match="u requires grad"):
        ot.fft_conv(u.clone().requires_grad_(), spectrum)
    with pytest.raises(TypeError, match="k is a ndarray"):
        ot.fft_conv(u, np.ones((3, 300), "float32"))


@pytest.mark.parametrize(
    ("seqlen", "length", "taps"), [(256, 128, 128), (256, 256, 256), (60, 41, 33), (1024, 1000, 7)]
)
def test_flash_fft_conv(seqlen, length, taps):
    u, k, pre, post = (
        torch.randn(2, 3, length),
        torch.randn(3, taps),
        torch.randn(2, 3, length),
        torch.randn(2, 3, length),
    )
    spectrum = torch.fft.rfft((u * pre).double(), seqlen) * torch.fft.rfft(k.double(), seqlen)
    want = post * torch.fft.irfft(spectrum, seqlen)[..., :length]
    got = ot.FlashFFTConv(seqlen, dtype=torch.float32)(u, k, pre, post)
    assert (got - want).norm() <= 6e-7 * want.norm()
    half = ot.FlashFFTConv(seqlen, dtype=torch.bfloat16)(u.bfloat16(), k, pre.bfloat16(), post.bfloat16())
    assert half.dtype == torch.bfloat16 and (half - want).norm() <= 1e-2 * want.norm()
    with pytest.raises(ValueError, match="longer than seqlen"):
        ot.FlashFFTConv(length - 1)(u, k)


@pytest.mark.parametrize("padding", [0, 2, 4, 8])
def test_flash_depthwise_conv1d(padding):
    plain = torch.nn.Conv1d(6, 6, 9, padding=padding, groups=6)
    x = torch.randn(2, 6, 50)
    ours = ot.FlashDepthWiseConv1d(6, 9, padding, plain.weight, plain.bias)
    assert torch.allclose(ours(x), plain(x), atol=1e-5)
    turned = ot.FlashDepthWiseConv1d(6, 9, padding, plain.weight.squeeze(1).t(), plain.bias, is_bhl=False)
    assert torch.allclose(turned(x.transpose(1, 2)).transpose(1, 2), plain(x), atol=1e-5)
    ours(x).square().sum().backward()
    plain(x).square().sum().backward()
    assert torch.allclose(ours.weights.grad, plain.weight.grad.squeeze(1), rtol=1e-4, atol=1e-3)
    assert set(ours.state_dict()) == {"weights", "bias"}
