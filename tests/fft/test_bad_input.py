"""Every argument wrong: an exception that names it, never a crash and never a result."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import omniconv
from tests.fft.long_convs import normal

U, K = normal(2, 3, 40), normal(3, 9, seed=1)
WRONG = [
    ({"u": normal(3, 40)}, ValueError, "u has shape"),
    ({"u": normal(2, 4, 40)}, ValueError, "channels"),
    ({"u": normal(2, 3, 0)}, ValueError, "u has shape"),
    ({"u": U.astype("int16")}, TypeError, "u has dtype int16"),
    ({"u": U.astype("float16"), "out": U.copy()}, TypeError, "out has dtype float32"),
    ({"k": K.astype("float16")}, TypeError, "k has dtype float16"),
    ({"u": U.astype("complex64")}, TypeError, "u has dtype complex64"),
    ({"u": U.astype("float64")}, TypeError, "u has dtype float64"),
    ({"u": "row"}, TypeError, "u is a str"),
    ({"u": None}, TypeError, "u is a NoneType"),
    ({"k": normal(9)}, ValueError, "k has shape"),
    ({"k": normal(3, 0)}, ValueError, "k has shape"),
    ({"k": normal(2, 2, 3, 9)}, ValueError, "k has shape"),
    ({"k": K.astype("int32")}, TypeError, "k has dtype int32"),
    ({"per_sample": True}, ValueError, "k has shape"),
    ({"k": normal(5, 3, 9), "per_sample": True}, ValueError, "samples"),
    ({"k_rev": normal(2, 9)}, ValueError, "k_rev has shape"),
    ({"k_rev": normal(3, 9).astype("float64")}, TypeError, "k_rev has dtype"),
    ({"mode": "casual"}, ValueError, "mode is 'casual'"),
    ({"mode": None}, ValueError, "mode is None"),
    ({"mode": "valid", "k": normal(3, 41)}, ValueError, "no output"),
    ({"pre_gate": normal(2, 3, 41)}, ValueError, "pre_gate has shape"),
    ({"post_gate": normal(2, 3)}, ValueError, "post_gate has shape"),
    ({"mode": "full", "post_gate": U}, ValueError, "post_gate has shape"),
    ({"mode": "full", "skip": normal(3)}, ValueError, "skip needs"),
    ({"skip": normal(4)}, ValueError, "skip has shape"),
    ({"skip": normal(3, dtype="float64")}, TypeError, "skip has dtype"),
    ({"bias": 1.0}, TypeError, "bias is a float"),
    ({"bias": normal(1, 3)}, ValueError, "bias has shape"),
    ({"activation": "geluu"}, ValueError, "activation is 'geluu'"),
    ({"activation": 3}, TypeError, "activation is 3"),
    ({"layout": "LBH"}, ValueError, "layout is 'LBH'"),
    ({"precision": "low"}, ValueError, "precision is 'low'"),
    ({"algorithm": "winograd"}, ValueError, "algorithm is 'winograd'"),
    ({"frequency_keep": 0.0}, ValueError, "frequency_keep is 0"),
    ({"frequency_keep": 1.5}, ValueError, "frequency_keep is 1.5"),
    ({"frequency_keep": 0.5, "mode": "same"}, ValueError, "frequency_keep needs mode 'causal'"),
    ({"frequency_keep": 0.5, "k": normal(3, 81)}, ValueError, "k has 81 taps"),
    ({"negative_slope": "x"}, TypeError, "negative_slope is 'x'"),
    ({"out": normal(2, 3, 41)}, ValueError, "out has shape"),
    ({"out": U.astype("float64")}, TypeError, "out has dtype"),
    ({"out": np.broadcast_to(np.float32(0), (2, 3, 40))}, ValueError, "out is read-only"),
    ({"out": U}, ValueError, "out overlaps u"),
    ({"sums": normal(2, 3, 41)}, ValueError, "sums has shape"),
    ({"sums": np.broadcast_to(np.float32(0), (2, 3, 40))}, ValueError, "sums is read-only"),
    ({"sums": U}, ValueError, "out overlaps u"),
    ({"k": normal(1, 1), "u": np.broadcast_to(np.float32(0), (1, 1, 2**45))}, ValueError, "u has rows of"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_arguments(number):
    change, kind, text = WRONG[number]
    how = {"u": U, "k": K} | change
    with pytest.raises(kind, match=text):
        omniconv.fft_conv(**how)


def test_every_argument_was_wrong_once():
    assert set(inspect.signature(omniconv.fft_conv).parameters) == {n for change, *_ in WRONG for n in change}


def test_declining_carries_the_reason():
    with pytest.raises(NotImplementedError, match="too many for a block"):
        omniconv.fft_conv(normal(1, 1, 200000), normal(1, 200000), algorithm="overlap_save")


def test_spectra():
    spectrum = omniconv.KernelSpectrum(K, length=40)
    for how, text in (
        ({"u": normal(2, 3, 41)}, "spectrum for length 40"), ({"mode": "same"}, "spectrum for mode 'causal'"),
        ({"k_rev": K}, "k_rev is given beside"), ({"u": normal(2, 4, 40)}, "channels"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            omniconv.fft_conv(**({"u": U, "k": spectrum} | how))
    for length in (0, -1):
        with pytest.raises(ValueError, match="length is"):
            omniconv.KernelSpectrum(K, length=length)
    with pytest.raises(TypeError, match=r"length is 1\.5"):
        omniconv.KernelSpectrum(K, length=1.5)


def test_gradients():
    for how, kind, text in (
        ({"grad": normal(2, 3, 41)}, ValueError, "grad has shape"), ({"grad": None}, TypeError, "grad is None"),
        ({"wrt": ("skip",)}, ValueError, "wrt names 'skip'"), ({"wrt": ("w",)}, ValueError, "wrt names 'w'"),
    ):  # fmt: skip
        with pytest.raises(kind, match=text):
            omniconv.fft_conv_grad(**({"grad": U, "u": U, "k": K} | how))


def test_empty_batches():
    for shape, k in (((0, 3, 40), K), ((2, 0, 40), normal(0, 9))):
        u = np.zeros(shape, "float32")
        assert omniconv.fft_conv(u, k).shape == shape
        grads = omniconv.fft_conv_grad(u, u, k)
        assert grads.u.shape == shape and not grads.k.any()


def test_algorithms_and_kinds():
    first = omniconv.fft_conv_algorithms(1 << 20, 1024)[0]
    assert first.name == "overlap_save" and first.usable
    assert {a.name for a in omniconv.fft_conv_algorithms(100, 100)} == {"direct", "fft", "overlap_save", "reference"}
    torch = pytest.importorskip("torch")
    y = omniconv.fft_conv(torch.from_numpy(U), torch.from_numpy(K))
    assert isinstance(y, torch.Tensor) and np.array_equal(y.numpy(), omniconv.fft_conv(U, K))
