"""Complex operations, orthogonality, tokens and kernels of wide networks beyond the golden cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as T

from omniconv import models, nn, ntk
from omniconv.nn import complex as C

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def close(got, want, tolerance=1e-12):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_complex_convolutions_against_pytorch(spatial, transposed):
    x, b = noise(2, 4, *(6, 5, 4)[:spatial]), noise(6)
    w = noise(4, 3, *(3, 2, 3)[:spatial]) if transposed else noise(6, 2, *(3, 2, 3)[:spatial])
    name = f"conv_transpose{spatial}d" if transposed else f"conv{spatial}d"
    how = {"stride": 2, "padding": 1, "groups": 2}
    t = [torch.tensor(a) for a in (x, w, b)]
    want = getattr(T, name)(*t, **how)
    function = C.conv_transpose if transposed else C.conv
    close(function(x, w, b, **how), want)
    t[1].requires_grad_()
    got = function(*t, **how)
    close(got.detach(), want)
    ours, theirs = (torch.autograd.grad(y.abs().sum(), t[1])[0] for y in (got, getattr(T, name)(*t, **how)))
    close(ours, theirs)


def test_complex_activations_and_products():
    x = noise(3, 4)
    close(C.linear(x, w := noise(5, 4), b := noise(5)), x @ w.T + b)
    size = np.abs(x)
    close(C.modrelu(x, -0.8), np.maximum(size - 0.8, 0) * x / size)
    assert not C.modrelu(np.zeros(3, complex), 1.0).any()
    close(C.zrelu(x), np.where((np.angle(x) > 0) & (np.angle(x) < np.pi / 2), x, 0))
    y = noise(400, 2, 5)
    parts = np.stack([y.real, y.imag])
    mean, centred = parts.mean((1, 3)), parts - parts.mean((1, 3))[:, None, :, None]
    cov = np.einsum("anct,bnct->abc", centred, centred) / (400 * 5)
    white = C.batch_norm(y, mean, cov, np.broadcast_to(np.eye(2)[..., None], (2, 2, 2)), np.zeros((2, 2)))
    found = np.stack([white.real, white.imag])
    close(np.einsum("anct,bnct->abc", found, found) / 2000, np.broadcast_to(np.eye(2)[..., None], (2, 2, 2)))


@pytest.mark.parametrize("options", [{"act": "modReLU"}, {"act": "zReLU"}, {"naive": True}])
def test_complex_networks_take_complex_checkpoints(options):
    net = models.create("complex_cnn", c=4, classes=3, **options)
    state = {n: a for n, a in net.state_dict().items() if not n.startswith(("real.", "imag."))}
    for name, array in net.real.state_dict().items():
        state[name] = torch.tensor(array + 1j * net.imag.state_dict()[name])
    other = models.create("complex_cnn", c=4, classes=3, seed=5, **options)
    x = noise(2, 2, 8, 9).astype("complex64")
    assert not np.allclose(other(x), net(x))
    other.load_state_dict(state)
    assert np.array_equal(other(x), net(x))
    assert net.num_parameters == sum(np.asarray(v).size for n, v in state.items() if "running" not in n)
    with pytest.raises(ValueError, match="act is 'ReLU'"):
        models.create("complex_cnn", act="ReLU")


@pytest.mark.parametrize("m, c, k, stride", [(3, 4, 3, 1), (6, 1, 3, 2), (2, 1, 4, 1), (3, 2, 2, 2), (2, 3, 5, 2)])
def test_orthogonality_in_pytorch(m, c, k, stride):
    kernel = RNG.standard_normal((m, c, k, k))
    t = torch.tensor(kernel, requires_grad=True)
    loss = nn.l_orth(t, stride)
    loss.backward()
    close(nn.l_orth_grad(kernel, stride), t.grad)
    n = 2 * k  # so large that no tap meets another around the border
    close(loss.detach(), ((nn.conv_singular_values(kernel, n, stride) ** 2 - 1) ** 2).sum() / n**2, 1e-9)
    shift = np.zeros((2, 2, 3, 3))
    shift[0, 1, 0, 2] = shift[1, 0, 2, 1] = 1
    assert nn.l_orth(shift) == 0 and np.allclose(nn.conv_singular_values(shift, 4), 1)
    for call, message in (
        (lambda: nn.l_orth(kernel[:, :, :1]), r"expected is \[M, C, k, k\]"),
        (lambda: nn.conv_singular_values(np.zeros((1, 1, 5, 5)), 2, 2), "smaller than the kernel"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="weight is a Tensor"):
        nn.l_orth_grad(t)


def test_tokens_come_back_where_every_token_is_a_centre():
    x = RNG.standard_normal((2, 4, 5, 3)) * 9
    centres, labels = nn.cluster_tokens(x, (4, 5), temperature=50.0)
    close(centres, x)
    assert np.array_equal(labels, np.broadcast_to(np.arange(20), (2, 20)))
    rows = x.reshape(2, 20, 3)
    close(nn.reconstruct_tokens(rows, rows, rows, k=3, temperature=50.0), rows)
    t = torch.tensor(x)
    for got, want in zip(nn.cluster_tokens(t, 2), nn.cluster_tokens(x, 2), strict=True):
        close(got, want)
    with pytest.raises(ValueError, match="clusters is 9; allowed are at most 4 x 5"):
        nn.cluster_tokens(x, 9)
    with pytest.raises(ValueError, match="k is 21; allowed are 1 to 20"):
        nn.reconstruct_tokens(rows, rows, rows, k=21)


def test_wide_networks_have_their_kernel():
    """Features of a random hidden layer, very many, give the kernel of degree 1."""
    x, y = RNG.standard_normal((2, 6)), RNG.standard_normal((3, 6))
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    w = RNG.standard_normal((6, 400_000))
    features = [np.maximum(v @ w, 0) * np.sqrt(2 / w.shape[1]) for v in (x, y)]
    assert np.allclose(ntk.conv_rfk(x, y, [6]), features[0] @ features[1].T, atol=0.01)
    assert np.allclose(ntk.conv_ntk(x, y, [6]), ntk.dense_ntk(x, y, 1))
    gram = ntk.conv_ntk(x, x, [3, 2])
    assert np.allclose(np.diag(gram), 3)  # one more of each layer
    assert np.allclose(ntk.regress(gram, np.array([1.0, 2.0]), gram, 0.0), [1, 2])
    close(ntk.conv_ntk(torch.tensor(x), torch.tensor(y), [2, 3]), ntk.conv_ntk(x, y, [2, 3]))
    with pytest.raises(ValueError, match="filter_sizes is \\[0\\]"):
        ntk.conv_ntk(x, y, [0])
    with pytest.raises(ValueError, match="a multiple of the 4 entries"):
        ntk.conv_ntk(x, y, [2, 2])
