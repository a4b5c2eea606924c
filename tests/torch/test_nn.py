"""Modules, `replace`, and training: one process against torch's own, two processes against one."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import omniconv.torch as ot

MODULES = [
    ("Conv1d", (4, 6, 3), {"padding": 1}, (2, 4, 9)),
    ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2, "bias": False}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, (3, 2)), {"padding": "same", "padding_mode": "circular"}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, 3), {"padding": (1, 2), "padding_mode": "reflect"}, (4, 9, 8)),
    ("Conv3d", (4, 6, 3), {"padding": 1, "padding_mode": "replicate", "dilation": 2}, (1, 4, 6, 7, 8)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2}, (2, 4, 9)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, (2, 4, 5, 6)),
    ("ConvTranspose3d", (4, 6, 2), {"stride": (1, 2, 2), "dilation": 2}, (1, 4, 3, 4, 5)),
]


@pytest.mark.parametrize(("name", "sizes", "arguments", "shape"), MODULES)
def test_module_is_torchs_in_state_and_values(name: str, sizes: tuple, arguments: dict, shape: tuple) -> None:
    torch.manual_seed(0)
    theirs, ours = getattr(nn, name)(*sizes, **arguments), getattr(ot, name)(*sizes, **arguments)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(shape)
    torch.testing.assert_close(ours(x), theirs(x))


def test_output_size_of_transposed_module() -> None:
    theirs = nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1)
    x = torch.randn(2, 3, 6, 6)
    for size in ([11, 12], [2, 5, 12, 11]):
        torch.testing.assert_close(ot.replace(theirs, inplace=False)(x, output_size=size), theirs(x, output_size=size))


class Net(nn.Module):
    """Nested, with a convolution that is used twice, one inside a list, and a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 8, 1)])
        self.again = self.blocks[0]
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(12, 4, 2, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h).relu()
        return self.head(self.up(self.down(self.again(h))).mean((2, 3)))


def test_replace_keeps_everything_but_the_class() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    x = torch.randn(2, 3, 8, 8)
    expected, keys, parameters = model(x), list(model.state_dict()), list(model.parameters())
    calls = []
    model.down.register_forward_hook(lambda *_: calls.append("down"))
    model.blocks[1].train()
    skipped: dict[str, str] = {}
    assert ot.replace(model, skipped=skipped) is model
    assert skipped == {}
    assert [type(m) for m in (model.stem[0], model.again, model.up)] == [ot.Conv2d, ot.Conv2d, ot.ConvTranspose2d]
    assert model.again is model.blocks[0]
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert (model.training, model.blocks[1].training) == (False, True)
    torch.testing.assert_close(model(x), expected)
    assert calls == ["down"]
    assert ot.replace(model) is model  # a second time changes nothing


def test_replace_in_a_copy_shares_the_parameters() -> None:
    model = Net()
    other = ot.replace(model, inplace=False)
    assert type(model.down) is nn.Conv2d
    assert type(other.down) is ot.Conv2d
    assert all(a is b for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert all(a is b for a, b in zip(model.buffers(), other.buffers(), strict=True))
    assert type(ot.replace(nn.Conv1d(2, 3, 1))) is ot.Conv1d


def test_replace_says_why_it_skips() -> None:
    class Own(nn.Conv2d):
        pass

    patched = nn.Conv2d(3, 4, 3)
    patched.forward = lambda x: x
    model = nn.ModuleDict({
        "lazy": nn.LazyConv2d(4, 3), "own": Own(3, 4, 3), "narrow": nn.Conv2d(3, 4, 3).half(), "patched": patched,
        "good": nn.Conv2d(3, 4, 3), "linear": nn.Linear(2, 2),
    })  # fmt: skip
    before = {name: type(m) for name, m in model.items()}
    skipped: dict[str, str] = {}
    ot.replace(model, skipped=skipped)
    assert set(skipped) == {"lazy", "own", "narrow", "patched"}
    assert "lazy" in skipped["lazy"] and "Own" in skipped["own"] and "float16" in skipped["narrow"]
    assert {name: type(m) for name, m in model.items()} == before | {"good": ot.Conv2d}


def test_training_steps_are_torchs() -> None:
    torch.manual_seed(0)
    theirs = Net()
    ours = ot.replace(copy.deepcopy(theirs))
    x, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 3, 1, 4])
    for model in (theirs, ours):
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            optimiser.step()
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("ddp_step.py")
    result = subprocess.run([sys.executable, script, tmp_path / "store"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal") == 2
