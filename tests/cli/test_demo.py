"""omniconv demo: on a picture made here, on the photograph, and when something is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv

Image = pytest.importorskip("PIL.Image", reason="the demo needs the extra models")


@pytest.fixture
def picture(tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "input.png"
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(path)
    return path


def test_demo_on_a_picture(omniconv_command, read_json, picture, tmp_path):
    out = tmp_path / "sheet.png"
    result = omniconv_command("demo", picture, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    report = read_json(result.stdout)
    assert report["agree"] is True
    assert report["image"] == {"height": 40, "width": 56}
    names = {row["name"] for row in report["algorithms"]}
    assert {"reference", "im2win", "im2col", report["fastest"], report["auto"]} <= names
    for row in report["algorithms"]:
        assert row["seconds"] > 0 and row["gflops"] > 0 and row["error"] <= 1e-6
    with Image.open(out) as sheet:
        assert sheet.width > 4 * 56 and sheet.height > 3 * 40


def test_demo_on_the_photograph(omniconv_command, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "sheet.png"
    result = omniconv_command("demo", "--out", out, "--size", 64)
    assert result.exit_code == 0, result.output
    assert "won" in result.stdout and "The algorithms agree." in result.stdout
    assert out.stat().st_size > 10_000


def test_demo_fails_when_an_algorithm_is_wrong(omniconv_command, picture, tmp_path, monkeypatch):
    from omniconv.cli import demo

    plan = omniconv.plan_conv2d

    class Wrong:
        algorithm, workspace_bytes, flops = "im2win", 0, 1.0

        def __init__(self, right):
            self.right = right

        def __call__(self, x):
            y = self.right(x)
            y[0, 3, 4, 5] += 1e-2
            return y

    def broken(*args, algorithm="auto", **options):
        right = plan(*args, algorithm=algorithm, **options)
        return Wrong(right) if algorithm == "im2win" else right

    monkeypatch.setattr(demo.omniconv, "plan_conv2d", broken)
    result = omniconv_command("demo", picture, "--out", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "DO NOT AGREE" in result.stdout


@pytest.mark.parametrize("image", ["missing.png", "text.png"])
def test_demo_says_which_image_it_cannot_read(omniconv_command, tmp_path, image):
    (tmp_path / "text.png").write_text("not a picture")
    result = omniconv_command("demo", tmp_path / image, "--out", tmp_path / "sheet.png")
    assert result.exit_code == 2
    assert image in result.output and "cannot be read" in result.output


@pytest.mark.parametrize("out", ["missing/sheet.png", "sheet.nonsense"])
def test_demo_says_which_file_it_cannot_write(omniconv_command, picture, tmp_path, out):
    result = omniconv_command("demo", picture, "--out", tmp_path / out)
    assert result.exit_code == 2
    assert out in result.output


def test_filters_answer_as_their_names_say():
    from omniconv.cli import filters

    bank = filters.bank()
    weight = filters.weights(bank)
    assert weight.shape == (sum(len(f.weight) for f in bank), 3, filters.SIZE, filters.SIZE)
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (1, 3, 32, 32))  # brighter to the right
    y = omniconv.conv2d(np.ascontiguousarray(ramp), weight)
    first, answers = 0, {}
    for f in bank:
        answers[f.name] = y[0, first : first + len(f.weight)].astype(float)
        first += len(f.weight)
    centre = ramp[0, :, 5:-5, 5:-5]
    np.testing.assert_allclose(answers["Gaussian blur, sigma 2.5"], centre, atol=1e-4)  # a ramp has no detail
    np.testing.assert_allclose(answers["sharpen (unsharp mask)"], centre, atol=1e-4)
    np.testing.assert_allclose(answers["Sobel x"], 8.0, rtol=1e-4)
    for name in ("Sobel y", "Laplacian of Gaussian", "red against green", "Gabor, 90 degrees"):
        np.testing.assert_allclose(answers[name], 0.0, atol=2e-3, err_msg=name)
