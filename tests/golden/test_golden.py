"""Every golden case, on every instruction set, by every algorithm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import omniconv
from tests.golden import cases
from tests.golden.cases import seeded

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*/*.npz"))
CONV = sorted(FOLDER.glob("conv/*.npz"))
FFT_CONV = sorted(FOLDER.glob("fft_conv/*.npz"))
LONG_KERNELS = [path for name in ("hyena", "long_conv", "sgconv") for path in sorted(FOLDER.glob(f"{name}/*.npz"))]
LOG_BESSEL = sorted(FOLDER.glob("log_bessel/*.npz"))
DFP16 = sorted(FOLDER.glob("dfp16/*.npz"))
MODELS = [path for path in FILES if path.parent.name not in cases.OPERATIONS or path.stem.startswith("model")]
VMF = sorted(FOLDER.glob("vmf/*.npz"))
ANALYSES = [
    path for name in ("attribution", "expedit", "l_orth", "linear_scope", "ntk") for path in FOLDER.glob(f"{name}/*")
]
SPARSE = [path for name in ("dagnn", "e3dsnn", "invgc", "sguq") for path in sorted(FOLDER.glob(f"{name}/*.npz"))]
ALGORITHMS = [a.name for a in omniconv.algorithms((1, 1, 4), (1, 1, 1))]


def check(path: Path, outputs: dict, bound: float, sums: float = 0) -> None:
    case = seeded.load(path)
    each = case.meta.get("err32_each", {})
    errors = {name: seeded.relative_error(outputs[name], case.outputs[name]) for name in outputs}
    limits = {name: min(bound, max(1e-5, 10 * each.get(name, case.meta["err32"]))) for name in outputs}
    limits |= {name: sums for name in outputs if sums and name.rsplit(":d", 1)[-1] in ("k", "k_rev", "D", "bias")}
    assert not {name: error for name, error in errors.items() if not error <= limits[name]}


def test_there_are_cases_and_every_row_has_a_function():
    assert FILES
    assert {path.parent.name for path in FILES} <= set(cases.ROWS)


@pytest.mark.parametrize("path", CONV, ids=lambda p: p.stem)
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
def test_conv_float32(path, algorithm, channels_last, isa):
    reasons = {a.name: a.reason for a in omniconv.algorithms((1, 1, 4), (1, 1, 1))}
    if "instruction set" in reasons.get(algorithm, ""):
        pytest.skip(f"{algorithm}: {reasons[algorithm]}")
    outputs = cases.run(path, algorithm=algorithm, channels_last=channels_last)
    check(path, outputs, 1e-6)
    plain = omniconv.algorithms((1, 8, 8, 8), (8, 8, 3, 3), layout="NHWC")
    if algorithm in {"auto", *(a.name for a in plain if a.usable)}:
        assert any(not name.endswith(":db") for name in outputs)  # which no algorithm declines
    if algorithm in ("auto", "reference"):
        assert list(outputs) == list(seeded.load(path).outputs)


@pytest.mark.skipif(omniconv.array_device() != "emu", reason="tensor cores are CUDA's")
@pytest.mark.parametrize("path", CONV, ids=lambda p: p.stem)
@pytest.mark.parametrize("algorithm", ["auto", "tensor_cores"])
@pytest.mark.parametrize(("precision", "bound"), [("high", 2e-5), ("medium", 6e-3)])
def test_conv_lower_precisions_on_the_emulator(path, precision, bound, algorithm):
    case = seeded.load(path)
    outputs = cases.run(path, algorithm=algorithm, precision=precision)
    errors = {name: seeded.relative_error(found, case.outputs[name]) for name, found in outputs.items()}
    assert not {name: error for name, error in errors.items() if not error <= bound}
    assert list(outputs) == list(case.outputs)


@pytest.mark.parametrize("path", CONV, ids=lambda p: p.stem)
def test_conv_float64(path):
    outputs = cases.run(path, dtype="float64")
    assert list(outputs) == list(seeded.load(path).outputs)
    check(path, outputs, 6e-8)  # the golden values were rounded to float32


@pytest.mark.parametrize("path", FFT_CONV, ids=lambda p: p.stem)
@pytest.mark.parametrize("layout", ["BHL", "BLH"])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "fft", "overlap_save", "reference"])
def test_fft_conv_float32(path, algorithm, layout, isa):
    outputs = cases.run(path, algorithm=algorithm, layout=layout)
    assert set(outputs) == set(seeded.load(path).outputs) or algorithm in ("direct", "overlap_save")
    check(path, outputs, 6e-7, sums=1e-6)  # sums over samples and time cancel


@pytest.mark.parametrize("path", FFT_CONV, ids=lambda p: p.stem)
@pytest.mark.parametrize("algorithm", ["auto", "direct", "fft", "overlap_save", "reference"])
def test_fft_conv_float64(path, algorithm, isa):
    check(path, cases.run(path, dtype="float64", algorithm=algorithm), 6e-8)


@pytest.mark.parametrize("path", LONG_KERNELS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_kernels_of_long_convolutions(path):
    check(path, cases.run(path, dtype="float64"), 1e-7)  # but for the rounding of the golden values


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_models(path):
    case, outputs = seeded.load(path), cases.run(path)
    exact = {key[4:]: array for key, array in case.arrays.items() if key.startswith("int:")}
    found = {name: outputs.pop(name) for name in exact}
    assert {name: np.shape(value) for name, value in outputs.items()} == {n: s.shape for n, s in case.outputs.items()}
    check(path, outputs, np.inf)
    for name, value in found.items():
        assert np.array_equal(value, exact[name]), name


@pytest.mark.parametrize("path", ANALYSES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_analyses(path):
    attribution = path.parent.name == "attribution"  # in float64 slow; in float32 a single ReLU may turn
    case, outputs = seeded.load(path), cases.run(path, **({"dtype": "float32"} if attribution else {}))
    for name in [key[4:] for key in case.arrays if key.startswith("int:")]:
        assert np.array_equal(outputs.pop(name), case.arrays[f"int:{name}"]), name
    assert {name: np.shape(value) for name, value in outputs.items()} == {n: s.shape for n, s in case.outputs.items()}
    if attribution:
        maps = [name for name in outputs if "grad" in name or name == "cam_weights"]
        errors = {name: seeded.relative_error(outputs.pop(name), case.outputs[name]) for name in maps}
        assert len(errors) == 6 and max(errors.values()) < 5e-3, errors
    check(path, outputs, 2e-5)


@pytest.mark.parametrize("path", LOG_BESSEL, ids=lambda p: p.stem)
def test_log_bessel(path, isa):
    outputs, golden = cases.run(path), seeded.load(path).arrays
    assert len(outputs) == 8
    for name, found in outputs.items():
        high, low = golden[f"f64:{name}:hi"], golden[f"f64:{name}:lo"]
        finite = np.isfinite(high)
        assert np.array_equal(np.isfinite(found), finite), name
        error = np.abs((found - high) - low)[finite]
        ratio = name.startswith("ratio")
        unit = np.spacing(np.abs(high)) if ratio else 2.0**-52 * np.maximum(1, np.abs(high))
        worst = (error / unit[finite]).max()
        assert worst <= (3 if ratio else 4 if name.startswith("log") else 8), f"{name}: {worst}"


#: Largest error by quantity: of max(1, |value|), or in units of the last place.
VMF_MIXED = {"dist:log_c": 1e-14, "dist:entropy": 1e-14, "dist:kl_uniform": 1e-14, "kl:kl": 1e-14}
VMF_ULPS = {
    "dist:mean_resultant": 3,
    "dist:one_minus_mean_resultant": 3,
    "dist:mean_resultant_derivative": 8,
    "mle:kappa": 4,
}


@pytest.mark.parametrize("path", VMF, ids=lambda p: p.stem)
def test_vmf(path):
    outputs, golden = cases.run(path), seeded.load(path).arrays
    assert set(outputs) == {*VMF_MIXED, *VMF_ULPS}
    for name, found in outputs.items():
        high, low = golden[f"f64:{name}:hi"], golden[f"f64:{name}:lo"]
        error = np.abs((found - high) - low)
        unit = np.spacing(np.abs(high)) if name in VMF_ULPS else np.maximum(1, np.abs(high))
        worst = (error / unit).max()
        assert worst <= {**VMF_MIXED, **VMF_ULPS}[name], f"{name}: {worst}"


@pytest.mark.parametrize("path", DFP16, ids=lambda p: p.stem)
@pytest.mark.parametrize("overflow", ["certified", "worst_case"])
@pytest.mark.parametrize("algorithm", ["pairs", "tiles", "emulated_tiles"])
def test_dfp16(path, algorithm, overflow, isa):
    if algorithm == "tiles" and isa != "amx":
        pytest.skip("the instruction set has no matrix unit")
    if algorithm == "emulated_tiles" and (isa, overflow) != ("scalar", "certified"):
        pytest.skip("is the same on every level")
    outputs, golden = cases.run(path, algorithm=algorithm, overflow=overflow), seeded.load(path).arrays
    exact = {key[4:]: value for key, value in golden.items() if key.startswith(("int:", "f32:"))}
    assert set(outputs) == set(exact)
    for name, value in exact.items():
        assert np.array_equal(outputs[name], value), name  # tolerance zero, in float32 too


@pytest.mark.parametrize("path", SPARSE, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_sparse(path, isa):
    case, outputs = seeded.load(path), cases.run(path)
    exact = {key[4:]: value for key, value in case.arrays.items() if key.startswith("int:coords")}
    for name, value in exact.items():
        assert np.array_equal(outputs.pop(name), value), name
    assert set(outputs) == set(case.outputs)
    check(path, outputs, 1e-5)  # other whole numbers are compared by the rows themselves


def test_seeded_values_are_those_of_the_format():
    """Fixed numbers: a change of the recipe would make every stored output worthless."""
    assert seeded.array("x", (2,), seed=3).tolist() == [0.843346097427706, 0.4423145677567388]
    assert seeded.array("x", (4,), kind="integer", high=100).tolist() == [61, 1, 83, 87]
    assert seeded.array("x", (1,), kind="uniform").tolist() == [0.011173611416059104]
    assert seeded.parameter("a.bias", (1,)).tolist() == [-0.11241593793988652]
    assert seeded.parameter("a.weight", (1, 2)).tolist() == [[-0.6425822491746339, 0.30815789130401666]]
    assert seeded.parameter("a.weight", (1,)).tolist() == [0.9091251468277025]
    assert seeded.parameter("a.running_var", (1,)).tolist() == [0.994607784708769]
    assert seeded.parameter("a.running_mean", (1,)).tolist() == [0.048295386474927364]
    assert seeded.parameter("a.num_batches_tracked", ()).tolist() == 0
