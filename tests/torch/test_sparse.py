"""Sparse convolution under autograd."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv import sparse
from tests.sparse.oracle import sites

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
