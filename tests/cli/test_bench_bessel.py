"""omniconv bench bessel: table, JSON, picture."""

from __future__ import annotations

import pytest

import omniconv


def test_command(omniconv_command, read_json, tmp_path):
    threads = omniconv.get_num_threads()
    file, picture = tmp_path / "out.json", tmp_path / "map.png"
    result = omniconv_command(
        "bench", "bessel", "--values", 20, "--checked", 2, "--repeat", 1, "--dtype", "float32", "--json", file
    )
    assert result.exit_code == 0, result.output
    assert read_json(file.read_text())["dtype"] == "float32"
    assert "zero line" in result.stdout and "JSON:" in result.stdout
    assert omniconv_command("bench", "bessel", "--dtype", "float16").exit_code == 2
    pytest.importorskip("matplotlib")
    from omniconv.bench.bessel_plot import error_picture

    error_picture(picture, side=4)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    omniconv.set_num_threads(threads)
