"""Integer convolution: equality with int64 for every operation, path and instruction set, tolerance zero."""

from __future__ import annotations

import hashlib

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import omniconv
from omniconv import dfp16
from tests.dfp16 import oracle

ALGORITHMS = ["pairs", "tiles"] if omniconv.available_isas()[-1] == "amx" else ["pairs"]


def _mantissas(rng: np.random.Generator, shape: tuple, fill: str) -> np.ndarray:
    size = int(np.prod(shape))
    values = {
        "random": lambda: rng.integers(-32768, 32768, size),
        "small": lambda: rng.integers(-127, 128, size),
        "normal": lambda: np.clip(rng.standard_normal(size) * 6000, -32767, 32767),
        "max": lambda: np.full(size, 32767),
        "raw_min": lambda: np.full(size, -32768),
        "signs": lambda: 32767 * rng.choice([-1, 1], size),
        "cancel": lambda: np.where(np.arange(size) < size // 2, 32767, -32767),
        "lo255": lambda: rng.integers(-128, 127, size) * 256 + 255,
        "hi128lo255": lambda: np.full(size, -32513),
        "spike": lambda: np.where(np.arange(size) == size // 3, -32768, 0),
    }[fill]()
    return values.astype(np.int16).reshape(shape)


FILLS = ["random", "small", "normal", "max", "raw_min", "signs", "cancel", "lo255", "hi128lo255", "spike"]


@st.composite
def problems(draw: st.DrawFn) -> tuple[oracle.Conv, int, tuple[str, str]]:
    """Any convolution of a small size, a seed, and what its operands are filled with."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    ci, co = (draw(st.sampled_from([1, 2, 3, 8, 16, 17, 33])) for _ in range(2))
    if draw(st.integers(0, 5)) == 0:
        groups, ci, co = draw(st.integers(2, 9)), 1, draw(st.integers(1, 2))  # depthwise
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    stride, dilation = (tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(2)) for _ in range(2))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(2))
    least = [max(1, (k - 1) * d + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = [draw(st.integers(n, n + 9)) for n in least]
    conv = oracle.Conv(
        (draw(st.integers(1, 3)), groups * ci, *size), (groups * co, ci, *kernel), stride, padding, dilation, groups
    )
    return conv, draw(st.integers(0, 99)), (draw(st.sampled_from(FILLS)), draw(st.sampled_from(FILLS)))


def _run(conv: oracle.Conv, op: str, a: np.ndarray, b: np.ndarray, **how) -> np.ndarray:
    how = conv.options | how
    if op == "y":
        return dfp16.conv2d(a, b, **how)
    if op == "dx":
        return dfp16.conv2d_grad_input(a, b, conv.x_shape, **how)
    return dfp16.conv2d_grad_weight(a, b, conv.w_shape, **how)


def _operands(conv: oracle.Conv, seed: int, fills: tuple[str, str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    x, w = (_mantissas(rng, s, f) for s, f in zip((conv.x_shape, conv.w_shape), fills, strict=True))
    dy = _mantissas(rng, conv.y_shape, fills[0])
    return {"y": (x, w), "dx": (dy, w), "dw": (dy, x)}


@settings(max_examples=50)
@given(problem=problems(), overflow=st.sampled_from(["certified", "worst_case"]), algorithm=st.sampled_from(ALGORITHMS))
def test_sums_equal_those_of_int64(problem, overflow, algorithm, isa):
    conv, *rest = problem
    if algorithm == "tiles" and isa != "amx":
        algorithm = "pairs"
    for op, (a, b) in _operands(conv, *rest).items():
        got = _run(conv, op, a, b, out="int64", overflow=overflow, algorithm=algorithm)
        assert np.array_equal(got, getattr(conv, op)(a, b)), op


@settings(max_examples=25)
@given(
    groups=st.sampled_from([1, 3, 18]), kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)), nhwc=st.booleans(),
    stride=st.sampled_from([1, 2]), dilation=st.sampled_from([1, 2]), size=st.integers(9, 40), seed=st.integers(0, 99),
    fills=st.tuples(st.sampled_from(FILLS), st.sampled_from(FILLS)),
)  # fmt: skip
def test_depthwise_by_lines(groups, kernel, nhwc, stride, dilation, size, seed, fills, isa):
    conv = oracle.Conv((2, groups, 11, size), (groups, 1, *kernel), (stride,) * 2, (2, 1), (dilation,) * 2, groups)
    for op, (a, b) in _operands(conv, seed, fills).items():
        if nhwc:
            a = np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        want = getattr(conv, op)(a, b)
        for algorithm in ("lines", "pairs"):
            assert np.array_equal(_run(conv, op, a, b, out="int64", algorithm=algorithm), want), (op, algorithm)
        floats = _run(conv, op, a, b, algorithm="lines")
        assert np.array_equal(floats, want.astype(np.float32))
    a, b = _operands(conv, seed, fills)["y"]
    report = dfp16.explain("forward", a, b, **conv.options)
    assert (report.algorithm, report.certified) == ("lines", True)


def test_lines_have_the_epilogue_and_exponents_of_pairs(isa):
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((3, 5, 9, 21)), rng.standard_normal((5, 1, 3, 3))
    x, w = (x * np.exp2([0, 9, -20])[:, None, None, None]).astype(np.float32), w.astype(np.float32)
    bias = rng.standard_normal(5).astype(np.float32)
    a, b = dfp16.quantize(x, granularity="image"), dfp16.quantize(w, granularity="image")
    how = {"groups": 5, "padding": 1, "activation": "relu"}
    reports = [dfp16.explain("forward", a, b, bias=bias, algorithm=n, **how) for n in ("lines", "pairs")]
    assert reports[0].next_exponent == reports[1].next_exponent
    assert np.array_equal(
        dfp16.conv2d(a, b, bias, algorithm="lines", **how), dfp16.conv2d(a, b, bias, algorithm="pairs", **how)
    )
    plans = [omniconv.plan_conv2d(x.shape, w, groups=5, padding=1, precision="dfp16", algorithm=n)
             for n in ("lines", "pairs")]  # fmt: skip
    assert plans[0].algorithm == "lines"
    for layout in (x, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        assert np.array_equal(plans[0](layout), plans[1](layout))
    with pytest.raises(NotImplementedError, match="one input and one output channel"):
        dfp16.conv2d(np.zeros((1, 2, 4, 4), np.int16), np.zeros((1, 2, 3, 3), np.int16), algorithm="lines")
    with pytest.raises(NotImplementedError, match="could overflow"):
        dfp16.conv2d(a, b, groups=5, algorithm="lines", overflow="unchecked")


@settings(max_examples=12)
@given(problem=problems())
def test_the_text_of_the_matrix_unit_computes_the_same(problem):
    conv, *rest = problem
    for op, (a, b) in _operands(conv, *rest).items():
        got = _run(conv, op, a, b, out="int64", algorithm="emulated_tiles")
        assert np.array_equal(got, getattr(conv, op)(a, b)), op


@pytest.mark.parametrize("terms", [32_896, 32_897, 65_793, 65_794, 200_000])
@pytest.mark.parametrize(
    "fills", [("max", "max"), ("hi128lo255", "hi128lo255"), ("raw_min", "raw_min"), ("max", "cancel")]
)
@pytest.mark.parametrize("algorithm", ["pairs", "emulated_tiles"])
def test_long_reductions(terms, fills, algorithm, isa):
    if algorithm == "emulated_tiles" and (isa != "scalar" or terms == 200_000 or "raw_min" in fills):
        pytest.skip("is the same on every level, and slow")
    x, w = (_mantissas(np.random.default_rng(0), (1, terms, 1, 1), fill) for fill in fills)
    want = int((x.astype(np.int64) * w).sum())
    for overflow in ("certified", "worst_case"):
        got = dfp16.conv2d(x, w, out="int64", overflow=overflow, algorithm=algorithm)
        assert got.item() == want


def _adversaries(terms: int) -> np.ndarray:
    """[pattern, terms]: extremes, a filter to be matched, signs that alternate, sums that cancel but for a little."""
    rng, half = np.random.default_rng(terms), np.arange(terms) < terms // 2
    filters = rng.integers(-32767, 32768, terms)
    almost = np.where(half, 32767, -32767)
    almost[-1] += 1
    return np.stack([
        np.full(terms, 32767), np.full(terms, -32767), filters, -filters, np.sign(filters + 0.5) * 32767,
        np.where(np.arange(terms) % 2, 32767, -32767), almost, np.where(half, 32767, 0),
    ]).astype(np.int16)  # fmt: skip


@pytest.mark.parametrize("terms", [32_896, 32_897, 65_793, 65_794])
def test_adversarial_sums_are_exact_and_rounded_once_on_every_path(terms, isa):
    rows, columns = _adversaries(terms), _adversaries(terms)
    sums = rows.astype(np.int64) @ columns.astype(np.int64).T
    assert (np.abs(sums) > 2**44).any()
    assert (np.abs(sums) < 2**17).any()
    n, e = len(rows), (-13, -41)
    want = oracle.rounded(sums, sum(e))
    a, b = rows[:, :, None, None], columns[:, :, None, None]
    runs = {
        "forward": (dfp16.conv2d, a, b, ()),
        "grad_input": (dfp16.conv2d_grad_input, a, columns.T[:, :, None, None], ((n, n, 1, 1),)),
        "grad_weight": (dfp16.conv2d_grad_weight, rows[None, :, None], columns[None, :, None], ((n, n, 1, 1),)),
    }
    ways = [{"algorithm": "pairs", "overflow": o} for o in ("certified", "worst_case")]
    ways += [{"algorithm": "emulated_tiles"}] if isa == "scalar" else []
    ways += [{"algorithm": "tiles"}] if isa == "amx" else []
    for op, (run, first, second, shape) in runs.items():
        first, second = (dfp16.DfpTensor(np.ascontiguousarray(m), np.array(k, np.int32))
                         for m, k in zip((first, second), e, strict=True))  # fmt: skip
        for how in ways:
            assert np.array_equal(run(first, second, *shape, out="int64", **how)[:, :, 0, 0], sums), (op, how)
            assert np.array_equal(run(first, second, *shape, **how)[:, :, 0, 0], want), (op, how)


@settings(max_examples=25)
@given(problem=problems(), e=st.tuples(st.integers(-80, 40), st.integers(-80, 40)))
def test_float32_is_the_nearest_to_the_sum(problem, e, isa):
    conv, *rest = problem
    a, b = (dfp16.DfpTensor(m, np.array(n, np.int32), 16) for m, n in zip(_operands(conv, *rest)["y"], e, strict=True))
    got = _run(conv, "y", a, b)
    pick = np.random.default_rng(0).integers(0, got.size, 30)  # fractions are slow
    sums = conv.y(a.mantissa, b.mantissa).ravel()[pick]
    assert np.array_equal(got.ravel()[pick], oracle.rounded(sums, sum(e)))


def test_bits_depend_on_neither_isa_nor_threads_nor_batch():
    rng = np.random.default_rng(7)
    conv = oracle.Conv((5, 24, 13, 11), (40, 24, 3, 3), (2, 1), (1, 1), (1, 2))
    operands = {op: tuple(dfp16.quantize(v.astype(np.float32)) for v in pair)
                for op, pair in _operands(conv, 1, ("normal", "normal")).items()}  # fmt: skip
    seen = set()
    for isa in omniconv.available_isas():
        omniconv.set_isa(isa)
        for threads in (1, 2, 3):
            omniconv.set_num_threads(threads)
            for how in ({}, {"overflow": "worst_case"}):
                results = [_run(conv, op, *pair, **how) for op, pair in operands.items()]
                seen.add(hashlib.sha256(b"".join(r.tobytes() for r in results)).hexdigest())
    assert len(seen) == 1
    spilled = set()
    for isa in omniconv.available_isas():
        omniconv.set_isa(isa)
        for threads in (1, 3):
            omniconv.set_num_threads(threads)
            spilled.add(_run(conv, "y", *operands["y"], accumulate="fp32_spill").tobytes())
    assert len(spilled) == 1
    x = rng.standard_normal(conv.x_shape).astype(np.float32)
    w = rng.standard_normal(conv.w_shape).astype(np.float32)
    whole = omniconv.conv2d(x, w, precision="dfp16", **conv.options)
    for n in range(5):
        assert np.array_equal(omniconv.conv2d(x[n : n + 1], w, precision="dfp16", **conv.options)[0], whole[n])


# ---- certificates --------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    fills=st.tuples(st.sampled_from(FILLS), st.sampled_from(FILLS)), channels=st.sampled_from([3, 16, 40, 64]),
    overflow=st.sampled_from(["certified", "worst_case"]), seed=st.integers(0, 9),
)  # fmt: skip
def test_no_chain_exceeds_its_certificate(fills, channels, overflow, seed):
    """Every window of so many neighbouring terms, whatever chains were taken."""
    x, w = _operands(oracle.Conv((1, channels, 5, 6), (4, channels, 3, 3)), seed, fills)["y"]
    report = dfp16.explain("forward", x, w, overflow=overflow, algorithm="pairs")
    assert report.certified
    assert report.bound <= 2**31 - 1 - 65535
    assert report.terms >= channels * 9
    columns = oracle.windows(x, (3, 3), (1, 1), (1, 1), (0, 0))[0].transpose(1, 2, 3, 4, 0).reshape(12, 3, 3 * channels)
    weights = w.astype(np.int64).transpose(0, 2, 3, 1).reshape(4, 3, 3 * channels)
    if report.digits:
        low = weights.astype(np.int8).astype(np.int64)
        weights = np.concatenate([low, (weights - low) // 256])
    products = (columns[:, None] * weights[None]).reshape(12, len(weights), 3, 3 * channels)
    span = min(report.chain, 3 * channels)
    sums = np.cumsum(np.pad(products, [(0, 0)] * 3 + [(1, 0)]), -1)
    pieces = sums[..., span:] - sums[..., :-span]
    assert np.abs(pieces).max() <= report.bound


def test_normal_data_needs_no_digits_and_chains_are_long():
    rng = np.random.default_rng(0)
    x = dfp16.quantize(rng.standard_normal((1, 64, 20, 20)).astype(np.float32))
    w = dfp16.quantize(rng.standard_normal((64, 64, 3, 3)).astype(np.float32))
    report = dfp16.explain("forward", x, w, algorithm="pairs")
    assert not report.digits
    assert report.chain >= 8
    assert dfp16.explain("forward", x, w, overflow="worst_case", algorithm="pairs").digits


def test_unchecked_overflows_on_a_matched_filter():
    """The negative control: what the certificates prevent does happen."""
    x = np.full((1, 64, 3, 3), 32767, np.int16)
    w = np.full((1, 64, 3, 3), 32767, np.int16)
    right = 576 * 32767**2
    assert dfp16.conv2d(x, w, out="int64").item() == right
    report = dfp16.explain("forward", x, w, overflow="unchecked", algorithm="pairs")
    assert not report.certified
    assert dfp16.conv2d(x, w, out="int64", overflow="unchecked", algorithm="pairs").item() != right


def test_spilling_to_float32_stays_near_and_shorter_mantissas_need_fewer_spills():
    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((2, 64, 9, 9), (16, 64, 3, 3)))
    for bits in (15, 13):
        a, b = dfp16.quantize(x, bits), dfp16.quantize(w, bits)
        exact = dfp16.conv2d(a, b).astype(np.float64)
        for overflow in ("certified", "worst_case"):
            spilled = dfp16.conv2d(a, b, accumulate="fp32_spill", overflow=overflow)
            assert np.linalg.norm(spilled - exact) / np.linalg.norm(exact) < 1e-6
    chains = [
        dfp16.explain("forward", dfp16.quantize(x, b), dfp16.quantize(w, b), overflow="worst_case",
                      accumulate="fp32_spill").chain
        for b in (15, 13, 12)
    ]  # fmt: skip
    assert chains == [2, 32, 128]


# ---- results -------------------------------------------------------------------------------------------------------


def test_exponents_of_images_and_output_channels():
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((4, 6, 7, 7)) * np.exp2([0, 9, -20, 3])[:, None, None, None]).astype(np.float32)
    w = (rng.standard_normal((5, 6, 3, 3)) * np.exp2(np.arange(5) * 4)[:, None, None, None]).astype(np.float32)
    a, b = dfp16.quantize(x, granularity="image"), dfp16.quantize(w, granularity="image")
    got = dfp16.conv2d(a, b)
    sums = oracle.Conv(x.shape, w.shape).y(a.mantissa, b.mantissa)
    want = np.ldexp(sums.astype(np.float64), (a.exponent[:, None] + b.exponent)[:, :, None, None])
    assert np.array_equal(got, want.astype(np.float32))
    dy = rng.standard_normal(got.shape).astype(np.float32) * np.exp2(np.arange(5)).astype(np.float32)[:, None, None]
    g = dfp16.quantize(dy, granularity="channel")
    flat = dfp16.quantize(x)
    sums = oracle.Conv(x.shape, w.shape).dw(g.mantissa, flat.mantissa)
    want = np.ldexp(sums.astype(np.float64), (g.exponent + flat.exponent)[:, None, None, None])
    assert np.array_equal(dfp16.conv2d_grad_weight(g, flat, w.shape), want.astype(np.float32))


def test_epilogue_and_next_exponent(isa):
    rng = np.random.default_rng(4)
    x, w = (dfp16.quantize(rng.standard_normal(s).astype(np.float32)) for s in ((2, 8, 9, 9), (12, 8, 3, 3)))
    bias = rng.standard_normal(12).astype(np.float32)
    plain = dfp16.conv2d(x, w)
    got = dfp16.conv2d(x, w, bias, activation="relu")
    assert np.array_equal(got, np.maximum(plain + bias[:, None, None], 0))
    report = dfp16.explain("forward", x, w, bias=bias, activation="relu")
    assert report.next_exponent == int(dfp16.quantize(got).exponent)


def test_out_dfp16_is_the_requantised_sum():
    rng = np.random.default_rng(5)
    x, w = (dfp16.quantize(rng.standard_normal(s).astype(np.float32)) for s in ((2, 8, 9, 9), (12, 8, 3, 3)))
    got = dfp16.conv2d(x, w, out="dfp16", bits=12)
    sums = dfp16.conv2d(x, w, out="int64")
    want = dfp16.requantize(sums, int(x.exponent) + int(w.exponent), 12)
    assert np.array_equal(got.mantissa, want.mantissa)
    assert got.exponent == want.exponent
    assert got.bits == 12


def test_one_axis_and_linear():
    rng = np.random.default_rng(6)
    x, w = (_mantissas(rng, s, "random") for s in ((2, 6, 20), (8, 3, 5)))
    how = {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}
    two = {k: (1, v) if k in ("stride", "dilation") else (0, v) if k == "padding" else v for k, v in how.items()}
    conv = oracle.Conv((2, 6, 1, 20), (8, 3, 1, 5), **two)
    y = dfp16.conv1d(x, w, out="int64", **how)
    assert np.array_equal(y, conv.y(x[:, :, None], w[:, :, None])[:, :, 0])
    dy = _mantissas(rng, y.shape, "random")
    dx = dfp16.conv1d_grad_input(dy, w, x.shape, out="int64", **how)
    assert np.array_equal(dx, conv.dx(dy[:, :, None], w[:, :, None])[:, :, 0])
    dw = dfp16.conv1d_grad_weight(dy, x, w.shape, out="int64", **how)
    assert np.array_equal(dw, conv.dw(dy[:, :, None], x[:, :, None])[:, :, 0])
    a, b = _mantissas(rng, (3, 4, 50), "random"), _mantissas(rng, (7, 50), "random")
    assert np.array_equal(dfp16.linear(a, b, out="int64"), a.astype(np.int64) @ b.astype(np.int64).T)
    rows = dfp16.quantize(rng.standard_normal((9, 50)).astype(np.float32), granularity="row")
    columns = dfp16.quantize(rng.standard_normal((7, 50)).astype(np.float32), granularity="row")
    want = rows.dequantize("float64") @ columns.dequantize("float64").T
    assert np.array_equal(dfp16.linear(rows, columns), want.astype(np.float32))


@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 3), ((1, 2, 1), (2, 1, 3), 1), (1, 1, 6)])
def test_three_axes(stride, dilation, groups, isa):
    """Sums of PyTorch in float64 are exact here: fewer than 2^53 / 2^30 terms."""
    rng = np.random.default_rng(8)
    x, w = (_mantissas(rng, s, "random") for s in ((2, 6, 5, 7, 6), (12, 6 // groups, 2, 3, 2)))
    how = {"stride": stride, "padding": (1, 0, 2), "dilation": dilation, "groups": groups}
    wide = [torch.from_numpy(m.astype(np.float64)).requires_grad_() for m in (x, w)]
    y = torch.nn.functional.conv3d(*wide, None, **how)
    dy = _mantissas(rng, tuple(y.shape), "random")
    dx, dw = torch.autograd.grad(y, wide, torch.from_numpy(dy.astype(np.float64)))
    for algorithm in ["pairs", *(["emulated_tiles"] if isa == "scalar" and groups == 1 else [])]:
        how |= {"algorithm": algorithm, "out": "int64"}
        assert np.array_equal(dfp16.conv3d(x, w, **how), y.detach().numpy())
        assert np.array_equal(dfp16.conv3d_grad_input(dy, w, x.shape, **how), dx.numpy())
        assert np.array_equal(dfp16.conv3d_grad_weight(dy, x, w.shape, **how), dw.numpy())


def test_arrays_of_torch_and_other_layouts():
    x, w = torch.randint(-32767, 32768, (2, 8, 7, 9), dtype=torch.int16), torch.randint(-99, 99, (4, 8, 3, 3)).short()
    got = dfp16.conv2d(x.to(memory_format=torch.channels_last), w, out="int64")
    assert isinstance(got, torch.Tensor)
    assert np.array_equal(got.numpy(), oracle.Conv(x.shape, w.shape).y(x.numpy(), w.numpy()))


X, W = np.zeros((1, 4, 5, 5), np.int16), np.zeros((2, 4, 3, 3), np.int16)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: dfp16.conv2d(X.astype(np.float32), W), TypeError, "x has dtype float32"),
        (lambda: dfp16.conv2d(X, W[0]), ValueError, "weight has 3 dimensions"),
        (lambda: dfp16.conv2d(X, W, groups=3), ValueError, "groups is 3"),
        (lambda: dfp16.conv2d(X, W, out="int32"), ValueError, "out is 'int32'"),
        (lambda: dfp16.conv2d(X, W, accumulate="float"), ValueError, "accumulate is 'float'"),
        (lambda: dfp16.conv2d(X, W, overflow="ignore"), ValueError, "overflow is 'ignore'"),
        (lambda: dfp16.conv2d(X, W, algorithm="gemm"), ValueError, "algorithm is 'gemm'"),
        (lambda: dfp16.conv2d(X, W, out="int64", accumulate="fp32_spill"), ValueError, "no integer sums"),
        (lambda: dfp16.conv2d(X, W, np.zeros(2, np.float32), out="int64"), ValueError, "bias"),
        (lambda: dfp16.conv2d(X, W, np.zeros(3, np.float32)), ValueError, "bias has shape"),
        (lambda: dfp16.conv2d(X, W, algorithm="emulated_tiles", overflow="unchecked"), NotImplementedError, "tiles"),
        (lambda: dfp16.conv2d(dfp16.quantize(X.astype("f4"), granularity="channel"), W), ValueError, "x has granul"),
        (lambda: dfp16.conv2d(X, dfp16.quantize(W.astype("f4"), granularity="channel")), ValueError, "weight has gran"),
        (lambda: dfp16.conv2d_grad_weight(X[:, :2], dfp16.quantize(X.astype("f4"), granularity="image"), W.shape),
         ValueError, "x has granularity"),
        (lambda: dfp16.conv2d_grad_input(X, W, X.shape), ValueError, "grad has shape"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()
