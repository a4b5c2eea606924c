"""omniconv bench dfp16: tables and JSON."""

from __future__ import annotations

import omniconv


def test_command(omniconv_command, read_json, tmp_path):
    threads = omniconv.get_num_threads()
    layers, file = tmp_path / "layers.csv", tmp_path / "out.json"
    layers.write_text("name,ci,h,co,kh\nthin,3,8,8,3\nsmall,64,8,16,3\n")
    result = omniconv_command("bench", "dfp16", "--layers", layers, "--repeat", 1, "--threads", 1, "--json", file)
    assert result.exit_code == 0, result.output
    report = read_json(file.read_text())
    assert [entry["name"] for entry in report["layers"]] == ["small"]
    rows = {row["name"]: row for row in report["layers"][0]["results"]}
    assert {"dfp16", "float32", "torch-nchw", "torch-blocked"} <= set(rows)
    assert 1e-6 < rows["dfp16"]["error"] < 3e-4
    assert rows["float32"]["error"] < 1e-6
    if "torch-int8" in rows:
        assert 1e-3 < rows["torch-int8"]["error"] < 5e-2
    assert "Geometric means" in result.stdout
    assert omniconv_command("bench", "dfp16", "--peers", "cudnn").exit_code == 2
    omniconv.set_num_threads(threads)
