"""The race of the Bessel functions: its reference, its report, its command. Times are looked at, never judged."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from omniconv.bench import bessel


@pytest.mark.parametrize("name", bessel.FUNCTIONS)
def test_the_two_references_agree(name):
    rng = np.random.default_rng(0)
    for angle in rng.uniform(0, np.pi / 2, 6):
        v, x = 80 * np.sin(angle), 80 * np.cos(angle)
        with mp.workdps(50):
            own, expansion = bessel.reference(name, v, x, uniform_from=mp.inf), bessel.reference(name, v, x)
            assert abs(own - expansion) < mp.mpf(10) ** -24


def test_errors_count_in_eps():
    truth = [mp.mpf(1), mp.mpf(-8), mp.mpf("0.5"), mp.mpf(1)]
    found = np.array([1 + 2.0**-52, -8 - 16 * 2.0**-52, 0.5 + 2.0**-51, np.nan])
    assert bessel.errors(found, truth).tolist() == [1, 2, 2, np.inf]


def test_report():
    report = bessel.measure(values=40, checked=5, repeat=1)
    assert {(e["set"], e["function"]) for e in report["entries"]} == {
        (s, f) for s in bessel.SETS for f in bessel.FUNCTIONS
    }
    for entry in report["entries"]:
        ours = entry["results"][0]
        assert ours["name"] == "omniconv" and ours["ratio"] == 1 and ours["ns"] > 0
        assert ours["largest_error"] <= 4 and ours["not_finite"] == 0
        assert {row["name"] for row in entry["results"]} | entry["skipped"].keys() == {"omniconv", *bessel.PEERS}
