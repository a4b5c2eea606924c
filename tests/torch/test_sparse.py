"""Sparse convolution under autograd."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv import sparse
from tests.sparse.oracle import sites
from tests.sparse.test_graph import graph

torch = pytest.importorskip("torch")
from omniconv.torch import sparse as torch_sparse  # noqa: E402


@pytest.mark.parametrize(("mode", "stride", "groups"), [("subm", 1, 1), ("strided", 2, 2), ("transposed", 2, 1)])
def test_gradcheck(mode, stride, groups):
    rng = np.random.default_rng(0)
    coords = sites(rng, (4, 4, 3), 12)
    x = torch.from_numpy(rng.standard_normal((12, 2))).requires_grad_()
    w = torch.from_numpy(rng.standard_normal((2, 2 // groups, 3, 1, 2))).requires_grad_()
    b = torch.from_numpy(rng.standard_normal(2)).requires_grad_()

    grid = sparse.SparseTensor(coords, np.zeros((12, 1)), (4, 4, 3))

    def run(x, w, b):
        st = grid.replace(x)
        return torch_sparse.conv(st, w, b, mode=mode, stride=stride, groups=groups).features

    assert torch.autograd.gradcheck(run, (x, w, b))


def test_a_network_learns_and_comes_back():
    rng = np.random.default_rng(1)
    st = sparse.SparseTensor(sites(rng, (12, 12, 12), 200), torch.from_numpy(rng.standard_normal((200, 3), np.float32)))
    w1, w2, w3 = (
        torch.nn.Parameter(0.2 * torch.from_numpy(rng.standard_normal(shape, np.float32)))
        for shape in ((8, 3, 3, 3, 3), (8, 8, 2, 2, 2), (1, 8, 2, 2, 2))
    )
    target = st.features.sum(1, keepdim=True)
    optimiser = torch.optim.Adam([w1, w2, w3], 0.02)
    losses = []
    for _ in range(12):
        h = torch_sparse.conv(st, w1)
        down = torch_sparse.conv(h.replace(h.features.relu()), w2, mode="strided", stride=2)
        up = torch_sparse.conv(down, w3, mode="inverse", plan=sparse.plan(h, 2, 2, "strided"))
        assert np.array_equal(up.coords, st.coords)
        loss = (up.features - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("scales", [False, True])
def test_gradients_of_graph_products_are_those_of_the_dense_one(scales):
    rng = np.random.default_rng(3)
    a = graph(rng, 30, 22, 140, scales=scales)
    x, bias = (torch.from_numpy(rng.standard_normal(shape, np.float32)) for shape in ((22, 9), (9,)))
    weight = torch.from_numpy(rng.standard_normal((30, 9), np.float32))
    full = torch.from_numpy(a.dense())
    found, want = [], []
    for product, into in ((lambda x, b: torch_sparse.spmm(a, x, bias=b), found), (lambda x, b: full @ x + b, want)):
        narrow = into is found
        leaves = [(t if narrow else t.double()).clone().requires_grad_() for t in (x, bias)]
        y = (product(*leaves).square() * (weight if narrow else weight.double())).sum()
        first = torch.autograd.grad(y, leaves, create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), leaves[0])
        into += [*first, *second]
    for got, exact in zip(found, want, strict=True):
        assert (got - exact).norm() <= 1e-5 * exact.norm()


@pytest.mark.parametrize("edges", ["open", "closed"])
@pytest.mark.parametrize("rounding", ["half_up", "half_even"])
def test_integer_neurons_pass_gradients_within_their_range(edges, rounding):
    x = torch.tensor([-1.0, 0.0, 0.5, 2.5, 3.9, 4.0, 9.0], requires_grad=True)
    counts = torch_sparse.ilif(x, rounding=rounding, edges=edges)
    assert counts.tolist() == sparse.ilif(x.detach().numpy(), rounding=rounding).tolist()
    counts.sum().backward()
    assert x.grad.tolist() == ([0, 0, 1, 1, 1, 0, 0] if edges == "open" else [0, 1, 1, 1, 1, 1, 0])
    st = sparse.SparseTensor(np.int32([[0, i] for i in range(7)]), x[:, None])
    assert torch.equal(torch_sparse.ilif(st, rounding=rounding).features[:, 0], counts)


def test_neurons_over_time_have_gradients():
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.normal(0.8, 1, (5, 3))).requires_grad_()
    for how in ({}, {"v_reset": None}, {"decay_input": False, "tau": 1.5}):
        spikes = torch_sparse.lif(x, **how)
        assert np.array_equal(spikes.detach().numpy(), sparse.lif(x.detach().numpy(), **how)), how
    counts = torch_sparse.ilif(x, beta=0.25)
    assert np.array_equal(counts.detach().numpy(), sparse.ilif(x.detach().numpy(), beta=0.25))
    counts[4].sum().backward()
    # the reset is a constant, so a quarter of each step's input is left in the next; the last membrane's range decides
    assert set(x.grad[4].tolist()) == {0, 1} and torch.equal(
        x.grad, x.grad[4] * 0.25 ** torch.arange(4, -1, -1)[:, None]
    )
    for surrogate, alpha, peak in (("sigmoid", 4.0, 1.0), ("atan", 2.0, 1.0)):
        at = torch.full((1, 1), 2.0, requires_grad=True)  # h = 1: at the threshold
        torch_sparse.lif(at, surrogate=surrogate).sum().backward()
        assert at.grad.item() == pytest.approx(peak / 2)
        off = torch.full((1, 1), 3.0, requires_grad=True, dtype=torch.float64)  # h = 1.5
        torch_sparse.lif(off, surrogate=surrogate).sum().backward()
        s = 1 / (1 + np.exp(-alpha / 2))
        slope = alpha * s * (1 - s) if surrogate == "sigmoid" else alpha / 2 / (1 + (np.pi / 4 * alpha) ** 2)
        assert off.grad.item() == pytest.approx(slope / 2)


@pytest.mark.parametrize("mode", ["max", "avg", "sum"])
def test_pooling_and_what_is_put_together(mode):
    rng = np.random.default_rng(2)
    a, b = (
        sparse.SparseTensor(sites(rng, (5, 4, 4), 30), rng.standard_normal((30, 3), np.float32), (5, 4, 4))
        for _ in range(2)
    )
    points = rng.uniform(0, 4, (9, 3))

    def run(module, x, y):
        u, v = a.replace(x), b.replace(y)
        joined = module.add(module.cat([u, u]), module.cat([v, v]))
        pooled = module.pool(joined, 2, mode=mode)
        return module.interpolate(pooled, points, 2.0).sum() + (module.global_pool(pooled, mode)[0, :3] ** 2).sum()

    x, y = (torch.from_numpy(t.features).requires_grad_() for t in (a, b))
    value = run(torch_sparse, x, y)
    assert np.isclose(value.item(), run(sparse, a.features, b.features), rtol=1e-5)
    value.backward()
    for which, grad in ((0, x.grad.numpy()), (1, y.grad.numpy())):
        direction = rng.standard_normal(grad.shape).astype(np.float32)
        ends = []
        for step in (1e-3, -1e-3):
            moved = [a.features, b.features]
            moved[which] = moved[which] + np.float32(step) * direction
            ends.append(float(run(sparse, *moved)))
        assert np.isclose((ends[0] - ends[1]) / 2e-3, (grad * direction).sum(), rtol=0.03, atol=0.02)


def test_same_sites_add_without_a_map():
    st = sparse.SparseTensor([[0, 1], [0, 3]], torch.ones(2, 1, requires_grad=True))
    assert torch_sparse.add(st, st).features.tolist() == [[2], [2]]
    with pytest.raises(ValueError, match="mode"):
        torch_sparse.global_pool(st, "median")
