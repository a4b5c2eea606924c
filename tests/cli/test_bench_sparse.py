"""omniconv bench sparse: report, table, JSON."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")


def test_command(omniconv_command, tmp_path):
    file = tmp_path / "sparse.json"
    result = omniconv_command(
        "bench", "sparse", "--beams", 2, "--voxel", 0.5, "--channels", 5, "--repeat", 1, "--json", file
    )
    assert result.exit_code == 0 and "gather-GEMM-scatter" in result.output
    report = json.loads(file.read_text())
    assert report["schema"] == "omniconv-bench-sparse/1" and report["pairs"] > report["sites"] > 100
    kinds = [entry["kind"] for entry in report["entries"]]
    spikes = [f"spikes, {rate} fire" for rate in ("50%", "30%", "20%", "10%", "5%", "2%")]
    forward = ["tensor and plan", "forward", "gradient of x", "gradient of w"]
    first = [*forward, *spikes, "E-3DSNN-T, 500 points", "graph"]
    assert kinds[: len(first)] == first
    assert len(kinds) == len(first) + 16 and all(kind.startswith("masked") for kind in kinds[len(first) :])
    errors = [row["error"] for entry in report["entries"] for row in entry["results"] if row["error"] is not None]
    assert len(errors) == 5 + 4 * 6 and max(errors) < 1e-6
