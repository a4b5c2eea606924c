"""omniconv bench waterline: bounds, sums, pictures, messages. Times are looked at, never judged."""

from __future__ import annotations

import pytest

import omniconv
from omniconv.bench import machine
from omniconv.bench.layers import Layer
from omniconv.bench.waterline import roof

LAYERS = """name,ci,h,co,kh,padding,groups,count
wide,16,9,16,3,1,1,2
depthwise,16,9,16,3,1,16,3
"""


@pytest.fixture(autouse=True)
def known_rates(monkeypatch):
    """10 GFLOP/s and 1 GB/s: the waterline is 10 flop/byte."""
    monkeypatch.setattr(machine, "multiply_rate", lambda: {"gflops": 10.0, "how": ""})
    monkeypatch.setattr(machine, "copy_rate", lambda: {"gbytes": 1.0, "how": ""})
    threads = omniconv.get_num_threads()
    yield
    omniconv.set_num_threads(threads)


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text(LAYERS)
    return path


def test_roof_of_a_layer():
    row = roof(Layer("a", 8, 10, 4, 1), 2, gflops=10, gbytes=1)
    assert row["flops"] == 2 * 2 * 100 * 8 * 4
    assert row["bytes"] == 4 * (2 * 100 * (8 + 4) + 8 * 4)
    assert row["ideal_seconds"] == pytest.approx(row["flops"] / 1e10)
    assert row["memory_seconds"] == pytest.approx(row["bytes"] / 1e9)
    assert (row["bound"], row["floor_seconds"]) == ("memory", row["memory_seconds"])
    row = roof(Layer("a", 8, 10, 4, 1), 2, gflops=10, gbytes=100)
    assert (row["bound"], row["floor_seconds"]) == ("compute", row["ideal_seconds"])


@pytest.mark.parametrize("form", [["waterline"], ["--waterline"]])
def test_waterline_of_a_layer_set(omniconv_command, read_json, layers, tmp_path, form):
    file = tmp_path / "out.json"
    result = omniconv_command("bench", *form, layers, "--batch", 2, "--threads", 1, "--repeat", 1, "--json", file)
    assert result.exit_code == 0, result.output
    assert "Waterline: 10 flop/byte" in result.stdout and "3 of 5 layers are under it (~)" in result.stdout
    report = read_json(file.read_text())
    assert report["sequence"] == [0, 0, 1, 1, 1]
    wide, depthwise = report["layers"]
    assert (wide["bound"], depthwise["bound"]) == ("compute", "memory")
    total = report["totals"]
    for word in ("ideal_seconds", "floor_seconds"):
        assert total[word] == pytest.approx(2 * wide[word] + 3 * depthwise[word])
    assert total["seconds"]["omniconv"] == pytest.approx(
        2 * wide["seconds"]["omniconv"] + 3 * depthwise["seconds"]["omniconv"]
    )
    # First input and last output, 2 images of 16 channels, and the weights of five layers.
    least = 4 * (2 * 2 * 16 * 81 + 2 * 16 * 16 * 9 + 3 * 16 * 9) / 1e9
    assert total["fused_seconds"] == pytest.approx(max(least, total["ideal_seconds"]))
    assert wide["gap_seconds"] == pytest.approx(wide["seconds"]["omniconv"] - wide["floor_seconds"])
    assert report["model_seconds"] is None and report["left_out"] == []


def test_waterline_of_a_model_with_its_picture(omniconv_command, read_json, tmp_path):
    pytest.importorskip("matplotlib")
    json, picture = tmp_path / "out.json", tmp_path / "out.svg"
    result = omniconv_command(
        "bench", "--waterline=convnext_atto", "--size", 32, "--repeat", 1, "--json", json, "--plot", picture
    )
    assert result.exit_code == 0, result.output
    report = read_json(json.read_text())
    names = [report["layers"][i]["name"] for i in report["sequence"]]
    assert names[:4] == [
        "downsample_layers.0.0", "stages.0.0.dwconv", "stages.0.0.pwconv1", "stages.0.0.pwconv2",
    ]  # fmt: skip
    assert len(names) == report["totals"]["layers"] == 4 + 3 * 12 + 1
    assert report["model_seconds"] > 0
    assert "under water" in picture.read_text() and "Winograd may pass the ideal" in picture.read_text()


def test_peers_beside_it(omniconv_command, read_json, layers, tmp_path):
    pytest.importorskip("torch")
    json = tmp_path / "out.json"
    arguments = ("bench", "waterline", layers, "--peers", "torch-nhwc", "--layout", "nhwc", "--repeat", 1)
    result = omniconv_command(*arguments, "--json", json)
    assert result.exit_code == 0, result.output
    assert all(row["seconds"].keys() == {"omniconv", "torch-nhwc"} for row in read_json(json.read_text())["layers"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vgg99"], "layers is 'vgg99'; allowed are"),
        (["text_cnn"], "model text_cnn does not take images of 224x224"),
        (["im2win12", "--precision", "wild"], "precision is 'wild'"),
        (["im2win12", "--layout", "chwn"], "layout is 'chwn'"),
        (["im2win12", "--peers", "caffe"], "peers is 'caffe'"),
        (["im2win12", "--json", "missing/out.json"], "its folder does not exist"),
    ],
)
def test_bad_arguments_end_with_a_message(omniconv_command, arguments, message):
    result = omniconv_command("bench", "waterline", *arguments)
    assert result.exit_code == 2
    assert message in result.output
