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
    assert kinds[:5] == ["tensor and plan", "forward", "gradient of x", "gradient of w", "graph"]
    assert len(kinds) == 21 and all(kind.startswith("masked") for kind in kinds[5:])
    errors = [row["error"] for entry in report["entries"] for row in entry["results"] if row["error"] is not None]
    assert len(errors) == 5 and max(errors) < 1e-6
