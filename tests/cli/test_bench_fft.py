"""omniconv bench fft: report, table, JSON."""

from __future__ import annotations

import json

import pytest

from omniconv.bench import fft

pytest.importorskip("torch")


def test_report():
    work = fft.problems([64, 300], ["forward", "training", "short"], samples=2000)
    assert [p.taps for p in work] == [64, 300, 64, 300, 64] and all(p.outputs <= 2000 for p in work)
    report = fft.measure(work, repeat=1)
    for entry in report["entries"]:
        names = [row["name"] for row in entry["results"]]
        assert names[0] == "omniconv" and "torch rfft" in names
        assert all(row["ns"] > 0 and row["error"] <= 2e-6 for row in entry["results"])
        assert ("torch conv1d" in names) == (entry["kind"] == "short")
    assert set(report["ratios"]) == {"forward", "training", "short"}


def test_command(omniconv_command, tmp_path):
    file = tmp_path / "fft.json"
    result = omniconv_command(
        "bench", "fft", "--length", 100, "--kind", "forward", "--samples", 1000, "--repeat", 1, "--json", file
    )
    assert result.exit_code == 0 and "torch rfft" in result.output
    assert json.loads(file.read_text())["schema"] == "omniconv-bench-fft/1"
    assert omniconv_command("bench", "fft", "--kind", "backward").exit_code == 2
