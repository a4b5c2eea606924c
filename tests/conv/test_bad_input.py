"""Every argument, wrong in every way: an exception that names it, never a crash and never a result."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import omniconv

ERRORS = (TypeError, ValueError, NotImplementedError, OverflowError, MemoryError)


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


class Broken:
    """An exporter that does not export."""

    shape, dtype, ndim = (1, 4, 8, 8), np.dtype("float32"), 4

    def __init__(self, result: Any) -> None:
        self.result = result

    def __dlpack__(self, **_: Any) -> Any:
        if isinstance(self.result, type):
            raise self.result("broken")
        return self.result

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class Attribute:
    __dlpack__ = 3


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


SHAPE = (1, 4, 8, 8)
# No array of numbers that omniconv takes, whatever the argument.
NO_ARRAYS: dict[str, Any] = {
    "string": "x", "bytes": b"abc", "integer": 3, "float": 1.5, "complex": 1j, "boolean": True, "list": [1.0, 2.0],
    "nested list": [[[[1.0]]]], "tuple": (1, 2), "dict": {}, "set": {1}, "object": object(), "class": np.ndarray,
    "module": np, "function": len, "generator": (i for i in ()), "ellipsis": ..., "slice": slice(None),
    "NumPy scalar": np.float32(1), "no repr": NoRepr(), "attribute": Attribute(),
    "raises": Broken(RuntimeError), "raises BufferError": Broken(BufferError),
    "no capsule": Broken(42), "none for a capsule": Broken(None),
    "int32": np.ones(SHAPE, np.int32), "int8": np.ones(SHAPE, np.int8), "bool": np.ones(SHAPE, bool),
    "float16": np.ones(SHAPE, np.float16), "longdouble": np.ones(SHAPE, np.longdouble),
    "complex64": np.ones(SHAPE, np.complex64), "objects": np.ones(SHAPE, object), "text": np.full(SHAPE, "a"),
    "records": np.ones(SHAPE, [("a", "f4")]), "dates": np.ones(SHAPE, "M8[s]"),
    "masked": np.ma.masked_array(f32(*SHAPE), mask=True),
    "scalar array": np.ones((), np.float32), "scalar tensor": torch.ones(()), "nine axes": f32(*(1,) * 9),
    "bfloat16": torch.ones(SHAPE, dtype=torch.bfloat16), "half": torch.ones(SHAPE, dtype=torch.half),
    "complex tensor": torch.ones(SHAPE, dtype=torch.cfloat), "meta": torch.ones(SHAPE, device="meta"),
    "sparse": torch.ones(SHAPE).to_sparse(), "nested tensor": torch.nested.nested_tensor([torch.ones(4, 8, 8)]),
    "requires grad": torch.ones(SHAPE, requires_grad=True),
}  # fmt: skip
NO_INTEGERS: dict[str, Any] = {
    "none": None, "string": "1", "empty string": "", "bytes": b"1", "float": 1.0, "nan": float("nan"),
    "inf": float("inf"), "complex": 1j, "true": True, "false": False, "object": object(), "no repr": NoRepr(),
    "dict": {}, "set": {1}, "class": int, "array": f32(2), "float32": np.float32(1), "negative": -1,
    "2^31": 2**31, "2^62": 2**62, "2^63": 2**63, "2^64": 2**64, "-2^63": -(2**63), "2^200": 2**200,
    "floats": (1.0, 1.0), "strings": ("1", "1"), "nones": (None, None), "empty": (), "three": (1, 1, 1),
    "mixed": (1, None),
    "deep": (((1,),),), "negatives": (1, -1), "too large": (1, 2**40), "bools": (True, True), "ragged": ((1, 2), 3),
}  # fmt: skip
NO_WORDS: dict[str, Any] = {
    "number": 3, "nan": float("nan"), "bytes": b"zeros", "list": ["zeros"], "unknown": "nonsense", "upper": "ZEROS",
    "space": " zeros", "nul": "zeros\0", "surrogate": "\ud800", "long": "x" * 10**6, "array": f32(2),
    "object": object(), "no repr": NoRepr(), "class": str, "true": True, "text array": np.array("zeros"),
}  # fmt: skip
NO_SHAPES: dict[str, Any] = {
    **{k: NO_INTEGERS[k] for k in ("none", "string", "float", "object", "dict", "floats", "strings", "nones", "empty")},
    "integer": 4, "array": np.array([1, 4, 8, 8]), "three": (1, 4, 8), "five": (1, 4, 8, 8, 8),
    "negative": (1, 4, -8, 8),
    "zero axis": (1, 4, 0, 8), "no channels": (1, 0, 8, 8), "2^63": (1, 4, 2**63, 8), "2^64": (2**64, 4, 8, 8),
    "product of 2^63": (2**20, 4, 2**20, 2**23), "largest": (2**63 - 1,) * 4, "nan": (1, 4, float("nan"), 8),
}  # fmt: skip

X, W, G, WT = f32(1, 4, 8, 8), f32(6, 4, 3, 3), f32(1, 6, 6, 6), f32(4, 6, 3, 3)


def plan(x: Any, *, residual: Any = None, out: Any = None) -> Any:
    return omniconv.plan_conv2d(X.shape, W)(x, residual=residual, out=out)


# Function, its arguments when all is well, and what kind of thing each is.
FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, dict[str, Any]]]] = {}


def function(name: str, call: Callable[..., Any], good: dict[str, Any], **kinds: dict[str, Any]) -> None:
    FUNCTIONS[name] = (call, good, kinds)


OPTIONS = {
    "stride": NO_INTEGERS, "dilation": NO_INTEGERS, "padding": NO_INTEGERS, "groups": NO_INTEGERS,
    "precision": NO_WORDS, "algorithm": NO_WORDS, "layout": NO_WORDS,
}  # fmt: skip
EPILOGUE = {"bias": NO_ARRAYS, "scale": NO_ARRAYS, "residual": NO_ARRAYS, "activation": NO_WORDS}
MODE = {"padding_mode": NO_WORDS}
OUT = {"out": NO_ARRAYS}
NO_SLOPES = {k: NO_INTEGERS[k] for k in ("none", "string", "bytes", "nan", "inf", "complex", "object", "array")}
function("conv2d", omniconv.conv2d, {"x": X, "weight": W}, x=NO_ARRAYS, weight=NO_ARRAYS, **OPTIONS, **EPILOGUE, **MODE,
         **OUT, negative_slope=NO_SLOPES)  # fmt: skip
function("conv", omniconv.conv, {"x": X, "weight": W}, x=NO_ARRAYS, weight=NO_ARRAYS)
function("conv_transpose2d", omniconv.conv_transpose2d, {"x": X, "weight": WT}, x=NO_ARRAYS, weight=NO_ARRAYS,
         **OPTIONS, **EPILOGUE, **OUT, output_padding=NO_INTEGERS)  # fmt: skip
function("conv2d_grad_input", omniconv.conv2d_grad_input, {"grad": G, "weight": W, "input_shape": X.shape},
         grad=NO_ARRAYS, weight=NO_ARRAYS, input_shape=NO_SHAPES, **OPTIONS, **MODE, **OUT)  # fmt: skip
function("conv2d_grad_weight", omniconv.conv2d_grad_weight, {"grad": G, "x": X, "kernel_size_or_weight_shape": 3},
         grad=NO_ARRAYS, x=NO_ARRAYS, kernel_size_or_weight_shape=NO_INTEGERS, **OPTIONS, **MODE, **OUT)  # fmt: skip
function("conv_grad_bias", omniconv.conv_grad_bias, {"grad": G}, grad=NO_ARRAYS, layout=NO_WORDS, **OUT)
function("plan_conv2d", omniconv.plan_conv2d, {"x_shape": X.shape, "weight": W}, x_shape=NO_SHAPES, weight=NO_ARRAYS,
         bias=NO_ARRAYS, scale=NO_ARRAYS, activation=NO_WORDS, negative_slope=NO_SLOPES, **OPTIONS, **MODE,
         channels_last=NO_INTEGERS)  # fmt: skip
function("plan", plan, {"x": X}, x=NO_ARRAYS, residual=NO_ARRAYS, **OUT)
function("algorithms", omniconv.algorithms, {"x_shape": X.shape, "w_shape": W.shape}, x_shape=NO_SHAPES,
         w_shape=NO_SHAPES, op=NO_WORDS, dtype=NO_WORDS, **{**OPTIONS, "algorithm": {}}, **MODE)  # fmt: skip

# Right for this argument alone, though wrong for others of its kind.
FINE = {
    ("padding", "strings"), ("layout", "none"), ("channels_last", "true"), ("channels_last", "false"),
    ("kernel_size_or_weight_shape", "true"),
}  # fmt: skip
# A size is checked together with the array it must fit, and either may be named.
ALSO = {
    "kernel_size_or_weight_shape": "kernel_size|weight_shape|weight|grad", "x_shape": "x",
    "w_shape": "weight|x_shape|x", "input_shape": "x|grad",
}  # fmt: skip


def check(call: Callable[..., Any], arguments: dict[str, Any], name: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ERRORS) as error:
        warnings.simplefilter("ignore")  # of frameworks, about their own rarer kinds
        call(**arguments)
    message = str(error.value)
    assert re.search(rf"\b({name}|{ALSO.get(name, name)})\b", message), message
    assert 15 < len(message) < 5000


@pytest.mark.parametrize("which", FUNCTIONS)
def test_wrong_kind_of_value(which):
    call, good, kinds = FUNCTIONS[which]
    call(**good)
    for name, kind in kinds.items():
        for what, value in kind.items():
            if (name, what) not in FINE and not (name == "out" and value is None):
                try:
                    check(call, {**good, name: value}, name)
                except BaseException as error:
                    raise AssertionError(f"{name} = {what}") from error


# ---- sizes that do not fit -------------------------------------------------------------------------------------------

UNFIT: list[tuple[str, str, dict[str, Any]]] = [
    ("conv2d", "x", {"x": f32(4, 8, 8)}),
    ("conv2d", "x", {"x": f32(1, 4, 8, 8, 8)}),
    ("conv2d", "x", {"x": f32(1, 4, 0, 8)}),
    ("conv2d", "weight", {"x": f32(1, 5, 8, 8)}),
    ("conv2d", "x", {"x": f32(1, 0, 8, 8)}),
    ("conv2d", "weight", {"weight": f32(6, 3, 3, 3)}),
    ("conv2d", "weight", {"weight": f32(6, 4, 3)}),
    ("conv2d", "weight", {"weight": f32(6, 4, 0, 3)}),
    ("conv2d", "groups", {"weight": f32(0, 4, 3, 3)}),
    ("conv2d", "weight", {"weight": f32(6, 4, 9, 3)}),
    ("conv2d", "weight", {"dilation": 4}),
    ("conv2d", "groups", {"groups": 3}),
    ("conv2d", "groups", {"groups": 0}),
    ("conv2d", "groups", {"groups": 4, "weight": f32(6, 1, 3, 3)}),
    ("conv2d", "weight", {"groups": 2}),
    ("conv2d", "stride", {"stride": 0}),
    ("conv2d", "dilation", {"dilation": (1, 0)}),
    ("conv2d", "padding", {"padding": 8, "padding_mode": "reflect"}),
    ("conv2d", "padding", {"padding": 9, "padding_mode": "circular"}),
    ("conv2d", "padding", {"padding": [(1, 1)]}),
    ("conv2d", "padding", {"padding": [(1, 1), (1, 1), (1, 1)]}),
    ("conv2d", "padding", {"padding": [(1, 1, 1), (1, 1, 1)]}),
    ("conv2d", "padding", {"padding": "SAME"}),
    ("conv2d", "bias", {"bias": f32(5)}),
    ("conv2d", "bias", {"bias": f32(6, 1)}),
    ("conv2d", "bias", {"bias": f32(1)}),
    ("conv2d", "scale", {"scale": f32(7)}),
    ("conv2d", "residual", {"residual": f32(1, 6, 5, 6)}),
    ("conv2d", "residual", {"residual": f32(6)}),
    ("conv2d", "residual", {"residual": f32(1, 6, 6, 6).astype("float64")}),
    ("conv2d", "bias", {"bias": np.ones(6)}),
    ("conv2d", "scale", {"scale": np.ones(6)}),
    ("conv2d", "weight", {"x": X.astype("float64")}),
    ("conv2d", "weight", {"weight": W.astype("float64")}),
    ("conv2d", "weight", {"weight": torch.ones(6, 4, 3, 3, dtype=torch.float64)}),
    ("conv2d", "out", {"out": f32(1, 6, 6, 5)}),
    ("conv2d", "out", {"out": f32(1, 6, 6)}),
    ("conv2d", "out", {"out": np.ones((1, 6, 6, 6))}),
    ("conv2d", "out", {"out": np.ones((1, 6, 6, 6), ">f4")}),
    ("conv2d", "out", {"out": f32(2, 6, 6, 6)[:1][::-1][:0]}),
    ("conv2d", "out", {"out": np.broadcast_to(f32(1), (1, 6, 6, 6))}),
    ("conv2d", "out", {"layout": "NHWC", "x": f32(1, 8, 8, 4), "out": f32(1, 6, 6, 5)}),
    ("conv2d", "x", {"layout": "NHWC", "weight": f32(6, 5, 3, 3)}),
    ("conv_transpose2d", "weight", {"weight": f32(5, 6, 3, 3)}),
    ("conv_transpose2d", "output_padding", {"output_padding": 1}),
    ("conv_transpose2d", "output_padding", {"output_padding": (2, 2), "stride": 2}),
    ("conv_transpose2d", "padding", {"padding": 5}),
    ("conv_transpose2d", "padding", {"padding": "same"}),
    ("conv_transpose2d", "padding", {"padding": 2**31 - 1}),
    ("conv_transpose2d", "bias", {"bias": f32(4)}),
    ("conv_transpose2d", "groups", {"groups": 3}),
    ("conv2d_grad_input", "grad", {"grad": f32(1, 6, 6, 7)}),
    ("conv2d_grad_input", "grad", {"grad": f32(1, 5, 6, 6)}),
    ("conv2d_grad_input", "grad", {"input_shape": (1, 4, 8, 9)}),
    ("conv2d_grad_input", "grad", {"input_shape": (2, 4, 8, 8)}),
    ("conv2d_grad_input", "grad", {"input_shape": (1, 4, 2**20, 2**20)}),
    ("conv2d_grad_input", "grad", {"input_shape": (1, 4, 2**21, 2**21), "stride": 2**20}),
    ("conv2d_grad_input", "weight", {"input_shape": (1, 5, 8, 8)}),
    ("conv2d_grad_input", "weight", {"weight": W.astype("float64")}),
    ("conv2d_grad_weight", "grad", {"kernel_size_or_weight_shape": 4}),
    ("conv2d_grad_weight", "grad", {"kernel_size_or_weight_shape": (6, 4, 3, 4)}),
    ("conv2d_grad_weight", "weight", {"kernel_size_or_weight_shape": (6, 3, 3, 3)}),
    ("conv2d_grad_weight", "weight", {"kernel_size_or_weight_shape": (6, 4, 2**31, 3)}),
    ("conv2d_grad_weight", "weight", {"kernel_size_or_weight_shape": 2**28, "padding": 2**28}),
    ("conv2d_grad_weight", "grad", {"kernel_size_or_weight_shape": 2**20, "padding": 2**20}),
    ("conv2d_grad_weight", "x", {"x": X.astype("float64")}),
    ("conv2d_grad_weight", "groups", {"groups": 3}),
    ("conv_grad_bias", "out", {"out": f32(5)}),
    ("conv_grad_bias", "out", {"out": np.ones(6)}),
    ("conv_grad_bias", "grad", {"grad": f32(6, 6)}),
    ("plan_conv2d", "bias", {"bias": f32(5)}),
    ("plan_conv2d", "scale", {"scale": np.ones(6)}),
    ("plan_conv2d", "x_shape", {"x_shape": (1, 4, 8)}),
    ("plan", "x", {"x": f32(1, 4, 8, 9)}),
    ("plan", "residual", {"residual": f32(1, 6, 6, 7)}),
    ("plan", "out", {"out": f32(1, 6, 6, 7)}),
]


@pytest.mark.parametrize("number", range(len(UNFIT)))
def test_sizes_and_types_that_do_not_fit(number):
    which, name, changes = UNFIT[number]
    call, good, _ = FUNCTIONS[which]
    check(call, {**good, **changes}, name)


# ---- out -------------------------------------------------------------------------------------------------------------


def overlapping() -> dict[str, dict[str, Any]]:
    """conv2d's arguments with an out that shares memory with one of them."""
    room = f32(4000)
    x, w = room[:256].reshape(1, 4, 8, 8), room[300:516].reshape(6, 4, 3, 3)
    b, r = room[600:606], room[700:916].reshape(1, 6, 6, 6)
    strided = np.lib.stride_tricks.as_strided
    item = room.itemsize
    return {
        "x exactly": {"x": x, "weight": W[:4, :, 1:2, 1:2].copy(), "out": x},
        "x partly": {"x": x, "weight": W, "out": room[255 : 255 + 216].reshape(1, 6, 6, 6)},
        "x, between its elements": {
            "x": room[1000:1512:2].reshape(1, 4, 8, 8), "weight": W, "out": room[1001:1433:2].reshape(1, 6, 6, 6),
        },
        "x, backwards": {"x": x[..., ::-1], "weight": W, "out": room[100:316].reshape(1, 6, 6, 6)[:, :, ::-1]},
        "weight": {"x": X, "weight": w, "out": room[500:716].reshape(1, 6, 6, 6)},
        "bias": {"x": X, "weight": W, "bias": b, "out": room[605:821].reshape(1, 6, 6, 6)},
        "scale": {"x": X, "weight": W, "scale": b, "out": room[605:821].reshape(1, 6, 6, 6)},
        "residual": {"x": X, "weight": W, "residual": r, "out": r},
        "itself, stride 0": {"x": X, "weight": W, "out": strided(room, (1, 6, 6, 6), (0, 0, 6 * item, item))},
        "itself, rows": {"x": X, "weight": W, "out": strided(room, (1, 6, 6, 6), (0, 36 * item, 5 * item, item))},
    }  # fmt: skip


@pytest.mark.parametrize("what", overlapping())
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_out_that_overlaps(what, kind):
    arguments = overlapping()[what]
    if kind == "torch":
        if what == "x, backwards":
            return  # torch has no negative strides
        arguments = {name: torch.from_numpy(a) for name, a in arguments.items()}
    with pytest.raises(ValueError, match=r"^out .*overlaps"):
        omniconv.conv2d(**arguments)


def test_out_that_only_looks_like_overlapping():
    """Rows of one block of memory, taken in turn by input and output, are apart if no extent meets."""
    room = f32(2, 6, 8, 8)
    out = room[1:, :, :6, :6]
    assert omniconv.conv2d(room[:1, :4], W, out=out) is out


def test_out_that_cannot_be_written():
    out = f32(1, 6, 6, 6)
    out.flags.writeable = False
    for call, arguments in ((omniconv.conv2d, {"x": X, "weight": W}), (plan, {"x": X})):
        with pytest.raises(ValueError, match="out is read-only"):
            call(**arguments, out=out)
    out = torch.zeros(1, 6, 6, 6, requires_grad=True)
    with pytest.raises(ValueError, match="out requires grad"):
        omniconv.conv2d(X, W, out=out)
    with pytest.raises(TypeError, match="out is a"):
        omniconv.conv2d(X, W, out=[[1.0]])


# ---- nonsense --------------------------------------------------------------------------------------------------------

# Values that may be right for some argument, but never make a call large: no integer between 40 and 2^31.
SMALL = st.one_of(st.integers(-3, 40), st.sampled_from([2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64, -(2**63)]))
WORDS = st.sampled_from([
    "zeros", "reflect", "replicate", "circular", "same", "valid", "causal", "relu", "gelu", "highest", "high", "medium",
    "auto", "reference", "direct", "im2win", "im2col", "NCHW", "NHWC", "forward", "grad_input", "float32", "float64",
])  # fmt: skip
SHAPES = st.lists(st.integers(0, 9), max_size=5)
ARRAYS = st.builds(
    lambda shape, dtype, kind: (torch.ones(shape, dtype=getattr(torch, dtype)) if kind else np.ones(shape, dtype)),
    SHAPES, st.sampled_from(["float32", "float32", "float32", "float64", "int32", "float16"]), st.booleans(),
)  # fmt: skip
NONSENSE = st.one_of(
    SMALL, WORDS, SHAPES, ARRAYS, st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.lists(SMALL, max_size=4), st.lists(st.tuples(SMALL, SMALL), max_size=4), st.tuples(SMALL, SMALL),
    st.dictionaries(st.text(max_size=2), SMALL, max_size=2), st.sampled_from(list(NO_ARRAYS.values())),
)  # fmt: skip


def parameters(call: Callable[..., Any]) -> list[str]:
    names = [p.name for p in inspect.signature(call).parameters.values() if p.kind is not p.VAR_KEYWORD]
    if call in (omniconv.plan_conv2d, omniconv.algorithms):
        names += ["stride", "padding", "padding_mode", "dilation", "groups", "precision", "algorithm"]
    return names


NAMES = {name for call, _, _ in FUNCTIONS.values() for name in parameters(call)}
NAMES |= {"kernel_size", "weight_shape", "the output"}


@pytest.mark.parametrize("which", FUNCTIONS)
@settings(max_examples=120)
@given(data=st.data())
def test_nonsense(which, data):
    """Any values for any arguments, some of them right: a result, or an error that names an argument."""
    call, good, _ = FUNCTIONS[which]
    names = parameters(call)
    changed = data.draw(st.dictionaries(st.sampled_from(names), NONSENSE, min_size=1, max_size=4))
    if isinstance(changed.get("padding"), int) and changed["padding"] == 2**31 - 1 and which != "algorithms":
        return  # legal, and 2^64 outputs
    try:
        call(**{**good, **changed})
    except ERRORS as error:
        message = str(error)
        assert any(re.search(rf"\b{name}\b", message) for name in NAMES), message


SIZES = st.sampled_from([0, 1, 2, 3, 64, 1000, 2**16, 2**31 - 1, 2**31, 2**40, 2**46, 2**62, 2**63 - 1])


@settings(max_examples=300)
@given(
    x=st.lists(SIZES, min_size=3, max_size=5),
    w=st.lists(SIZES, min_size=3, max_size=5),
    number=st.fixed_dictionaries({k: st.sampled_from([1, 2, 1000, 2**20, 2**31 - 1]) for k in ("stride", "dilation")}),
    padding=st.sampled_from([0, 1, 1000, 2**31 - 1]),
    op=st.sampled_from(["forward", "grad_input", "grad_weight"]),
    mode=st.sampled_from(["zeros", "replicate", "circular", "reflect"]),
)
def test_sizes_of_any_magnitude(x, w, number, padding, op, mode):
    """Only described, never allocated: no overflow, no hang."""
    if len(w) == len(x) and w[1] != x[1]:
        w = [w[0], x[1], *w[2:]]
    try:
        listed = omniconv.algorithms(x, w, op=op, padding=padding, padding_mode=mode, **number)
    except ERRORS as error:
        assert any(re.search(rf"\b{name}\b", str(error)) for name in NAMES), str(error)
    else:
        assert all(0 <= a.workspace_bytes < 2**62 and 0 <= a.cost < float("inf") for a in listed)


def test_results_that_do_not_fit_in_memory():
    x = np.broadcast_to(np.float32(1), (2**20, 1, 2**20))
    w = f32(2**6, 1, 1)
    for a, b in ((x, w), (torch.ones(1).expand(x.shape), torch.ones(w.shape))):
        with pytest.raises((MemoryError, ValueError), match=r"\b(out|x)\b"):
            omniconv.conv1d(a, b)
