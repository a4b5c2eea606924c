"""`replace` in a ResNet-50 and a ConvNeXt: results and gradients, the compiler, and two processes."""

from __future__ import annotations

import copy
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import omniconv.torch as ot
from tests.torch.networks import NETWORKS, batch, steps

ROOT = Path(__file__).parents[2]


def replaced(model: nn.Module) -> nn.Module:
    skipped: dict[str, str] = {}
    ours = ot.replace(copy.deepcopy(model), skipped=skipped)
    convolutions = [m for m in ours.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions and not skipped and all(type(m) is ot.Conv2d for m in convolutions)
    return ours


def results(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    logits = model(x)
    nn.functional.cross_entropy(logits, labels).backward()
    return [logits.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_gradients_in_float32(name: str, form: torch.memory_format) -> None:
    """With a smooth activation: a ReLU whose input is rounding alone opens in one network and not in the other."""
    torch.manual_seed(0)
    how = {"act": nn.functional.silu} if name == "resnet" else {}
    theirs = NETWORKS[name](**how).eval().to(memory_format=form)
    exact = results(copy.deepcopy(theirs).double(), batch()[0].double(), batch()[1])
    found = results(replaced(theirs), batch()[0].contiguous(memory_format=form), batch()[1])
    for f, e in zip(found, exact, strict=True):
        assert (f - e).norm() <= 1e-5 * e.norm() + 1e-8


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_relu_and_batch_statistics_in_float64(training: bool) -> None:
    torch.manual_seed(0)
    theirs = NETWORKS["resnet"](depths=(1, 1, 1, 1)).train(training)
    logits = theirs(batch()[0])
    assert training or (replaced(theirs)(batch()[0]) - logits).norm() <= 1e-5 * logits.norm()
    theirs = theirs.double()
    x, labels = batch()
    found, expected = (results(m, x.double(), labels) for m in (replaced(theirs), theirs))
    for f, e in zip(found, expected, strict=True):
        assert (f - e).norm() <= 1e-9 * e.norm() + 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_compiled(name: str) -> None:
    """Under the compiler every step is the one without it, with no graph break."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    ours = replaced(NETWORKS[name](depths=(1,)))
    compiled = torch.compile(copy.deepcopy(ours), fullgraph=True, backend="aot_eager")
    expected, found = steps(ours, *batch(), count=3), steps(compiled, *batch(), count=3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected[-1] < expected[0]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """DistributedDataParallel over gloo: the parameters after three steps are those of the whole batch."""
    command = [sys.executable, "-m", "tests.torch.ddp_networks", tmp_path / "store"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal") == 2 * len(NETWORKS)


def test_example_trains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(sys, "argv", ["ddp_digits.py", "--epochs", "3"])
    runpy.run_path(str(ROOT / "examples/ddp_digits.py"), run_name="__main__")
    accuracy = re.search(r"1 process: ([\d.]+)% of 360", capsys.readouterr().out)
    assert float(accuracy[1]) > 70
