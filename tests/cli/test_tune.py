"""omniconv tune: a table, a file that "auto" follows, and messages."""

from __future__ import annotations

import json

import pytest

import omniconv

LAYERS = "name,ci,h,co,kh,padding\nplain,4,9,6,3,1\npoint,6,8,4,1,0\n"


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text(LAYERS)
    yield path
    omniconv.tuning.clear()


def test_tune(omniconv_command, layers, tmp_path):
    out = tmp_path / "tuned.json"
    result = omniconv_command(
        "tune", str(layers), "--out", str(out), "--seconds", "0.001", "--op", "forward", "--op", "grad_input"
    )
    assert result.exit_code == 0, result.output
    assert "plain" in result.stdout and "4 problem(s)" in " ".join(result.stdout.split())
    (machine,) = json.loads(out.read_text())["machines"]
    assert len(machine["problems"]) == 4
    assert omniconv.algorithms((1, 4, 9, 9), (6, 4, 3, 3), padding=1)[0].measured > 0


def test_bad_input(omniconv_command, layers, tmp_path):
    out = tmp_path / "tuned.json"
    assert omniconv_command("tune", "nowhere", "--out", str(out)).exit_code == 2
    out.write_text("{}")
    result = omniconv_command("tune", str(layers), "--out", str(out))
    assert result.exit_code == 2 and "schema" in result.output and out.read_text() == "{}"
    (tmp_path / "new.json").unlink(missing_ok=True)
    result = omniconv_command("tune", str(layers), "--out", str(tmp_path / "new.json"), "--op", "backward")
    assert result.exit_code == 2 and "backward" in result.output
