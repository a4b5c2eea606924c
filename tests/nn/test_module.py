"""Modules: names, checkpoints, sharing, frameworks, folding and cost."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import torch

import omniconv.models
from omniconv import nn


class Net(nn.Module):
    renames = ((r"^stem\.", "first."),)

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 1, 1)
        self.norm = nn.BatchNorm(4)
        self.tail = nn.Sequential(nn.Linear(4, 5), lambda x: x * 2, nn.Linear(5, 2))
        self.again = self.tail[0]

    def forward(self, x):
        y = nn.functional.global_avg_pool(self.first(x, norm=self.norm, activation="relu"))
        return self.tail(y)

    def _fold(self):
        nn.fold_norm(self.first, self.norm)
        self.norm = nn.Identity()


class Twin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, 1, 1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.tail = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Identity(), torch.nn.Linear(5, 2))

    def forward(self, x):
        y = torch.relu(self.norm(self.first(x))).mean((2, 3))
        return self.tail[2](self.tail[0](y) * 2)


@pytest.fixture
def twin():
    torch.manual_seed(0)
    twin = Twin()
    twin.norm.running_mean.normal_()
    twin.norm.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(twin.norm.weight)
    return twin.eval()


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype("float32")


def test_names_and_results_are_those_of_pytorch(twin, x):
    net = Net()
    net.load_state_dict(twin.state_dict())  # with counters of batches, and without the second name of tail.0
    assert [n for n in net.named_parameters() if not n.startswith("again")] == [
        n for n in twin.state_dict() if "num_batches" not in n
    ]
    assert np.allclose(net(x), twin(torch.tensor(x)).detach(), atol=1e-6)
    assert net.num_parameters == sum(p.numel() for p in twin.parameters())
    assert np.allclose(net.fold()(x), twin(torch.tensor(x)).detach(), atol=1e-6)
    assert net.norm(x) is x


def test_wrong_checkpoints_are_told_name_by_name(twin):
    state = {n: v for n, v in twin.state_dict().items() if n != "tail.2.bias"}
    state |= {"first.weight": torch.zeros(4, 3, 5, 5), "extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError) as error:
        Net().load_state_dict(state)
    text = str(error.value)
    assert "missing (1):\n    tail.2.bias" in text
    assert "unexpected (1):\n    extra.weight" in text
    assert "mis-shaped (1):\n    first.weight has shape (4, 3, 5, 5), expected is (4, 3, 3, 3)" in text
    with pytest.raises(ValueError, match="mis-shaped"):
        Net().load_state_dict(state, strict=False)
    net = Net()
    before = net.first.weight
    with pytest.raises(ValueError):
        net.load_state_dict(state)
    assert net.first.weight is before  # nothing was taken
    state["first.weight"] = twin.first.weight
    net.load_state_dict(state, strict=False)
    assert np.array_equal(net.first.weight, twin.first.weight.detach())


def test_shared_arrays_need_one_name_and_may_not_differ(twin):
    state = dict(twin.state_dict())
    net = Net()
    again = {n.replace("tail.0", "again"): v for n, v in state.items()}
    net.load_state_dict(again)
    assert net.tail[0].weight is net.again.weight
    with pytest.raises(ValueError, match=r"again\.weight differs from tail\.0\.weight"):
        net.load_state_dict(state | {"again.weight": torch.ones(5, 4), "again.bias": state["tail.0.bias"]})


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "_orig_mod."])
def test_prefixes_of_wrappers_and_other_names(twin, prefix):
    net = Net()
    net.load_state_dict({prefix + n: v for n, v in twin.state_dict().items()})
    net.load_state_dict({n.replace("first.", "stem."): v for n, v in twin.state_dict().items()})
    assert np.array_equal(net.first.weight, twin.first.weight.detach())


def test_matrices_may_be_stored_as_convolutions(twin):
    state = twin.state_dict()
    state["tail.0.weight"] = state["tail.0.weight"][:, :, None, None]
    Net().load_state_dict(state)
    with pytest.raises(ValueError, match="mis-shaped"):
        Net().load_state_dict(state | {"tail.0.weight": torch.zeros(5, 4, 2)})


@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_files(twin, x, tmp_path, container):
    torch.save({container: twin.state_dict(), "epoch": 3} if container else twin.state_dict(), tmp_path / "a.pth")
    net = Net().load(tmp_path / "a.pth")
    want = net(x)
    nn.save_state(net, tmp_path / "b.safetensors")
    assert np.array_equal(Net().load(tmp_path / "b.safetensors")(x), want)
    np.savez(tmp_path / "c.npz", **net.state_dict())
    assert np.array_equal(Net().load(tmp_path / "c.npz")(x), want)
    torch.save(twin, tmp_path / "d.pth")  # would run code
    with pytest.raises(Exception, match=r"[Ww]eights"):
        Net().load(tmp_path / "d.pth")
    with pytest.raises(ValueError, match=r"known are \.safetensors"):
        nn.read_state(__file__)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        nn.read_state(tmp_path / "none.pth")


def test_arrays_that_are_not_loaded_follow_from_the_seed(x):
    a, b = Net().seed(1), Net().seed(1)
    assert np.array_equal(b.tail[2].weight, a.tail[2].weight)  # in any order
    assert np.array_equal(a(x), b(x))
    assert not np.array_equal(Net().seed(2)(x), a(x))
    assert 0.3 < np.std(nn.Linear(100, 100).weight) * 10 < 1.2


def test_plans_see_new_arrays_and_arrays_cannot_be_changed_unseen(twin, x):
    net = Net().seed(0)
    first = net(x)
    assert np.array_equal(net(x), first) and np.array_equal(net(x), first)
    with net.using({"norm.running_mean": net.norm.running_mean + 1}):
        assert not np.allclose(net(x), first)
    assert np.array_equal(net(x), first)
    bias = net.first.bias
    net.first.bias = nn.Parameter(len(bias), fill=5.0)
    assert not np.allclose(net(x), first)
    net.first.bias = bias
    assert np.array_equal(net(x), first)
    with pytest.raises(ValueError, match="read-only"):
        net.first.weight[:] = 0
    net.first.weight = net.first.weight * 2
    net.norm.bias = net.norm.bias + 1
    assert not np.allclose(net(x), first)
    twin.load_state_dict(
        {n: torch.tensor(v) for n, v in net.state_dict().items() if not n.startswith("again")}, strict=False
    )
    assert np.allclose(net(x), twin(torch.tensor(x)).detach(), atol=1e-6)


def test_a_layer_sees_what_differs_between_calls(x):
    conv, norms, gamma = nn.Conv2d(x.shape[1], 8, 3), [nn.BatchNorm(8), nn.BatchNorm(8)], np.full(8, 2, np.float32)
    norms[1].bias = norms[1].bias + 1
    wide = np.concatenate([x, x], axis=3)
    cases = [
        (image, options)
        for image in (x, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), wide)
        for options in ({}, {"gamma": gamma}, {"activation": "relu"}, {"norm": norms[0]}, {"norm": norms[1]})
    ]
    want = []
    for image, options in cases:
        fresh = nn.Conv2d(x.shape[1], 8, 3)
        fresh.weight, fresh.bias = conv.weight, conv.bias
        want.append(fresh(image, **options))
    for pair in itertools.permutations(range(len(cases)), 2):
        for i in pair:
            image, options = cases[i]
            for _ in range(3):  # packed, looked up, the one before
                found = conv(image, **options)
                assert np.array_equal(found, want[i]) and found.strides == want[i].strides


def test_batches_and_threads_give_the_same_bits(x):
    net = Net().seed(0)
    want = net(x)
    assert np.array_equal(np.concatenate([net(x[:1]), net(x[1:])]), want)
    found = []
    threads = [threading.Thread(target=lambda: found.append(net(x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(np.array_equal(f, want) for f in found)


def test_gradients_in_pytorch(twin, x):
    net = Net()
    net.load_state_dict(twin.state_dict())
    net.to("torch")
    state = {n: p.clone().requires_grad_() for n, p in net.state_dict().items() if not n.startswith("again")}
    net.apply(state, torch.tensor(x)).square().sum().backward()
    twin(torch.tensor(x)).square().sum().backward()
    for name, parameter in twin.named_parameters():
        assert torch.allclose(state[name].grad, parameter.grad, rtol=1e-4, atol=1e-6), name
    assert not net.first.weight.requires_grad  # apply gave the arrays back


def test_gradients_in_jax(twin, x):
    jax = pytest.importorskip("jax")
    net = Net()
    net.load_state_dict(twin.state_dict())
    net.to("jax")
    slope = jax.grad(lambda w: (net.apply({"first.weight": w}, x) ** 2).sum())(net.first.weight)
    twin(torch.tensor(x)).square().sum().backward()
    assert np.allclose(slope, twin.first.weight.grad, rtol=1e-4, atol=1e-5)


def test_precision_and_frameworks(twin, x):
    net = Net()
    net.load_state_dict(twin.state_dict())
    want = twin.double()(torch.tensor(x, dtype=torch.float64)).detach()
    assert np.allclose(net.to("float64")(x.astype("float64")), want, atol=1e-12)
    net.to("torch")
    assert isinstance(net.first.weight, torch.Tensor) and isinstance(net.to("numpy").first.weight, np.ndarray)
    with pytest.raises(ValueError, match="to\\('bfloat16'\\)"):
        net.to("bfloat16")
    with pytest.raises(KeyError, match="none"):
        net.apply({"none": x}, x)
    with pytest.raises(AttributeError, match="has no attribute 'second'"):
        net.second  # noqa: B018


def test_fold_before_and_layer_scale():
    rng = np.random.default_rng(0)
    norm, conv, linear = nn.BatchNorm(4), nn.Conv2d(4, 3, 2, 2), nn.Linear(4, 3, bias=False)
    for name in ("weight", "bias", "running_mean"):
        setattr(norm, name, rng.standard_normal(4))
    norm.running_var = rng.random(4) + 0.5
    x, gamma = rng.standard_normal((2, 4, 6, 6)).astype("float32"), rng.standard_normal(3).astype("float32")
    want = conv(norm(x), gamma=gamma)
    nn.fold_norm_before(norm, conv)
    nn.fold_norm(conv, nn.Identity(), gamma)
    assert np.allclose(conv(x), want, atol=1e-5)
    rows = nn.functional.channels_last(x)
    want = linear(nn.functional.channels_last(norm(x)))
    nn.fold_norm_before(norm, linear)
    assert np.allclose(linear(rows), want, atol=1e-5)


def test_summary_counts_as_published():
    found = nn.summary(omniconv.models.create("resnet50"), (1, 3, 224, 224))
    # the complexity that pycls publishes for R-50
    assert (found.macs, found.params, found.activations) == (4_089_185_256, 25_557_032, 11_315_688)
    assert found.flops == 2 * found.macs
    assert found.costs[0].name == "conv1" and "layer4.2.conv3" in str(found)
    tokens = np.zeros((1, 6, 8), dtype="float32")
    assert nn.summary(nn.Sequential(lambda x: nn.attention(x, x, x)), tokens).macs == 6 * 6 * 16
