"""Definitions of operations against PyTorch's, in every framework, and their kernels against the definitions."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as T
from hypothesis import given, settings
from hypothesis import strategies as st

from omniconv import nn
from omniconv.nn import functional as F

RNG = np.random.default_rng(0)
KINDS = ("numpy", "torch")


def rand(*shape, dtype="float64"):
    return RNG.standard_normal(shape).astype(dtype)


def as_kind(array, kind):
    if kind == "torch":
        return torch.tensor(array)
    return array


def test_jax_arrays_go_through_the_definitions():
    jax = pytest.importorskip("jax")
    x, w = rand(1, 4, 5, 6, dtype="float32"), rand(4, dtype="float32")

    def everything(x, w):
        y = F.activation(F.layer_norm(nn.max_pool(x, 2, 1), w, axis=1), "gelu")
        y = nn.resize(nn.adaptive_avg_pool(y, 3), (4, 4), mode="cubic")
        rows = y.reshape(4, 16).T
        return F.activation(nn.attention(rows, rows, rows), "silu").sum() + F.pad(y, [(1, 1)], mode="reflect").sum()

    got, slope = jax.jit(jax.value_and_grad(everything))(jax.numpy.asarray(x), jax.numpy.asarray(w))
    same(got, everything(x, w), 1e-5)
    t = torch.tensor(x, requires_grad=True)
    everything(t, torch.tensor(w)).backward()
    same(slope, t.grad, 1e-5)


def same(got, want, tolerance=1e-12):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.linalg.norm(got - want) <= tolerance * max(np.linalg.norm(want), 1e-30)


@pytest.mark.parametrize("name", sorted(F._KERNEL_WORDS))
@pytest.mark.parametrize("dtype, tolerance", [("float32", 4e-7), ("float64", 1e-14)])
def test_activation_kernels_against_definitions(name, dtype, tolerance):
    x = rand(2, 3, 4, 5, dtype=dtype) * 4
    for array in (x, np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1), x[:, ::2], np.array(0.7, dtype)):
        got = F.activation(array, name)
        want = F._defined(np, array.astype("float64"), name, 0.01)
        assert got.dtype == dtype
        same(got, want, tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*sorted(F._KERNEL_WORDS), "softplus"])
def test_activations_against_pytorch(name, kind):
    x = rand(50) * 5
    torchs = {
        "leaky_relu": T.leaky_relu, "gelu_tanh": lambda v: T.gelu(v, approximate="tanh"), "hardswish": T.hardswish,
        "quick_gelu": lambda v: v * torch.sigmoid(1.702 * v), "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    }  # fmt: skip
    want = (torchs.get(name) or getattr(T, name))(torch.tensor(x))
    same(F.activation(as_kind(x, kind), name), want)


def test_activation_keeps_the_layout_and_refuses_unknown_words():
    x = np.moveaxis(rand(2, 4, 5, 3, dtype="float32"), -1, 1)
    assert F.activation(x, "gelu").strides == x.strides
    with pytest.raises(ValueError, match="activation is 'swish7'"):
        F.activation(x, "swish7")


@pytest.mark.parametrize("kind", KINDS)
def test_norms_against_pytorch(kind):
    x, w, b = rand(2, 6, 5, 4), rand(6), rand(6)
    mean, var = rand(6), RNG.random(6) + 0.5
    t = [torch.tensor(v) for v in (x, w, b, mean, var)]
    k = [as_kind(v, kind) for v in (x, w, b, mean, var)]
    same(F.batch_norm(k[0], k[3], k[4], k[1], k[2], eps=1e-3), T.batch_norm(t[0], t[3], t[4], t[1], t[2], eps=1e-3))
    same(F.group_norm(k[0], 3, k[1], k[2]), T.group_norm(t[0], 3, t[1], t[2]))
    same(F.instance_norm(k[0], k[1], k[2]), T.instance_norm(t[0], weight=t[1], bias=t[2]))
    last = t[0].permute(0, 2, 3, 1)
    layer = T.layer_norm(last, (6,), t[1], t[2], eps=1e-6)
    same(F.layer_norm(F.channels_last(k[0]), k[1], k[2], eps=1e-6), layer)
    same(F.layer_norm(k[0], k[1], k[2], axis=1, eps=1e-6), layer.permute(0, 3, 1, 2))
    same(F.rms_norm(F.channels_last(k[0]), k[1], eps=1e-5), T.rms_norm(last, (6,), t[1], eps=1e-5))
    same(F.l2_normalize(k[0], axis=1), T.normalize(t[0], dim=1))
    norms = last.pow(2).sum((1, 2), keepdim=True).sqrt()
    want = last * (t[1] * norms / (norms.mean(-1, keepdim=True) + 1e-6) + 1) + t[2]
    same(F.grn(F.channels_last(k[0]), k[1], k[2]), want)


@settings(max_examples=60, deadline=None)
@given(
    n=st.tuples(st.integers(1, 11), st.integers(1, 11)), kernel=st.integers(1, 4), stride=st.integers(1, 4),
    pad=st.integers(0, 2), ceil=st.booleans(), count=st.booleans(), last=st.booleans(),
)  # fmt: skip
def test_pools_against_pytorch(n, kernel, stride, pad, ceil, count, last):
    pad = min(pad, kernel // 2)
    if min(n) + 2 * pad < kernel:
        with pytest.raises(ValueError, match="does not fit"):
            nn.max_pool(np.zeros((1, 2, *n)), kernel, stride, pad)
        return
    x = rand(2, 3, *n)
    t = torch.tensor(x)
    x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if last else x
    same(nn.max_pool(x, kernel, stride, pad, ceil_mode=ceil), T.max_pool2d(t, kernel, stride, pad, ceil_mode=ceil))
    want = T.avg_pool2d(t, kernel, stride, pad, ceil_mode=ceil, count_include_pad=count)
    same(nn.avg_pool(x, kernel, stride, pad, ceil_mode=ceil, count_include_pad=count), want)


@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_pool_and_resize_against_pytorch(kind):
    x = rand(2, 3, 5, 9)
    a, t = as_kind(x, kind), torch.tensor(x)
    for size in ((1, 1), (7, 7), (3, 4), (5, 9), (8, 2)):
        same(nn.adaptive_avg_pool(a, size), T.adaptive_avg_pool2d(t, size))
        same(nn.resize(a, size, mode="nearest"), T.interpolate(t, size, mode="nearest"))
        for corners in (False, True):
            for ours, theirs in (("linear", "bilinear"), ("cubic", "bicubic")):
                want = T.interpolate(t, size, mode=theirs, align_corners=corners)
                same(nn.resize(a, size, mode=ours, align_corners=corners), want)


@pytest.mark.parametrize("kind", KINDS)
def test_moves_against_pytorch(kind):
    x = rand(2, 8, 4, 6)
    a, t = as_kind(x, kind), torch.tensor(x)
    same(F.pixel_shuffle(a, 2), T.pixel_shuffle(t, 2))
    same(F.pixel_unshuffle(a, 2), T.pixel_unshuffle(t, 2))
    for ours, theirs in (
        ("zeros", "constant"),
        ("reflect", "reflect"),
        ("replicate", "replicate"),
        ("circular", "circular"),
    ):
        same(F.pad(a, [(1, 2), (3, 0)], mode=ours), T.pad(t, (3, 0, 1, 2), mode=theirs))
    same(F.pad(a, [(-1, 2)], value=7.0), T.pad(t, (-1, 2), value=7.0))
    same(F.glu(a, axis=1), T.glu(t, dim=1))
    same(F.softmax(a, axis=1), T.softmax(t, dim=1))
    values, at = F.topk(a, 3)
    want = torch.topk(t, 3)
    same(values, want.values)
    assert np.array_equal(np.asarray(at), want.indices.numpy())
    ids = np.array([[0, 5], [7, 7]])
    table = rand(8, 3)
    same(F.embedding(as_kind(ids, kind), as_kind(table, kind)), table[ids])


@pytest.mark.parametrize("kind", KINDS)
def test_products_with_an_epilogue(kind):
    x, w, b, s, r = rand(2, 3, 6), rand(4, 6), rand(4), rand(4), rand(2, 3, 4)
    got = F.linear(
        *(as_kind(v, kind) for v in (x, w, b)), scale=as_kind(s, kind), residual=as_kind(r, kind), activation="silu"
    )
    same(got, T.silu(torch.tensor(x @ w.T * s + b + r)))
    x, w = rand(2, 4, 7, 6), rand(6, 2, 3, 3)
    b, s, r = rand(6), rand(6), rand(2, 6, 4, 3)
    how = {"stride": 2, "padding": (1, 1), "groups": 2}
    got = F.conv(
        *(as_kind(v, kind) for v in (x, w, b)),
        scale=as_kind(s, kind),
        residual=as_kind(r, kind),
        activation="gelu",
        **how,
    )
    t = [torch.tensor(v) for v in (x, w, b, s, r)]
    plain = T.conv2d(t[0], t[1], stride=2, padding=1, groups=2)
    same(got, T.gelu(plain * t[3][:, None, None] + t[2][:, None, None] + t[4]))
    got = F.conv_transpose(
        as_kind(x, kind), as_kind(rand(4, 3, 3, 3) * 0 + 1, kind), stride=2, padding=1, output_padding=1
    )
    same(got, T.conv_transpose2d(t[0], torch.ones(4, 3, 3, 3, dtype=torch.float64), None, 2, 1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_attention_against_pytorch(kind, monkeypatch):
    q, k, v, bias = rand(2, 3, 5, 4), rand(2, 3, 7, 4), rand(2, 3, 7, 6), rand(3, 5, 7)
    mask = RNG.random((5, 7)) < 0.6
    mask[:, 0] = True
    a = [as_kind(x, kind) for x in (q, k, v, bias)]
    t = [torch.tensor(x) for x in (q, k, v, bias)]
    m = as_kind(mask, kind)
    cases = [
        ({}, {}), ({"bias": a[3]}, {"attn_mask": t[3]}), ({"mask": m}, {"attn_mask": torch.tensor(mask)}),
        ({"scale": 0.3}, {"scale": 0.3}),
    ]  # fmt: skip
    for size in (1 << 22, 50):  # whole, and in blocks of one query
        monkeypatch.setattr(sys.modules["omniconv.nn.attention"], "LOGITS", size)
        for ours, theirs in cases:
            same(nn.attention(*a[:3], **ours), T.scaled_dot_product_attention(*t[:3], **theirs))
        same(
            nn.attention(a[0], a[0], a[0], causal=True),
            T.scaled_dot_product_attention(t[0], t[0], t[0], is_causal=True),
        )
        logits = (t[0] @ t[1].mT) / 2
        want = torch.softmax(logits * t[3], -1) @ t[2]
        same(nn.attention(*a[:3], factor=a[3]), want)
    none = np.zeros((5, 7), dtype=bool)
    assert not np.asarray(nn.attention(*a[:3], mask=as_kind(none, kind))).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k, stride, dilation", [(3, 1, 1), (3, 2, 1), (5, 1, 2), (2, 1, 1)])
def test_window_conv_against_unfold(k, stride, dilation, kind):
    x, pad = rand(2, 3, 9, 8), (k - 1) // 2 * dilation
    t = torch.tensor(x)
    cols = T.unfold(t, k, dilation, pad, stride)
    oh, ow = ((n + 2 * pad - (k - 1) * dilation - 1) // stride + 1 for n in (9, 8))
    w = rand(2, 3, k * k, oh, ow)
    want = (cols.reshape(2, 3, k * k, oh, ow) * torch.tensor(w)).sum(2)
    same(nn.window_conv2d(as_kind(x, kind), as_kind(w, kind), stride=stride, dilation=dilation), want)
    shared = nn.window_conv2d(as_kind(x, kind), as_kind(w[0], kind), stride=stride, dilation=dilation)
    same(shared, (cols.reshape(2, 3, k * k, oh, ow) * torch.tensor(w[0])).sum(2))


def bilinear(image, y, x):
    h, w = image.shape
    total = 0.0
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < h and 0 <= j < w:
                total += image[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_deform_conv_against_loops(kind):
    x, w, b = rand(2, 2, 5, 6), rand(3, 2, 3, 3), rand(3)
    offset, mask = rand(2, 18, 3, 3) * 2, RNG.random((2, 9, 3, 3))
    want = np.zeros((2, 3, 3, 3))
    for n, co, i, j in np.ndindex(*want.shape):
        for t, ci in np.ndindex(9, 2):
            y = 2 * i - 1 + t // 3 + offset[n, 2 * t, i, j]
            z = 2 * j - 1 + t % 3 + offset[n, 2 * t + 1, i, j]
            want[n, co, i, j] += w[co, ci, t // 3, t % 3] * mask[n, t, i, j] * bilinear(x[n, ci], y, z)
    a = [as_kind(v, kind) for v in (x, offset, w, b)]
    same(nn.deform_conv2d(*a, mask=as_kind(mask, kind), stride=2, padding=1), want + b[:, None, None])
    plain = nn.deform_conv2d(a[0], a[1] * 0, *a[2:], stride=2, padding=1)
    same(plain, T.conv2d(*(torch.tensor(v) for v in (x, w, b)), stride=2, padding=1))


def zeros(*shape):
    return np.zeros(shape)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: nn.max_pool(zeros(1, 1, 4), 2, padding=2), "padding is .*at most half"),
        (lambda: nn.max_pool(zeros(1, 1, 4), 0), "kernel is .*at least 1"),
        (lambda: nn.resize(zeros(1, 1, 4), (2,), mode="lanczos"), "mode is 'lanczos'"),
        (lambda: nn.resize(zeros(1, 1, 4), (2, 2)), "size is .*expected are 1"),
        (lambda: F.pad(zeros(3, 3), [(3, 0)], mode="reflect"), "allows at most 2"),
        (lambda: F.pixel_shuffle(zeros(1, 3, 2, 2), 2), "needs a multiple of 4"),
        (lambda: F.group_norm(zeros(1, 3, 2), 2), "groups is 2"),
        (lambda: F.topk(zeros(3), 4), "k is 4"),
        (lambda: nn.deform_conv2d(zeros(1, 1, 3, 3), zeros(1, 8, 3, 3), zeros(1, 1, 3, 3)), "expected are 18"),
        (lambda: nn.window_conv2d(zeros(1, 1, 3, 3), zeros(1, 8, 3, 3)), "8 taps"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("padding", ["same", "causal", "valid", [(2, 0), (1, 3)]])
def test_paddings_that_pytorch_has_no_word_for(padding):
    x, w = rand(1, 2, 9, 8), rand(3, 2, 4, 3)
    want = F.conv(x, w, padding=padding, stride=2)
    same(F.conv(torch.tensor(x), torch.tensor(w), padding=padding, stride=2), want)
