"""Masked convolution: PyTorch's in float64 between masks; bits, gradients, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import omniconv
from omniconv import sparse
from tests.sparse.oracle import error

torch = pytest.importorskip("torch")
F = torch.nn.functional

# channels in and out, groups, kernel, stride, padding, dilation, size, cells
PROBLEMS = {
    "3x3": (20, 24, 1, (3, 3), (1, 1), (1, 1), (1, 1), (24, 32), (3, 4)),
    "3x3, one pixel": (33, 16, 1, (3, 3), (1, 1), (1, 1), (1, 1), (5, 7), (5, 7)),
    "winograd": (64, 48, 1, (3, 3), (1, 1), (1, 1), (1, 1), (16, 16), (4, 4)),
    "stride": (8, 12, 2, (3, 3), (2, 2), (1, 1), (1, 1), (16, 16), (4, 4)),
    "stem": (3, 16, 1, (7, 7), (2, 2), (3, 3), (1, 1), (32, 32), (2, 2)),
    "patches": (5, 7, 1, (2, 2), (2, 2), (0, 0), (1, 1), (12, 8), (3, 2)),
    "1x1, stride": (6, 9, 1, (1, 1), (2, 2), (0, 0), (1, 1), (16, 16), (4, 2)),
    "dilated": (8, 8, 4, (3, 2), (1, 1), (2, 1), (2, 2), (12, 12), (3, 6)),
    "uneven": (4, 6, 1, (5, 5), (2, 2), (0, 0), (1, 1), (12, 12), (2, 2)),
    "one cell": (4, 6, 1, (3, 3), (1, 1), (0, 0), (1, 1), (9, 7), (1, 1)),
    "depthwise": (70, 70, 70, (7, 7), (1, 1), (3, 3), (1, 1), (16, 24), (4, 3)),
    "depthwise, pixels": (16, 16, 16, (7, 7), (1, 1), (3, 3), (1, 1), (7, 7), (7, 7)),
    "depthwise, stride": (21, 21, 21, (3, 3), (2, 2), (1, 1), (1, 1), (12, 16), (3, 4)),
    "depthwise, 1 low": (12, 12, 12, (3, 5), (1, 1), (0, 4), (1, 2), (8, 14), (1, 7)),
    "depthwise, many taps": (5, 5, 5, (17, 17), (1, 1), (8, 8), (1, 1), (18, 18), (3, 3)),
    "two of a group": (6, 12, 6, (3, 3), (1, 1), (1, 1), (1, 1), (8, 8), (4, 4)),
}


def problem(name: str, batch: int = 3, dtype: str = "float32"):
    ci, co, groups, kernel, stride, padding, dilation, size, cells = PROBLEMS[name]
    rng = np.random.default_rng(len(name))
    x = rng.standard_normal((batch, ci, *size)).astype(dtype)
    w = rng.standard_normal((co, ci // groups, *kernel)).astype(dtype)
    mask = rng.random((batch, *cells)) < 0.5
    mask[0], mask[0, -1, 0] = False, True
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, w, mask, how


def spread(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return np.kron(mask, np.ones((size[0] // mask.shape[1], size[1] // mask.shape[2])))[:, None]


def value(x, w, mask, how, epilogue=lambda y: y):
    x, w = (a if isinstance(a, torch.Tensor) else torch.from_numpy(a.astype(np.float64)) for a in (x, w))
    y = epilogue(F.conv2d(x * torch.from_numpy(spread(mask, x.shape[2:])), w, **how))
    return y * torch.from_numpy(spread(mask, y.shape[2:]))


def truth(x, w, mask, how):
    """Value and gradients, for the gradient of y that is cos of its index."""
    xt = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    wt = torch.from_numpy(w.astype(np.float64)).requires_grad_()
    y = value(xt, wt, mask, how)
    grad = np.cos(np.arange(y.numel())).reshape(tuple(y.shape))
    y.backward(torch.from_numpy(grad))
    return y.detach().numpy(), grad.astype(x.dtype), xt.grad.numpy(), wt.grad.numpy()


def poisoned(a: np.ndarray, mask: np.ndarray, last: bool) -> np.ndarray:
    """What is hidden as NaN: it must not be read; in memory as [N, H, W, C] if `last`."""
    a = np.where(spread(mask, a.shape[2:]) > 0, a, np.float32(np.nan)).astype(a.dtype)
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else a


@pytest.mark.parametrize("name", PROBLEMS)
def test_is_the_dense_one_between_masks(name, isa):
    x, w, mask, how = problem(name)
    want, grad, dx, dw = truth(x, w, mask, how)
    for last in (False, True):
        xs, gs = poisoned(x, mask, last), poisoned(grad, mask, last)
        out = np.full_like(gs, np.nan)
        y = sparse.masked_conv2d(xs, w, mask, out=out, **how)
        assert y is out and error(y, want) < 1e-6
        assert not y[np.broadcast_to(spread(mask, y.shape[2:]) == 0, y.shape)].any()
        gx = sparse.masked_conv2d_grad_input(gs, w, mask, x.shape, **how)
        assert error(gx, dx) < 1e-6 and (gx.strides[1] == 4) == (last and x.shape[1] > 1)
        assert error(sparse.masked_conv2d_grad_weight(gs, xs, mask, w.shape, **how), dw) < 1e-6


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_plan_keeps_weights_and_takes_any_mask(name, isa):
    x, w, mask, how = problem(name)
    rng = np.random.default_rng(1)
    weight, bias = w.copy(), rng.standard_normal(w.shape[0], dtype=np.float32)
    plan = sparse.plan_masked_conv2d(x.shape, weight, mask.shape[1:], bias, activation="relu", **how)
    weight[:] = np.nan
    for seen in (mask, ~mask, np.zeros_like(mask)):
        want = value(x, w, seen, how, lambda y: (y + torch.from_numpy(bias)[:, None, None]).relu()).numpy()
        for last in (False, True):
            assert error(plan(poisoned(x, seen, last), seen), want) < 1e-6
    part = sparse.plan_masked_conv2d(x[:1].shape, w, mask.shape[1:], bias, activation="relu", **how)
    seen = np.ones_like(mask)
    assert np.array_equal(part(x[:1], seen[:1]), plan(x, seen)[:1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_plan_of_the_dense_way(dtype):
    x, w, mask, how = problem("3x3", dtype=dtype)
    how |= {"padding_mode": "reflect"}
    plan = sparse.plan_masked_conv2d(x.shape, w, mask.shape[1:], **how)
    assert plan.algorithm == "dense" and "dense" in repr(plan)
    assert error(plan(x, mask), sparse.masked_conv2d(x, w, mask, **how)) < 1e-6
    nhwc = sparse.plan_masked_conv2d(x.transpose(0, 2, 3, 1).shape, w, mask.shape[1:], layout="NHWC", **how)
    assert np.array_equal(nhwc(x.transpose(0, 2, 3, 1), mask).transpose(0, 3, 1, 2), plan(x, mask))


def test_errors_of_a_plan():
    x, w, mask, how = problem("stride")
    make = sparse.plan_masked_conv2d
    plan = make(x.shape, w, (4, 4), **how)
    for call, words in [
        (lambda: make(x.shape, w, (5, 4), **how), "rows"),
        (lambda: make(x.shape, w, 0, **how), "grid"),
        (lambda: make(x.shape, w, (4, 4), np.ones(5, np.float32), **how), "bias"),
        (lambda: make(x.shape[:3], w, (4, 4), **how), "x_shape"),
        (lambda: plan(x[:2], mask[:2]), "x has shape"),
        (lambda: plan(x, mask[:, :2]), "block_mask"),
        (lambda: plan(x, mask, out=np.ones((3, 12, 8, 9), np.float32)), "out"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("name", ["3x3", "depthwise", "uneven"])
def test_float64_is_computed_densely(name):
    x, w, mask, how = problem(name, dtype="float64")
    want, grad, dx, dw = truth(x, w, mask, how)
    assert error(sparse.masked_conv2d(x, w, mask, **how), want) < 1e-14
    assert error(sparse.masked_conv2d_grad_input(grad, w, mask, x.shape, **how), dx) < 1e-14
    assert error(sparse.masked_conv2d_grad_weight(grad, x, mask, w.shape, **how), dw) < 1e-14


@pytest.mark.parametrize(
    ("name", "last"), list(itertools.product(["3x3", "depthwise", "depthwise, stride"], [False, True]))
)
def test_the_epilogue_ends_at_the_mask(name, last):
    x, w, mask, how = problem(name)
    rng = np.random.default_rng(0)
    bias, scale = rng.standard_normal((2, w.shape[0]), dtype=np.float32)
    residual = rng.standard_normal(value(x, w, mask, how).shape).astype(np.float32)

    def epilogue(y):
        y = y * torch.from_numpy(scale)[:, None, None] + torch.from_numpy(bias)[:, None, None]
        return F.gelu(y + torch.from_numpy(residual))

    want = value(x, w, mask, how, epilogue).numpy()
    if last:
        x, residual = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, residual))
    y = sparse.masked_conv2d(x, w, mask, bias, scale=scale, residual=residual, activation="gelu", **how)
    assert error(y, want) < 1e-6


@pytest.mark.parametrize("name", ["3x3", "winograd", "depthwise"])
def test_bits_do_not_depend_on_threads_batch_layout_or_neighbours(name):
    x, w, mask, how = problem(name, batch=5)
    _, grad, *_ = truth(x, w, mask, how)

    def results(x, grad, mask):
        return (
            sparse.masked_conv2d(x, w, mask, **how),
            sparse.masked_conv2d_grad_input(grad, w, mask, x.shape, **how),
            sparse.masked_conv2d_grad_weight(grad, x, mask, w.shape, **how),
        )

    threads = omniconv.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            omniconv.set_num_threads(count)
            found.append(results(x, grad, mask))
    finally:
        omniconv.set_num_threads(threads)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
    part = results(x[2:4], grad[2:4], mask[2:4])
    last = results(poisoned(x, mask, True), poisoned(grad, mask, True), mask)
    for i in range(2):
        assert np.array_equal(part[i], found[0][i][2:4]) and np.array_equal(last[i], found[0][i])


def test_nothing_and_all_may_be_seen():
    x, w, mask, how = problem("3x3")
    for seen in (False, True):
        all_ = np.full_like(mask, seen)
        want, grad, _, dw = truth(x, w, all_, how)
        assert np.allclose(sparse.masked_conv2d(x, w, all_, **how), want, atol=1e-4)
        assert np.allclose(sparse.masked_conv2d_grad_weight(grad, x, all_, w.shape, **how), dw, atol=1e-3)


def test_layouts_and_masks_of_other_kinds():
    x, w, mask, how = problem("stride")
    want = sparse.masked_conv2d(x, w, mask, **how)
    for m in (mask[:, None], mask.astype(np.int64) * 3, torch.from_numpy(mask).float()):
        assert np.array_equal(sparse.masked_conv2d(x, w, m, **how), want)
    y = sparse.masked_conv2d(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), w, mask, layout="NHWC", **how)
    assert np.array_equal(y.transpose(0, 3, 1, 2), want)
    y = sparse.masked_conv2d(torch.from_numpy(x), torch.from_numpy(w), mask, **how)
    assert isinstance(y, torch.Tensor) and np.array_equal(y.numpy(), want)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"block_mask": np.ones((2, 4, 4))}, ValueError, "block_mask"),
        ({"block_mask": np.ones((3, 5, 4))}, ValueError, "rows"),
        ({"block_mask": np.ones((3, 4, 3))}, ValueError, "columns"),
        ({"block_mask": np.ones((3, 0, 4))}, ValueError, "block_mask"),
        ({"block_mask": "all"}, TypeError, "block_mask"),
        ({"padding": 0}, ValueError, "block_mask"),
        ({"weight": np.ones((12, 4, 3, 3))}, TypeError, "weight"),
        ({"weight": np.ones((12, 5, 3, 3), np.float32)}, ValueError, "weight"),
        ({"x": np.ones((3, 8, 16), np.float32)}, ValueError, "x"),
        ({"bias": np.ones(5, np.float32)}, ValueError, "bias"),
        ({"out": np.ones((3, 12, 8, 9), np.float32)}, ValueError, "out"),
    ],
)
def test_errors_name_the_argument(change, kind, words):
    x, w, mask, how = problem("stride")
    with pytest.raises(kind, match=words):
        sparse.masked_conv2d(**({"x": x, "weight": w, "block_mask": mask} | how | change))


def test_gradients_in_pytorch():
    from omniconv.torch import masked_conv2d

    x, w, mask, how = problem("3x3")
    want, grad, dx, dw = truth(x, w, mask, how)
    xt, wt = torch.from_numpy(x).requires_grad_(), torch.from_numpy(w).requires_grad_()
    bias = torch.ones(w.shape[0], requires_grad=True)
    m = torch.from_numpy(mask)
    y = masked_conv2d(xt, wt, m, bias, **how)
    y.backward(torch.from_numpy(grad))
    seen = spread(mask, want.shape[2:])
    assert error(y.detach().numpy(), want + seen) < 1e-6
    assert error(xt.grad.numpy(), dx) < 1e-6 and error(wt.grad.numpy(), dw) < 1e-6
    assert error(bias.grad.numpy(), (grad * seen).sum((0, 2, 3))) < 1e-5
    x, w, mask, how = problem("stride", batch=1, dtype="float64")
    x, w, m = torch.from_numpy(x[:, :, :8, :8]).requires_grad_(), torch.from_numpy(w).requires_grad_(), m[:1, :2, :2]
    call = lambda x, w: masked_conv2d(x, w, m, **how)  # noqa: E731
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(call, (x, w), fast_mode=True)
    arguments = (x, w, m, [2, 2], [1, 1, 1, 1], [1, 1], 2)
    torch.library.opcheck(torch.ops.omniconv.masked_conv.default, arguments)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_pooling_and_norms_are_of_what_is_seen(framework):
    from omniconv import nn

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 8, 12)).astype(np.float32)
    mask = rng.random((2, 4, 3)) < 0.5
    seen = spread(mask, (8, 12)) > 0
    kind = torch.from_numpy if framework == "torch" else lambda a: a
    holes, m = kind(np.where(seen, x, np.float32(np.nan))), kind(mask)
    weight, bias = (kind(rng.standard_normal(5).astype(np.float32)) for _ in range(2))
    y, mean, variance = nn.masked_batch_norm(holes, m, weight, bias)
    rows = x.transpose(1, 0, 2, 3)[:, seen[:, 0]].astype(np.float64)
    assert np.allclose(mean, rows.mean(1), atol=1e-6) and np.allclose(variance, rows.var(1), atol=1e-6)
    scale = np.asarray(weight) / np.sqrt(rows.var(1) + 1e-5)
    want = (x - rows.mean(1)[:, None, None]) * scale[:, None, None] + np.asarray(bias)[:, None, None]
    assert np.allclose(y, np.where(seen, want, 0), atol=1e-5)
    want = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
    assert np.allclose(nn.masked_layer_norm(holes, m), np.where(seen, want, 0), atol=1e-5)
    for pool, of in ((nn.masked_max_pool, np.max), (nn.masked_avg_pool, np.mean)):
        found = np.asarray(pool(holes, m, 3, 2, 1))
        for n, c, i, j in np.ndindex(found.shape):
            window = (n, slice(max(0, 2 * i - 1), 2 * i + 2), slice(max(0, 2 * j - 1), 2 * j + 2))
            values = x[window[0], c][window[1:]][seen[window[0], 0][window[1:]]]
            inside = mask[n, i, j // 2]
            assert np.isclose(found[n, c, i, j], of(values) if inside and values.size else 0, atol=1e-6)
