"""omniconv bench conv: tables, JSON, pictures, and messages. Times are looked at, never judged."""

from __future__ import annotations

import pytest

import omniconv

LAYERS = """# two small layers and one that has everything
name,ci,h,w,co,kh,kw,stride,padding,dilation,groups,count
plain,4,9,8,6,3,3,1,1,1,1,1
odd,6,11,12,9,3,2,2,1,2,3,2
"""


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text(LAYERS)
    return path


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    threads = omniconv.get_num_threads()
    yield
    omniconv.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def quick_rates():
    """The rates of the machine take a second each time; only their form matters here."""
    from omniconv.bench import machine

    with pytest.MonkeyPatch.context() as patch:
        rates = machine.multiply_rate(), machine.copy_rate()
        assert rates[0]["gflops"] > 0 and rates[1]["gbytes"] > 0
        patch.setattr(machine, "multiply_rate", lambda: rates[0])
        patch.setattr(machine, "copy_rate", lambda: rates[1])
        patch.setattr(machine, "busy_cpus", lambda: 0.0)
        yield


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_bench_writes_json_with_every_contestant(omniconv_command, read_json, layers, tmp_path, layout):
    file = tmp_path / "out.json"
    result = omniconv_command(
        "bench", "conv", "--layers", layers, "--batch", 1, "--batch", 3, "--threads", 1, "--peers", "none",
        "--algorithms", "all", "--layout", layout, "--repeat", 1, "--json", file,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = read_json(file.read_text())
    assert report["schema"] == "omniconv-bench-conv/1"
    assert report["machine"]["threads"] == 1
    assert {"date", "cpu", "compiler", "omniconv", "isa", "versions"} <= report["machine"].keys()
    assert report["settings"]["batches"] == [1, 3]
    assert [(e["name"], e["batch"]) for e in report["layers"]] == [("plain", 1), ("odd", 1), ("plain", 3), ("odd", 3)]
    for entry in report["layers"]:
        ran = {row["name"] for row in entry["results"]}
        assert ran | entry["skipped"].keys() == {a.name for a in omniconv.algorithms((1, 1, 4), (1, 1, 1))}
        assert entry["auto"] in ran
        assert ("direct" in ran) == (layout == "nhwc")
        for row in entry["results"]:
            assert row["seconds"] > 0 and row["gflops"] > 0 and row["error"] <= 1e-6
            assert row["vs_best_peer"] is None and row["vs_torch_nchw"] is None
    assert report["layers"][1]["flops"] == 2 * 9 * (5 * 6) * (6 // 3) * (3 * 2)
    assert {line["name"] for line in report["summary"]["3"]} >= {"auto", "im2win"}


def test_bench_beside_the_peers(omniconv_command, read_json, layers, tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "out.json"
    result = omniconv_command("bench", "conv", "--layers", layers, "--repeat", 1, "--peers", "all", "--json", file)
    assert result.exit_code == 0, result.output
    assert "torch-blocked" in result.stdout and "error" in result.stdout
    report = read_json(file.read_text())
    for entry in report["layers"]:
        rows = {row["name"]: row for row in entry["results"]}
        assert {"torch-nchw", "torch-nhwc", "torch-blocked", "im2win"} <= rows.keys()
        peers = [row["seconds"] for row in rows.values() if row["kind"] == "peer"]
        for row in rows.values():
            assert row["error"] <= 1e-6
            assert row["vs_best_peer"] == pytest.approx(min(peers) / row["seconds"])
            assert row["vs_torch_nchw"] == pytest.approx(rows["torch-nchw"]["seconds"] / row["seconds"])


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_bench_draws_the_picture(omniconv_command, layers, tmp_path, ending):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"out.{ending}"
    result = omniconv_command(
        "bench", "conv", "--layers", layers, "--repeat", 1, "--peers", "none", "--algorithms", "im2win", "--plot", file
    )
    assert result.exit_code == 0, result.output
    start = file.read_bytes()[:8]
    assert start == b"\x89PNG\r\n\x1a\n" if ending == "png" else start.startswith(b"<?xml")
    if ending == "svg":
        assert "plain" in file.read_text() and "Efficiency gap" in file.read_text()


def test_layers_that_do_not_fit_are_left_out_with_a_note(omniconv_command, read_json, layers, tmp_path, monkeypatch):
    from omniconv.bench import machine

    file = tmp_path / "out.json"
    arguments = ("bench", "conv", "--layers", layers, "--repeat", 1, "--peers", "none", "--json", file)
    monkeypatch.setattr(machine, "available_bytes", lambda: 1000)
    result = omniconv_command(*arguments)
    assert result.exit_code == 0, result.output
    assert "the layer left out: needs about" in result.stdout
    assert all(not entry["results"] for entry in read_json(file.read_text())["layers"])
    workspace = {a.name: a.workspace_bytes for a in omniconv.algorithms((1, 4, 9, 8), (6, 4, 3, 3), padding=1)}
    tensors = 4 * (4 * 9 * 8 * 2 + 6 * 9 * 8 * 3)
    monkeypatch.setattr(machine, "available_bytes", lambda: int((tensors + workspace["im2col"] - 1) / 0.8))
    assert workspace["im2win"] < workspace["im2col"]
    omniconv_command(*arguments)
    plain = read_json(file.read_text())["layers"][0]
    assert "im2col" in plain["skipped"] and "im2win" in {row["name"] for row in plain["results"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "vgg99"], "layers is 'vgg99'; allowed are im2win12, mobilenet_v2, resnet50, a model of images"),
        (["--algorithms", "im2win,magic"], "algorithms is 'magic'; allowed are all"),
        (["--peers", "caffe"], "peers is 'caffe'; allowed are all, none, torch-nchw"),
        (["--precision", "wild"], "precision is 'wild'; allowed are highest, high, medium"),
        (["--layout", "chwn"], "layout is 'chwn'; allowed are nchw, nhwc"),
        (["--batch", "0"], "--batch"),
        (["--threads", "0"], "--threads"),
        (["--json", "missing/out.json"], "its folder does not exist"),
    ],
)
def test_bad_arguments_end_with_a_message(omniconv_command, arguments, message):
    result = omniconv_command("bench", "conv", *arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column name"),
        ("name,ci,h,co\na,1,2,3\n", "has no column kh"),
        ("name,ci,h,co,kh,color\na,1,2,3,1,red\n", "has a column 'color'"),
        ("name,ci,h,co,kh\n", "has no layers"),
        ("name,ci,h,co,kh\na,1,2,x,1\n", "layer 'a': invalid literal"),
        ("name,ci,h,co,kh\na,1,2,3\n", "layer 'a': it has not as many values"),
        ("name,ci,h,co,kh\na,1,2,3,1,7\n", "layer 'a': it has not as many values"),
        ("name,ci,h,co,kh\na,1,2,3,5\n", "layer 'a': a 5x5 kernel does not fit into 2x2"),
        ("name,ci,h,co,kh,groups\na,3,4,4,1,2\n", "layer 'a': groups is 2; it must divide"),
        ("name,ci,h,co,kh\na,0,2,3,1\n", "layer 'a': ci is 0; allowed is 1 and more"),
        ("name,ci,h,co,kh\na,1,2,3,1\na,1,2,3,1\n", "two layers of the name 'a'"),
    ],
)
def test_bad_layer_files_end_with_a_message(omniconv_command, tmp_path, text, message):
    file = tmp_path / "layers.csv"
    file.write_text(text)
    result = omniconv_command("bench", "conv", "--layers", file)
    assert result.exit_code == 2
    assert message in result.output and "layers.csv" in result.output
