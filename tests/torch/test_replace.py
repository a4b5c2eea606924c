"""`replace` in a ResNet-50 and a ConvNeXt: results and gradients, the compiler, and two processes."""

from __future__ import annotations

import copy
import re
import runpy
import shutil
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
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_gradients_are_those_of_pytorch(name: str, training: bool, form: torch.memory_format) -> None:
    """In float64: in float32 a ReLU whose input is rounding alone may open in one of the two and not in the other."""
    torch.manual_seed(0)
    theirs = NETWORKS[name]().train(training).double().to(memory_format=form)
    ours = replaced(theirs)
    x, labels = batch()
    x = x.double().contiguous(memory_format=form)
    for found, expected in zip(results(ours, x, labels), results(theirs, x, labels), strict=True):
        assert (found - expected).norm() <= 1e-9 * expected.norm() + 1e-12


def test_logits_and_gradients_in_float32() -> None:
    torch.manual_seed(0)
    theirs = NETWORKS["convnext"]()  # whose activation is smooth
    exact = results(copy.deepcopy(theirs).double(), batch()[0].double(), batch()[1])
    for found, expected in zip(results(replaced(theirs), *batch()), exact, strict=True):
        assert (found - expected).norm() <= 1e-5 * expected.norm() + 1e-8
    theirs = NETWORKS["resnet"]().eval()
    expected = theirs.double()(batch()[0].double())
    found = replaced(theirs.float())(batch()[0])
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_compiled(name: str) -> None:
    """Under the compiler every step is the one without it, with no graph break."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    ours = replaced(NETWORKS[name](depths=(1, 1)))
    compiled = torch.compile(copy.deepcopy(ours), fullgraph=True, backend="aot_eager")
    expected, found = steps(ours, *batch(), count=3), steps(compiled, *batch(), count=3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected[-1] < expected[0]


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")
def test_trains_compiled_by_inductor() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    ours = replaced(NETWORKS["convnext"](depths=(1,)))
    with torch._inductor.config.patch(compile_threads=1):
        found = steps(torch.compile(copy.deepcopy(ours), fullgraph=True), *batch(), count=2)
    torch.testing.assert_close(found, steps(ours, *batch(), count=2), rtol=1e-4, atol=1e-5)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """DistributedDataParallel over gloo: the parameters after three steps are those of the whole batch."""
    command = [sys.executable, "-m", "tests.torch.ddp_networks", tmp_path / "store"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal") == 2 * len(NETWORKS)


def test_example_trains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(sys, "argv", ["ddp_digits.py", "--epochs", "1"])
    runpy.run_path(str(ROOT / "examples/ddp_digits.py"), run_name="__main__")
    accuracy = re.search(r"1 process: ([\d.]+)% of 360", capsys.readouterr().out)
    assert float(accuracy[1]) > 50
