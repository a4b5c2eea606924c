"""8-bit formats against their definitions, the convolution in them, and the search."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from omniconv import quant

FLOATS = hnp.arrays(np.float32, (3, 7), elements=st.floats(-1e4, 1e4, width=32))


@given(x=FLOATS, scheme=st.sampled_from(quant.SCHEMES), granularity=st.sampled_from(["tensor", "channel"]))
def test_formats_cover_their_range_with_half_a_step_of_error(x, scheme, granularity):
    form = quant.calibrate(x, scheme, granularity=granularity)
    step = form.scale.reshape(-1, 1)
    # The zero point is a whole number, which may cost another half step at the ends.
    assert (np.abs(form.rounded(x) - x) <= (1.01 if scheme == "asymmetric" else 0.501) * step).all()
    assert (form.steps(x) + form.zero.reshape(-1, 1)).min() >= -128
    assert (form.steps(x) + form.zero.reshape(-1, 1)).max() <= 127
    assert (form.steps(np.zeros_like(x)) == 0).all()
    if scheme != "asymmetric":
        assert set(np.unique(form.zero)) <= ({0} if "uint8" not in scheme else {0, -128})
    if "power2" in scheme:
        assert (np.frexp(form.scale)[0] == 0.5).all()


def test_uint8_doubles_the_numbers_of_what_is_never_negative():
    x = np.linspace(0, 255, 256, dtype=np.float32)
    assert np.array_equal(quant.calibrate(x, "symmetric_with_uint8").rounded(x), x)
    assert np.array_equal(quant.calibrate(x, "asymmetric").rounded(x), x)
    assert np.abs(quant.calibrate(x, "symmetric").rounded(x) - x).max() > 0.9


def test_kl_cuts_outliers_off():
    x = np.random.default_rng(0).standard_normal(20_000)
    assert quant.kl_threshold(x) > 2.5
    x[:3] = 100, -80, 90
    assert 2.5 < quant.kl_threshold(x) < 20
    assert quant.kl_threshold(np.zeros(5)) == 0


@settings(max_examples=20)
@given(
    scheme=st.sampled_from(quant.SCHEMES), granularity=st.sampled_from(["tensor", "channel"]), seed=st.integers(0, 99),
    groups=st.sampled_from([1, 2]),
)  # fmt: skip
def test_convolution_is_that_of_the_rounded_operands(scheme, granularity, seed, groups):
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.standard_normal((2, 4, 7, 6)), -0.3).astype(np.float32)
    w, bias = (rng.standard_normal(s).astype(np.float32) for s in ((6, 4 // groups, 3, 3), 6))
    a, b = quant.calibrate(x, scheme), quant.calibrate(w, scheme, granularity=granularity)
    got = quant.conv2d(x, w, a, b, bias, stride=2, padding=1, groups=groups)
    exact = F.conv2d(*(torch.from_numpy(v) for v in (a.rounded(x), b.rounded(w), bias.astype(float))), 2, 1, 1, groups)
    np.testing.assert_allclose(got, exact.numpy(), rtol=1e-6, atol=1e-6)


def test_the_space_of_the_paper():
    every = quant.configurations()
    assert len(every) == 96
    assert len({tuple(c.items()) for c in every}) == 96


def _additive(c: dict) -> float:
    """A score with one best configuration."""
    weights = {"calibration": {1: 0, 64: 2, 1000: 3}, "scheme": dict(zip(quant.SCHEMES, (3, 2, 4, 0), strict=True)),
               "clipping": {"max": 0, "kl": 1}, "granularity": {"tensor": 0, "channel": 4},
               "mixed": {False: 0, True: 1.5}}  # fmt: skip
    return sum(weights[axis][c[axis]] for axis in weights)


METHODS = [m for m in quant.METHODS if m != "xgboost"]


def _methods() -> list[str]:
    try:
        import xgboost  # noqa: F401
    except ImportError:
        return METHODS
    return list(quant.METHODS)


@pytest.mark.parametrize("method", _methods())
def test_every_method_finds_the_best_when_it_may_try_all(method):
    trials = quant.tune(_additive, method, budget=200, seed=1)
    assert len(trials) == 96
    assert len({tuple(t.configuration.items()) for t in trials}) == 96
    assert max(t.score for t in trials) == max(map(_additive, quant.configurations()))
    again = quant.tune(_additive, method, budget=12, seed=1)
    assert again == trials[:12]


@pytest.mark.parametrize("method", [m for m in _methods() if m in ("genetic", "xgboost")])
def test_learning_beats_chance(method):
    best = max(map(_additive, quant.configurations()))
    needed = {
        m: np.median([len(quant.tune(_additive, m, 96, seed, target=best)) for seed in range(20)])
        for m in ("random", method)
    }
    assert needed[method] <= needed["random"] * (0.5 if method == "xgboost" else 0.9)


def test_a_model_in_eight_bits():
    import omniconv.torch.quant as tq

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, groups=2), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5),
    ).eval()  # fmt: skip
    images = torch.randn(70, 3, 8, 8)
    with torch.no_grad():
        exact = model(images)
        for c in quant.configurations()[::7]:
            small = tq.quantized(model, c, images)
            error = (torch.linalg.norm(small(images) - exact) / torch.linalg.norm(exact)).item()
            assert 1e-4 < error < (0.3 if c["clipping"] == "max" else 0.6), c
            layers = [m for m in small.modules() if type(m).__name__ == "_Int8"]
            assert len(layers) == (1 if c["mixed"] else 3)
    assert isinstance(model[0], torch.nn.Conv2d)
    with pytest.raises(ValueError, match="training mode"):
        tq.quantized(model.train(), quant.configurations()[0], images)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quant.fit(-1, 1, "affine"), "scheme is 'affine'"),
        (lambda: quant.fit(-np.inf, 1, "symmetric"), "not finite"),
        (lambda: quant.calibrate(np.ones(3), clipping="mse"), "clipping is 'mse'"),
        (lambda: quant.calibrate(np.ones(3), granularity="row"), "granularity is 'row'"),
        (lambda: quant.calibrate(np.ones(0)), "x is empty"),
        (lambda: quant.tune(_additive, "annealing"), "method is 'annealing'"),
        (lambda: quant.tune(_additive, "grid", 0), "budget is 0"),
    ],
)
def test_errors_name_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()
