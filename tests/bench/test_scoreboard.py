"""The scoreboard: what it measures and how it adds up. Times are looked at, never judged."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from bench.conv import scoreboard
from bench.conv.data import KINDS
from bench.conv.scoreboard_text import ratios, text
from omniconv.bench.layers import Layer
from omniconv.bench.oracle import conv2d_float64

LAYERS = """name,ci,h,co,kh,stride,padding,groups
plain,4,9,6,3,1,1,1
odd,6,11,6,3,2,1,6
pixel,4,1,6,1,1,0,1
"""


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text(LAYERS)
    return str(path)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["scoreboard", *map(str, arguments)])
    scoreboard.main()


def test_file_is_added_to_and_shown(monkeypatch, capsys, layers, tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "out.json"
    common = (layers, "--peers", "torch-nchw,torch-nhwc,torch-blocked", "--budget", "0", "--out", file)
    run(monkeypatch, *common, "--layers", "plain")
    before = json.loads(file.read_text())
    assert [entry["layer"] for entry in before["entries"]] == ["plain"]
    run(monkeypatch, *common, "--batch", 1, 2, "--resume")
    report = json.loads(file.read_text())
    assert report["entries"][0] == before["entries"][0]
    assert {(e["layer"], e["batch"]) for e in report["entries"]} == {
        ("plain", 1), ("plain", 2), ("odd", 1), ("odd", 2),  # the product of a pixel is no convolution
    }  # fmt: skip
    for entry in report["entries"]:
        assert {"highest", "high", "medium", "torch-nchw", "torch-nhwc", "torch-blocked"} == entry["seconds"].keys()
        assert ("errors" in entry) == (entry["batch"] == 1)  # once for each layer
        if entry["batch"] == 1:
            assert entry["errors"].keys() == entry["seconds"].keys() | {"plain float32"}
            for kind in ("normal", "positive", "range"):
                assert 0 < entry["errors"]["highest"][kind] < 1e-6, kind
    capsys.readouterr()
    run(monkeypatch, "--show", file)
    shown = capsys.readouterr().out
    assert "batch 2, NCHW" in shown and "highest  geometric mean:" in shown and "highest / plain" in shown
    report["machine"]["threads"] += 1
    file.write_text(json.dumps(report))
    with pytest.raises(SystemExit):
        run(monkeypatch, *common)
    assert "the file was measured with threads" in capsys.readouterr().err


def test_gradients_of_weights(monkeypatch, layers):
    pytest.importorskip("torch")
    monkeypatch.setitem(scoreboard.SETS, "some", scoreboard.LayerSet((layers,), "grad_weight"))
    found = scoreboard.measure("some", [2], ["torch-nchw", "torch-nhwc", "torch-blocked"], quick=True, layout="nhwc")
    assert [entry["layer"] for entry in found] == ["odd", "plain"]
    for entry in found:
        assert entry["skipped"] == {"torch-blocked": "has no such operation"}
        for name, error in entry["errors"].items():
            assert all(0 < e < 1e-5 for kind, e in error.items() if kind != "cancelling"), name


def test_optional_peers_agree(layers):
    pytest.importorskip("onnx")
    chosen = [name for name in ("onnxruntime", "openvino") if name not in scoreboard.peers.missing()]
    if not chosen:
        pytest.skip("neither ONNX Runtime nor OpenVINO is installed")
    for entry in scoreboard.measure(layers, [1], chosen, quick=True):
        assert all(entry["errors"][name]["normal"] < 1e-6 and entry["seconds"][name] > 0 for name in chosen)


def test_sets_are_known_and_hold_what_they_promise():
    found, op = scoreboard.load("mobilenet_v2")
    assert len(found) == 30 and op == "forward"
    assert scoreboard.SETS["grad_weight"].op == "grad_weight"
    with pytest.raises(ValueError, match="set mobilenet_v2 has no layers nothing; it has stem"):
        scoreboard.measure("mobilenet_v2", [1], [], only=["nothing"])


@pytest.mark.parametrize(
    "layer", [Layer("a", 5, 12, 4, 3, padding=1), Layer("b", 4, 12, 4, 3, groups=4)], ids=["odd channels", "depthwise"]
)
def test_kinds_of_data_are_what_they_say(layer):
    data = {kind: make(layer, 2, np.random.default_rng(3)) for kind, make in KINDS.items()}
    for x, w in data.values():
        assert x.dtype == w.dtype == np.float32 and x.shape == layer.x_shape(2) and w.shape == layer.w_shape
    assert min(data["positive"][0].min(), data["positive"][1].min()) >= 0
    size = np.abs(data["range"][0])
    assert size.max() / size[size > 0].min() > 1e6
    x, w = data["cancelling"]
    left, terms = conv2d_float64(x, w, layer), conv2d_float64(np.abs(x), np.abs(w), layer)
    pairs = layer.ci // layer.groups > 1
    # Of an odd number of channels the last has no partner.
    assert np.median(np.abs(left) / terms) < (0.5 if pairs and layer.ci % 2 else 5e-3)


def test_ratios_and_losses():
    def entry(layer, ours):
        errors = {name: {"normal": e} for name, e in (("highest", 2e-7), ("plain float32", 4e-7))}
        seconds = dict.fromkeys(("highest", "high", "medium"), ours) | {
            "torch-nchw": 8.0,
            "torch-nhwc": 4.0,
            "openvino": 2.0,
        }
        return {
            "set": "s", "layer": layer, "batch": 1, "layout": "nchw", "text": "", "seconds": seconds, "errors": errors,
            "algorithms": dict.fromkeys(("highest", "high"), "direct"), "skipped": {}, "others_busy_cpus": 0.5,
        }  # fmt: skip

    entries = [entry("won", 1.0), entry("lost", 16.0)]
    assert ratios(entries[0], "highest") == {"best oneDNN": 4.0, "best peer": 2.0, "torch-nchw": 8.0}
    about = {"cpu": "c", "cpus": 2, "caches": {}, "isa": "avx512", "threads": 2, "date": "2026-01-01", "omniconv": "1"}
    report = {
        "machine": about | {"compiler": "g", "versions": {}},
        "not_installed": {"openvino": "openvino not installed"},
    }
    shown = text(report | {"entries": entries})
    assert "geometric mean: 1.00 x best oneDNN (least 0.25 lost), 0.50 x best peer (least 0.12 lost)" in shown
    assert "highest loses to the best of oneDNN on 1 of 2: lost" in shown
    assert "openvino: openvino not installed" in shown and "other processes kept 0.5 CPUs busy" in shown
    assert "highest / plain, largest       0.50" in shown
