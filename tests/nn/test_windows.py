"""Windows, their attention, and the operations with more than one group, against PyTorch or loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as T

from omniconv import nn
from omniconv.nn import functional as F
from tests.nn.test_functional import KINDS, RNG, as_kind, bilinear, rand, same


@pytest.mark.parametrize("kind", KINDS)
def test_norms_of_channels_last_and_first(kind):
    x, w, b, mean = rand(2, 6, 5, 4), rand(6), rand(6), rand(6)
    var = RNG.random(6) + 0.5
    t, last = torch.tensor(x), np.ascontiguousarray(np.moveaxis(x, 1, -1))
    tw, tb = torch.tensor(w), torch.tensor(b)
    k = [as_kind(v, kind) for v in (last, w, b, mean, var)]

    def turned(y):
        return y.permute(0, 2, 3, 1)

    same(F.group_norm(k[0], 3, k[1], k[2], axis=-1), turned(T.group_norm(t, 3, tw, tb)))
    same(F.instance_norm(k[0], k[1], k[2], axis=-1), turned(T.instance_norm(t, weight=tw, bias=tb)))
    want = T.batch_norm(t, torch.tensor(mean), torch.tensor(var), tw, tb)
    same(F.batch_norm(k[0], k[3], k[4], k[1], k[2], axis=-1), turned(want))
    rms = T.rms_norm(turned(t), (6,), tw, eps=1e-5)
    same(F.rms_norm(k[0], k[1], eps=1e-5), rms)
    same(F.rms_norm(as_kind(x, kind), k[1], axis=1, eps=1e-5), rms.permute(0, 3, 1, 2))
    norms = t.pow(2).sum((2, 3), keepdim=True).sqrt()
    shaped = (1, 6, 1, 1)
    want = t * (tw.view(shaped) * norms / (norms.mean(1, keepdim=True) + 1e-6) + 1) + tb.view(shaped)
    same(F.grn(as_kind(x, kind), k[1], k[2], axis=1), want)
    same(F.grn(*k[:3]), turned(want))


def test_norms_in_float32_do_not_depend_on_the_layout():
    x, w, b = (rand(*s, dtype="float32") for s in ((2, 16, 5, 4), (16,), (16,)))
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    functions = [
        lambda x, axis: F.grn(x, w, b, axis=axis), lambda x, axis: F.group_norm(x, 4, w, b, axis=axis),
        lambda x, axis: F.instance_norm(x, w, b, axis=axis), lambda x, axis: F.rms_norm(x, w, axis=axis),
        lambda x, axis: F.layer_norm(x, w, b, axis=axis), lambda x, axis: F.batch_norm(x, b, w * w, w, b, axis=axis),
    ]  # fmt: skip
    for function in functions:
        same(np.moveaxis(function(x, 1), 1, -1), function(last, -1), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_pools_of_the_largest(kind):
    x = rand(2, 3, 5, 9)
    a, t = as_kind(x, kind), torch.tensor(x)
    for size in ((1, 1), (7, 7), (3, 4), (5, 9)):
        same(nn.adaptive_max_pool(a, size), T.adaptive_max_pool2d(t, size))
    same(F.global_max_pool(a), t.amax((2, 3)))
    same(F.global_avg_pool(a, keepdims=True), t.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("border", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("corners", [False, True])
def test_grid_sample_against_pytorch(mode, border, corners, kind):
    x, grid = rand(2, 3, 5, 6), RNG.uniform(-2.7, 2.7, (2, 4, 7, 2))
    theirs = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    edge = {"replicate": "border", "reflect": "reflection"}.get(border, border)
    want = T.grid_sample(torch.tensor(x), torch.tensor(grid), theirs, edge, corners)
    same(nn.grid_sample(as_kind(x, kind), as_kind(grid, kind), mode=mode, border=border, align_corners=corners), want)


@pytest.mark.parametrize("kind", KINDS)
def test_deform_conv_of_groups_against_loops(kind):
    x, w = rand(1, 4, 5, 6), rand(6, 2, 3, 2)
    offset, mask = rand(1, 2 * 2 * 6, 3, 3), RNG.random((1, 2 * 6, 3, 3))
    want = np.zeros((1, 6, 3, 3))
    for co, i, j in np.ndindex(6, 3, 3):
        for t, e in np.ndindex(6, 2):
            ci = co // 3 * 2 + e
            at = ci // 2 * 6 + t  # both halves of the channels have offsets of their own
            y = 2 * i - 1 + t // 2 + offset[0, 2 * at, i, j]
            z = 2 * j - 1 + t % 2 * 2 + offset[0, 2 * at + 1, i, j]
            want[0, co, i, j] += w[co, e, t // 2, t % 2] * mask[0, at, i, j] * bilinear(x[0, ci], y, z)
    a = [as_kind(v, kind) for v in (x, offset, w)]
    how = {"stride": 2, "padding": 1, "dilation": (1, 2), "groups": 2}
    same(nn.deform_conv2d(*a, mask=as_kind(mask, kind), **how), want)


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_with_weights_of_each_sample(kind):
    x, w, b = rand(3, 4, 6, 5), rand(3, 6, 2, 3, 3), rand(3, 6)
    got = F.conv_per_sample(*(as_kind(v, kind) for v in (x, w, b)), stride=2, padding=1, groups=2)
    t = [torch.tensor(v) for v in (x, w, b)]
    wide = T.conv2d(t[0].reshape(1, 12, 6, 5), t[1].reshape(18, 2, 3, 3), t[2].reshape(-1), 2, 1, groups=6)
    same(got, wide.reshape(3, 6, 3, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_windows_and_their_bias_against_loops(kind):
    x, table = rand(2, 6, 8, 3), rand(3 * 7, 5)
    a = as_kind(x, kind)
    windows = nn.split_windows(a, (2, 4))
    assert windows.shape == (2, 6, 8, 3)
    same(windows[:, 3], x[:, 2:4, 4:].reshape(2, 8, 3))
    same(nn.merge_windows(windows, (2, 4), (6, 8)), x)
    wide = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    halos = nn.halo_windows(a, (2, 4), 1)
    assert halos.shape == (2, 6, 24, 3)
    same(halos[:, 3], wide[:, 2:6, 4:10].reshape(2, 24, 3))
    bias = np.asarray(nn.relative_bias(as_kind(table, kind), (2, 4)))
    for query, key in np.ndindex(8, 8):
        row, column = query // 4 - key // 4, query % 4 - key % 4
        assert np.array_equal(bias[:, query, key], table[(row + 1) * 7 + column + 3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dilation", [1, 2])
def test_window_products_against_unfold(dilation, kind):
    q, k, v = rand(2, 3, 5, 6, 4), rand(2, 3, 5, 6, 4), rand(2, 3, 5, 6, 7)

    def unfolded(array):
        images = torch.tensor(array).permute(0, 1, 4, 2, 3).reshape(6, -1, 5, 6)
        cols = T.unfold(images, 3, dilation, dilation).reshape(2, 3, -1, 9, 5, 6)
        return cols.permute(0, 1, 4, 5, 3, 2)  # [.., H, W, taps, D]

    logits = nn.window_qk(as_kind(q, kind), as_kind(k, kind), 3, dilation=dilation)
    same(logits, (unfolded(k) @ torch.tensor(q)[..., None])[..., 0])
    weights = rand(2, 3, 5, 6, 9)
    sums = nn.window_av(as_kind(weights, kind), as_kind(v, kind), dilation=dilation)
    same(sums, (torch.tensor(weights)[..., None, :] @ unfolded(v))[..., 0, :])


@pytest.mark.parametrize("kind", KINDS)
def test_gated_and_windowed_attention(kind):
    q, k, v, place = rand(2, 3, 5, 4), rand(2, 3, 7, 4), rand(2, 3, 7, 6), RNG.random((3, 5, 7))
    gate = RNG.random((3, 1, 1))
    t = [torch.tensor(a) for a in (q, k, v, place, gate)]
    want = ((1 - t[4]) * torch.softmax(t[0] @ t[1].mT / 2, -1) + t[4] * t[3]) @ t[2]
    same(nn.gated_attention(*(as_kind(a, kind) for a in (q, k, v, place, gate))), want)
    x, table = rand(1, 4, 4, 6), rand(9, 2)  # two heads in windows of 2 x 2, as Swin has them
    windows = nn.split_windows(as_kind(x, kind), 2)
    heads = F.permute(windows.reshape(1, 4, 4, 2, 3), (0, 1, 3, 2, 4))
    y = nn.attention(heads, heads, heads, bias=nn.relative_bias(as_kind(table, kind), 2))
    t = torch.tensor(np.asarray(heads))
    bias = torch.tensor(np.asarray(nn.relative_bias(table, 2)))
    same(y, T.scaled_dot_product_attention(t, t, t, attn_mask=bias.expand(1, 4, 2, 4, 4)))


def zeros(*shape):
    return np.zeros(shape)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: F.group_norm(zeros(1, 4, 2, 2), 2, axis=2), "axis is 2; allowed are 1 and 3"),
        (lambda: F.conv_per_sample(zeros(2, 1, 4), zeros(3, 1, 1, 2)), "weight has 3 sets; x has 2"),
        (lambda: nn.adaptive_max_pool(zeros(1, 1, 4), 0), "size is 0"),
        (lambda: nn.split_windows(zeros(1, 4, 5, 1), 2), "it must divide the map of x, 4 x 5"),
        (lambda: nn.merge_windows(zeros(1, 3, 4, 1), 2, (4, 4)), "another number"),
        (lambda: nn.relative_bias(zeros(8, 1), 2), "table has 8 rows; a window of 2 x 2 has 9"),
        (lambda: nn.window_qk(zeros(2, 2, 1), zeros(2, 2, 1), 2), "kernel is 2; expected is an odd number"),
        (lambda: nn.window_av(zeros(2, 2, 8), zeros(2, 2, 1)), "8 taps"),
        (lambda: nn.grid_sample(zeros(1, 1, 3, 3), zeros(1, 3, 3, 2), mode="area"), "mode is 'area'"),
        (lambda: nn.grid_sample(zeros(1, 1, 3, 3), zeros(1, 3, 3, 2), border="mirror"), "border is 'mirror'"),
        (lambda: nn.deform_conv2d(zeros(1, 3, 3, 3), zeros(1, 16, 2, 2), zeros(1, 3, 2, 2)), "16 channels"),
        (lambda: nn.deform_conv2d(zeros(1, 4, 3, 3), zeros(1, 8, 2, 2), zeros(2, 4, 2, 2), groups=2), "groups=2"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
