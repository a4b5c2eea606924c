"""omniconv.torch's functions against torch.nn.functional in float64, and what torch.library asks of an op."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import omniconv.torch as ot
from omniconv.torch import ops

# function, shape of the batched input, shape of weight, arguments
CASES = [
    ("conv1d", (2, 4, 11), (6, 4, 3), {}),
    ("conv1d", (3, 6, 17), (6, 1, 5), {"stride": 2, "padding": 4, "dilation": 2, "groups": 6}),
    ("conv1d", (2, 3, 10), (4, 3, 4), {"padding": "same", "dilation": 3}),
    ("conv2d", (2, 4, 9, 8), (6, 4, 3, 3), {"padding": 1}),
    ("conv2d", (2, 4, 9, 8), (6, 4, 3, 3), {"padding": (1,), "stride": (1,)}),
    ("conv2d", (1, 16, 6, 7), (24, 16, 1, 1), {}),
    ("conv2d", (2, 4, 10, 11), (6, 2, 3, 2), {"stride": (2, 3), "padding": (2, 0), "dilation": (1, 2), "groups": 2}),
    ("conv2d", (2, 3, 8, 9), (5, 3, 4, 3), {"padding": "same"}),
    ("conv2d", (2, 3, 8, 9), (5, 3, 3, 2), {"padding": "valid", "stride": 2}),
    ("conv2d", (2, 8, 7, 7), (8, 1, 3, 3), {"padding": 1, "groups": 8}),
    ("conv2d", (1, 1, 5, 5), (3, 1, 2, 2), {"stride": 3}),  # the last row and column meet no window
    ("conv3d", (2, 4, 5, 6, 7), (6, 2, 3, 2, 3), {"stride": (1, 2, 1), "padding": (1, 0, 2), "groups": 2}),
    ("conv3d", (1, 3, 5, 5, 5), (4, 3, 3, 3, 2), {"padding": "same"}),
    ("conv_transpose1d", (2, 4, 7), (4, 3, 5), {"stride": 3, "padding": 1, "output_padding": 2}),
    ("conv_transpose2d", (2, 6, 5, 6), (6, 4, 3, 3), {}),
    ("conv_transpose2d", (2, 6, 5, 6), (6, 2, 3, 4), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 3}),
    ("conv_transpose2d", (2, 4, 5, 4), (4, 3, 2, 2), {"dilation": (3, 2), "output_padding": (2, 1)}),
    ("conv_transpose2d", (2, 4, 3, 3), (4, 3, 2, 2), {"stride": 4}),  # outputs that meet no tap
    ("conv_transpose3d", (1, 4, 3, 4, 3), (4, 2, 3, 2, 2), {"stride": (2, 1, 2), "output_padding": (1, 0, 1)}),
]  # fmt: skip
FORMATS = ["contiguous", "channels_last", "sliced", "unbatched", "no_bias"]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(CASES)]


def tensor(shape: tuple[int, ...], seed: int, form: str = "contiguous") -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if form == "channels_last":
        return torch.randn(shape[0], *shape[2:], shape[1], generator=generator).movedim(-1, 1)
    if form == "sliced":
        return torch.randn(*shape[:-1], 2 * shape[-1], generator=generator)[..., ::2]
    if form == "unbatched":
        return torch.randn(shape[1:], generator=generator)
    return torch.randn(shape, generator=generator)


def bias_for(name: str, w_shape: tuple[int, ...], arguments: dict) -> torch.Tensor:
    channels = w_shape[1] * arguments.get("groups", 1) if "transpose" in name else w_shape[0]
    return tensor((channels,), 3)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.detach().double(), expected.detach()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("name", "x_shape", "w_shape", "arguments"), CASES, ids=IDS)
def test_values_and_gradients(name: str, x_shape: tuple, w_shape: tuple, arguments: dict, form: str) -> None:
    x, weight = tensor(x_shape, 1, form), tensor(w_shape, 2, "sliced" if form == "sliced" else "contiguous")
    bias = None if form == "no_bias" else bias_for(name, w_shape, arguments)
    leaves = [v.requires_grad_() for v in (x, weight, bias) if v is not None]
    exact = [v.detach().double().requires_grad_() for v in leaves]
    expected = getattr(F, name)(*exact, **arguments)
    found = getattr(ot, name)(*leaves, **arguments)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert error(found, expected) < 1e-6
    grad = tensor(tuple(expected.shape), 4)
    for g, e in zip(
        torch.autograd.grad(found, leaves, grad), torch.autograd.grad(expected, exact, grad.double()), strict=True
    ):
        assert g.shape == e.shape
        assert error(g, e) < 1e-6


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_padding_modes(mode: str, spatial: int) -> None:
    x = tensor((2, 4, *(7, 6, 5)[:spatial]), 1).requires_grad_()
    weight = tensor((6, 2, *(3, 4, 2)[:spatial]), 2).requires_grad_()
    padding = (2, 3, 1)[:spatial]
    exact = [v.detach().double().requires_grad_() for v in (x, weight)]
    around = [p for pad in reversed(padding) for p in (pad, pad)]
    expected = getattr(F, f"conv{spatial}d")(F.pad(exact[0], around, mode), exact[1], stride=2, groups=2)
    found = getattr(ot, f"conv{spatial}d")(x, weight, None, 2, padding, groups=2, padding_mode=mode)
    assert error(found, expected) < 1e-6
    grad = tensor(tuple(expected.shape), 4)
    for g, e in zip(
        torch.autograd.grad(found, (x, weight), grad), torch.autograd.grad(expected, exact, grad.double()), strict=True
    ):
        assert error(g, e) < 1e-6


@pytest.mark.parametrize("name", ["conv2d", "conv3d", "conv_transpose2d"])
def test_memory_format_is_torchs(name: str) -> None:
    n = 3 if name == "conv3d" else 2
    weight = tensor((4, 4, *(3,) * n), 2)
    for x in (
        tensor((2, 4, *(5,) * n), 1),
        tensor((2, 4, *(5,) * n), 1, "channels_last"),
        tensor((2, 4, *(1,) * n), 1),
    ):
        expected = getattr(F, name)(x, weight, padding=1)
        assert getattr(ot, name)(x, weight, padding=1).stride() == expected.stride()


def test_one_dimensional_result_is_contiguous() -> None:
    assert ot.conv1d(tensor((2, 4, 9), 1, "channels_last"), tensor((6, 4, 3), 2)).is_contiguous()


def test_float64() -> None:
    x, weight = tensor((2, 4, 9, 8), 1).double(), tensor((6, 4, 3, 3), 2).double()
    assert error(ot.conv2d(x, weight, padding=1), F.conv2d(x, weight, padding=1)) < 1e-14


def test_expanded_gradient_and_empty_batch() -> None:
    for n in (2, 0):
        x, weight = tensor((n, 4, 6, 6), 1).requires_grad_(), tensor((5, 4, 3, 3), 2).requires_grad_()
        bias = tensor((5,), 3).requires_grad_()
        found = torch.autograd.grad(ot.conv2d(x, weight, bias).sum(), (x, weight, bias))
        expected = torch.autograd.grad(F.conv2d(x.double(), weight.double(), bias.double()).sum(), (x, weight, bias))
        for g, e in zip(found, expected, strict=True):
            assert error(g, e.double()) < 1e-6


class Record(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.__name__.removesuffix(".default"))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("wanted", ["conv_grad_input", "conv_grad_weight", "conv_grad_bias"])
def test_only_needed_gradients_are_computed(wanted: str) -> None:
    x, weight, bias = tensor((2, 4, 6, 6), 1), tensor((5, 4, 3, 3), 2), tensor((5,), 3)
    leaf = {"conv_grad_input": x, "conv_grad_weight": weight, "conv_grad_bias": bias}[wanted].requires_grad_()
    y = ot.conv2d(x, weight, bias)
    with Record() as record:
        y.backward(torch.ones_like(y))
    assert {name for name in record.names if name.startswith("conv")} == {wanted}
    assert leaf.grad is not None


GEOMETRY = ([2, 1], [1, 0, 1, 2], "zeros", [1, 2], [0, 0], 2, "highest")


@pytest.mark.parametrize("form", ["contiguous", "channels_last"])
@pytest.mark.parametrize("op", ["conv", "conv_transposed", "grad_input", "grad_weight", "grad_bias"])
def test_opcheck(op: str, form: str) -> None:
    x, weight = tensor((2, 4, 8, 7), 1, form).requires_grad_(), tensor((6, 2, 3, 3), 2).requires_grad_()
    bias = tensor((6,), 3).requires_grad_()
    y = tensor((2, 6, 4, 5), 4, form).requires_grad_()
    function, arguments = {
        "conv": (ops._conv, (x, weight, bias, False, *GEOMETRY)),
        "conv_transposed": (ops._conv, (y, weight, None, True, *GEOMETRY)),
        "grad_input": (ops._grad_input, (y, weight, x.shape, *GEOMETRY)),
        "grad_weight": (ops._grad_weight, (y, x, weight.shape, *GEOMETRY)),
        "grad_bias": (ops._grad_bias, (y,)),
    }[op]
    torch.library.opcheck(function, arguments)


@pytest.mark.parametrize("name", ["plain", "circular", "transposed"])
def test_gradcheck_of_first_and_second_order(name: str) -> None:
    functions = {
        "plain": lambda x, w, b: ot.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), 2),
        "circular": lambda x, w, b: ot.conv2d(x, w, b, 2, 1, 1, 2, padding_mode="circular"),
        "transposed": lambda x, w, b: ot.conv_transpose2d(x, w, b, 2, 1, 1, 2),
    }
    x, weight, bias = (tensor(s, i).double().requires_grad_() for i, s in enumerate([(2, 4, 4, 5), (4, 2, 2, 3), (4,)]))
    assert torch.autograd.gradcheck(functions[name], (x, weight, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(functions[name], (x, weight, bias), fast_mode=True)


def block(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    h = ot.conv2d(x, weight, bias, padding="same").relu()
    return ot.conv_transpose2d(h, up, stride=2, output_padding=1) * 2


def assert_same(compiled, x: torch.Tensor, parameters: list[torch.Tensor]) -> None:
    expected, found = block(x, *parameters), compiled(x, *parameters)
    torch.testing.assert_close(found, expected)
    assert found.stride() == expected.stride()
    grad = torch.ones_like(expected)
    for g, e in zip(
        torch.autograd.grad(found, parameters, grad), torch.autograd.grad(expected, parameters, grad), strict=True
    ):
        torch.testing.assert_close(g, e)


def test_compile_with_dynamic_shapes() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=True)
    parameters = [tensor(s, 5).requires_grad_() for s in ((6, 4, 3, 3), (6,), (6, 3, 2, 2))]
    for shape, form in (((2, 4, 8, 7), "contiguous"), ((3, 4, 6, 9), "contiguous"), ((2, 4, 8, 7), "channels_last")):
        assert_same(compiled, tensor(shape, 1, form), parameters)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")
def test_compile_with_inductor() -> None:
    torch._dynamo.reset()
    with torch._inductor.config.patch(compile_threads=1):  # workers would take longer to start than to compile this
        compiled = torch.compile(block, fullgraph=True, backend="inductor", dynamic=False)
        parameters = [tensor(s, 5).requires_grad_() for s in ((6, 4, 3, 3), (6,), (6, 3, 2, 2))]
        assert_same(compiled, tensor((2, 4, 8, 7), 1), parameters)


def test_autocast_runs_in_float32() -> None:
    x, weight = tensor((2, 4, 6, 6), 1), tensor((5, 4, 3, 3), 2).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = ot.conv2d(x.bfloat16(), weight)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"input": torch.zeros(2, 4, 8, 8).half()}, TypeError, "input has dtype torch.float16"),
        ({"weight": torch.zeros(6, 4, 3, 3).double()}, TypeError, "weight has dtype torch.float64"),
        ({"input": torch.zeros(2, 3, 8, 8)}, ValueError, "has 3 channels"),
        ({"input": torch.zeros(8, 8)}, ValueError, "input has 2 dimensions"),
        ({"input": [[1.0]]}, TypeError, "input is a list"),
        ({"weight": None}, TypeError, "weight is a NoneType"),
        ({"weight": torch.zeros(4, 3, 3)}, ValueError, "weight has 3 dimensions"),
        ({"bias": torch.zeros(5)}, ValueError, "bias has shape"),
        ({"stride": 0}, ValueError, "stride is 0"),
        ({"stride": (1, 2, 3)}, ValueError, "stride is"),
        ({"padding": -1}, ValueError, "padding is -1"),
        ({"padding": "around"}, ValueError, "padding is 'around'"),
        ({"padding": "same", "stride": 2}, ValueError, "stride"),
        ({"dilation": 9}, ValueError, "kernel spans"),
        ({"groups": 0}, ValueError, "groups is 0"),
        ({"groups": 1.5}, TypeError, "groups is 1.5"),
        ({"padding_mode": "mirror"}, ValueError, "padding_mode is 'mirror'"),
    ],
)
def test_bad_arguments(change: dict, kind: type, text: str) -> None:
    arguments = {"input": torch.zeros(2, 4, 8, 8), "weight": torch.zeros(6, 4, 3, 3), **change}
    with pytest.raises(kind, match=text):
        ot.conv2d(**arguments)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"output_padding": 2}, "output_padding"),
        ({"padding": 9}, "leaves no output"),
        ({"input": torch.zeros(1, 5, 4, 4)}, "channels"),
    ],
)
def test_bad_arguments_transposed(change: dict, text: str) -> None:
    arguments = {"input": torch.zeros(1, 6, 4, 4), "weight": torch.zeros(6, 4, 3, 3), **change}
    with pytest.raises(ValueError, match=text):
        ot.conv_transpose2d(**arguments)


def test_missing_torch_names_the_extra() -> None:
    code = "import sys; sys.modules['torch'] = None; import omniconv.torch"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: omniconv.torch needs PyTorch" in found.stderr
    assert "omniconv[torch]" in found.stderr


def test_nothing_is_said_at_exit() -> None:
    code = "import torch, omniconv.torch as ot; ot.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == ""
