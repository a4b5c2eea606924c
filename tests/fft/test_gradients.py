"""Gradients against PyTorch's of the same sums in float64, and the adjoint identities."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import FAST, MODES, error, normal

torch = pytest.importorskip("torch")


def definition(u, k, mode, pre, post, skip, bias, act, k_rev, per_sample=False):
    """y by plain sums in float64, differentiable; u [B, H, L], k [H, K], [C, H, K] or [B, H, K]."""
    v = u if pre is None else u * pre
    length = v.shape[-1]
    wide = k.ndim == 3 and not per_sample

    def matrix(kernel, reverse):  # [.., Lout, L] with y = matrix v
        taps = kernel.shape[-1]
        outs = {"full": length + taps - 1, "valid": length - taps + 1}.get(mode, length)
        first = {"same": taps // 2, "valid": taps - 1}.get(mode, 0)
        lag = first + torch.arange(outs)[:, None] - torch.arange(length)[None, :]
        if reverse:
            lag = -lag
        if mode == "circular":
            rounds = [lag % length + i * length for i in range(-(-taps // length))]
        else:
            rounds = [lag]
        padded = torch.nn.functional.pad(kernel, (0, 1))
        return sum(padded[..., torch.where((m >= 0) & (m < taps), m, taps)] for m in rounds)

    m = matrix(k, False)
    if k_rev is not None:
        m = m + matrix(k_rev, True)
    if wide:
        conv, v_ = torch.einsum("chol,bhl->bcho", m, v), v[:, None]
    else:
        conv, v_ = torch.einsum("bhol,bhl->bho" if per_sample else "hol,bhl->bho", m, v), v
    s = conv
    if skip is not None:
        s = s + skip[..., None] * v_
    if bias is not None:
        s = s + bias[..., None]
    s = {
        None: lambda x: x, "gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu, "relu": torch.relu,
        "tanh": torch.tanh, "sigmoid": torch.sigmoid, "hardswish": torch.nn.functional.hardswish,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "relu6": torch.nn.functional.relu6,
        "leaky_relu": lambda x: torch.nn.functional.leaky_relu(x, 0.01),
    }[act](s)  # fmt: skip
    return s if post is None else s * post


NAMES = ("u", "k", "pre_gate", "post_gate", "skip", "bias", "k_rev")


def check(shapes, mode="causal", act=None, per_sample=False, dtype="float32", algorithm="auto", limit=1e-6):
    arrays = {n: normal(*shapes[n], seed=i, dtype=dtype) if n in shapes else None for i, n in enumerate(NAMES)}
    t = {n: None if a is None else torch.tensor(a, dtype=torch.float64, requires_grad=True) for n, a in arrays.items()}
    y = definition(
        t["u"], t["k"], mode, t["pre_gate"], t["post_gate"], t["skip"], t["bias"], act, t["k_rev"], per_sample
    )  # fmt: skip
    g = normal(*y.shape, seed=99, dtype=dtype)
    (y * torch.tensor(g, dtype=torch.float64)).sum().backward()
    how = {n: a for n, a in arrays.items() if a is not None and n not in ("u", "k")}
    how |= {"mode": mode, "activation": act, "per_sample": per_sample, "algorithm": algorithm}
    try:
        got = omniconv.fft_conv(arrays["u"], arrays["k"], **how)
        grads = omniconv.fft_conv_grad(g, arrays["u"], arrays["k"], **how)
    except NotImplementedError:
        return
    assert error(got, y.detach().numpy()) <= limit
    for name in NAMES:
        if arrays[name] is None:
            assert getattr(grads, name) is None
            continue
        want, found = t[name].grad.numpy(), getattr(grads, name)
        assert found.dtype == dtype
        assert np.linalg.norm(found - want) <= limit * np.linalg.norm(want), (name, mode, act, algorithm)


EVERYTHING = {"pre_gate": (2, 3, 50), "post_gate": (2, 3, 50), "skip": (3,), "bias": (3,)}


@pytest.mark.parametrize("algorithm", [*FAST, "reference"])
@pytest.mark.parametrize("mode", MODES)
def test_modes(mode, algorithm, isa):
    for length, taps in ((50, 50), (50, 7), (50, 1), (200, 13), (20, 33)):
        if mode == "valid" and taps > length:
            continue
        u = (2, 3, length)
        check({"u": u, "k": (3, taps)}, mode, algorithm=algorithm)
        check({"u": u, "k": (3, taps), "pre_gate": u}, mode, algorithm=algorithm)
        check({"u": u, "k": (3, taps)}, mode, algorithm=algorithm, dtype="float64", limit=1e-13)
        if mode in ("causal", "circular"):
            check({"u": u, "k": (3, taps), "k_rev": (3, taps), "skip": (3,)}, mode, algorithm=algorithm)


@pytest.mark.parametrize(
    "act",
    [None, "relu", "relu6", "leaky_relu", "silu", "gelu", "gelu_tanh", "quick_gelu", "hardswish", "sigmoid", "tanh"],
)
def test_everything_at_once(act):
    for dtype, limit in (("float32", 3e-6), ("float64", 1e-12)):  # sums that cancel, of values that were rounded
        check({"u": (2, 3, 50), "k": (3, 20), **EVERYTHING}, act=act, dtype=dtype, limit=limit)


def test_several_kernels_and_kernels_per_sample(isa):
    check({"u": (2, 3, 50), "k": (4, 3, 20), "pre_gate": (2, 3, 50), "skip": (4, 3), "bias": (4, 3)}, limit=2e-6)
    check({"u": (2, 3, 50), "k": (4, 3, 20), "post_gate": (2, 4, 3, 50)}, act="silu", limit=2e-6)
    check({"u": (2, 3, 50), "k": (2, 3, 20), **EVERYTHING}, per_sample=True, limit=2e-6)


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("mode", MODES)
def test_adjoint_identities(mode, algorithm, isa):
    """<conv(u, k), g> = <u, du> = <k, dk>, at sizes that no definition by matrices would fit."""
    u, k = normal(2, 2, 30000, dtype="float64"), normal(2, 500, seed=1, dtype="float64")
    y = omniconv.fft_conv(u, k, mode=mode, algorithm=algorithm)
    g = normal(*y.shape, seed=2, dtype="float64")
    grads = omniconv.fft_conv_grad(g, u, k, mode=mode, algorithm=algorithm)
    product, scale = (y * g).sum(), np.linalg.norm(y) * np.linalg.norm(g)
    assert abs((u * grads.u).sum() - product) <= 1e-13 * scale
    assert abs((k * grads.k).sum() - product) <= 1e-13 * scale


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("mode", ("causal", "circular", "same"))
def test_kept_sums_and_every_subset(mode, algorithm, isa):
    """What forward kept serves as well as what is computed again; no gradient depends on which others are asked for."""
    shape = (5, 2, 700)
    u, pre, post, g = (normal(*shape, seed=i) for i in range(4))
    k, skip, bias = normal(2, 90, seed=5), normal(2, seed=6), normal(2, seed=7)
    for act in (None, "silu"):
        how = {"pre_gate": pre, "post_gate": post, "skip": skip, "bias": bias, "activation": act, "mode": mode}
        how["algorithm"] = algorithm
        sums = np.full(shape, np.nan, "float32")
        y = omniconv.fft_conv(u, k, sums=sums, **how)
        assert np.array_equal(y, omniconv.fft_conv(u, k, **how))
        want = omniconv.fft_conv_grad(g, u, k, **how)
        for got, expected in zip(omniconv.fft_conv_grad(g, u, k, sums=sums, **how), want, strict=True):
            assert expected is None or np.linalg.norm(got - expected) <= 2e-7 * np.linalg.norm(expected)
        for names in (("u",), ("pre_gate",), ("k",), ("post_gate",), ("skip", "bias"), ("u", "skip"), ("k", "u")):
            some = omniconv.fft_conv_grad(g, u, k, wrt=names, **how)
            for name, got, expected in zip(NAMES, some, want, strict=False):
                assert (name in names) == (got is not None) and (got is None or np.array_equal(got, expected))


def test_many_samples_and_long_rows_by_all_threads(isa):
    """Sums in parts, and rows that several threads share: against the reference and with the same bits."""
    for batch, length, taps in ((40, 60, 60), (1, 70000, 70000)):
        u, k, g, post = (normal(batch, 1, length, seed=i) if i != 1 else normal(1, taps, seed=1) for i in range(4))
        omniconv.set_num_threads(1)
        want = omniconv.fft_conv_grad(g, u, k, post_gate=post, algorithm="fft")
        omniconv.set_num_threads(3)
        for got, expected in zip(omniconv.fft_conv_grad(g, u, k, post_gate=post, algorithm="fft"), want, strict=True):
            assert expected is None or np.array_equal(got, expected)
        if length < 1000:
            double = [a.astype("float64") for a in (g, u, k, post)]
            right = omniconv.fft_conv_grad(*double[:3], post_gate=double[3], algorithm="reference")
            assert error(want.k, right.k) <= 1e-6 and error(want.u, right.u) <= 1e-6
        else:
            y = omniconv.fft_conv(u, k, post_gate=post, algorithm="fft")
            product = (y.astype("float64") * g).sum()
            for a, d in ((u, want.u), (k, want.k), (post, want.post_gate)):
                assert abs((a.astype("float64") * d).sum() - product) <= 1e-5 * np.linalg.norm(y) * np.linalg.norm(g)


def test_layouts_and_wrt():
    u, k, g = normal(2, 3, 60), normal(3, 20, seed=1), normal(2, 3, 60, seed=2)
    skip, post = normal(3, seed=3), normal(2, 3, 60, seed=4)
    want = omniconv.fft_conv_grad(g, u, k, skip=skip, post_gate=post)
    turn = lambda a: np.ascontiguousarray(a.swapaxes(1, 2))  # noqa: E731
    got = omniconv.fft_conv_grad(turn(g), turn(u), k, skip=skip, post_gate=turn(post), layout="BLH")
    assert np.array_equal(got.k, want.k) and np.array_equal(turn(got.u), want.u)
    assert np.array_equal(turn(got.post_gate), want.post_gate)
    some = omniconv.fft_conv_grad(g, u, k, skip=skip, post_gate=post, wrt=("k",))
    assert np.array_equal(some.k, want.k) and some.u is None and some.skip is None
    spectrum = omniconv.KernelSpectrum(k, length=60)
    assert np.array_equal(omniconv.fft_conv_grad(g, u, spectrum, skip=skip, post_gate=post).u, want.u)
