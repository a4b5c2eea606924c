"""omniconv models and omniconv run."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from omniconv import models, nn

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_models_are_listed(omniconv_command, read_json):
    result = omniconv_command("models", "espcn")
    assert result.exit_code == 0, result.output
    assert "espcn_x3" in result.stdout and "22,729" in result.stdout and "resnet" not in result.stdout
    rows = read_json(omniconv_command("models", "cvt", "--json").stdout)
    assert rows[0] == {"name": "cvt_13", "family": "cvt", "parameters": 19997480, "paper": "arXiv:2103.15808"}
    result = omniconv_command("models", "none")
    assert result.exit_code == 2 and "there are affnet" in result.output


def test_classes_of_images_and_arrays(omniconv_command, read_json, picture, tmp_path):
    net = models.create("resnet18", layers=(1, 1, 1, 1), num_classes=4, seed=3)
    nn.save_state(net, tmp_path / "w.safetensors")
    np.save(tmp_path / "b.npy", np.zeros((3, 32, 32), dtype="float32"))
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\ndog\n")
    how = ["--weights", tmp_path / "w.safetensors", "--option", "layers=(1,1,1,1)", "--option", "num_classes=4"]
    how += ["--size", 32, "--top", 2, "--labels", tmp_path / "labels.txt"]
    result = omniconv_command("run", "resnet18", picture, picture, tmp_path / "b.npy", *how, "--json")
    assert result.exit_code == 0, result.output
    rows = read_json(result.stdout)["results"]
    assert [len(row["classes"]) for row in rows] == [2, 2, 2]
    assert rows[0]["classes"] == rows[1]["classes"]
    logits = net(np.zeros((1, 3, 32, 32), dtype="float32"))[0]
    first = rows[2]["classes"][0]
    assert first["class"] == logits.argmax() and first["label"] == ["ant", "bee", "cat", "dog"][logits.argmax()]
    assert np.isclose(first["probability"], np.exp(logits.max()) / np.exp(logits).sum())
    result = omniconv_command("run", "resnet18", picture, *how)
    assert result.exit_code == 0 and first["label"] and "probability" in result.stdout


def test_pictures_come_out_as_pictures(omniconv_command, read_json, picture, tmp_path):
    result = omniconv_command("run", "espcn_x2", picture, "--out", tmp_path / "o", "--json")
    assert result.exit_code == 0, result.output
    assert "parameters are random" in result.stderr
    with Image.open(read_json(result.stdout)["results"][0]["output"]) as found:
        assert found.size == (82, 60) and found.mode == "L"
    result = omniconv_command("run", "dea_net", picture, "--option", "base_dim=8", "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output  # 30 x 41 is padded to multiples of four, and cut
    with Image.open(tmp_path / "o" / "a.png") as found:
        assert found.size == (41, 30) and found.mode == "RGB"
    np.save(tmp_path / "u.npy", np.ones((8, 50), dtype="float32"))
    options = ["--option", "d_model=8", "--option", "l_max=64", "--option", "kernel_dim=8"]
    result = omniconv_command("run", "sgconv", tmp_path / "u.npy", *options, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "o" / "u.npy").shape == (8, 50)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sounds_come_out_as_sounds(omniconv_command, read_json, tmp_path, width):
    wide = np.random.default_rng(0).integers(-(2**31), 2**31, (50, 2)) >> (32 - 8 * width)
    raw = (wide + 128 * (width == 1)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(16000)
        file.writeframes(raw.tobytes())
    options = {"d_model": 2, "l_max": 64, "kernel_dim": 8}
    words = [word for n, v in options.items() for word in ("--option", f"{n}={v}")]
    result = omniconv_command("run", "sgconv", tmp_path / "a.wav", *words, "--out", tmp_path / "o", "--json")
    assert result.exit_code == 0, result.output
    row = read_json(result.stdout)["results"][0]
    assert row["shape"] == [2, 50] and row["output"].endswith("a.wav")
    with wave.open(row["output"]) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 16000)
        found = np.frombuffer(file.readframes(50), "<i2").reshape(50, 2).T
    x = (wide / 2.0 ** (8 * width - 1)).T.astype("float32")
    want = np.clip(np.rint(models.create("sgconv", **options)(x[None])[0] * 32768.0), -32768, 32767)
    assert np.array_equal(found, want) and 0 < np.abs(want).min()


def test_voices_become_channels(omniconv_command, read_json, tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.random.default_rng(0).integers(-9000, 9000, 400).astype("<i2").tobytes())
    options = {"in_channels": 8, "out_channels": 8, "num_blocks": 1, "num_spks": 3}
    words = [word for n, v in options.items() for word in ("--option", f"{n}={v}")]
    result = omniconv_command("run", "mossformer_m", tmp_path / "a.wav", *words, "--out", tmp_path / "o", "--json")
    assert result.exit_code == 0, result.output
    row = read_json(result.stdout)["results"][0]
    with wave.open(row["output"]) as file:
        assert row["shape"] == [3, 200] and (file.getnchannels(), file.getnframes()) == (3, 200)


def test_objects_in_a_picture(omniconv_command, read_json, picture, tmp_path):
    net = models.create("yolov9_t", num_classes=2, seed=4)
    head = net._modules["22"].heads[1].class_conv[2]
    head.bias = np.array([-9.0, 1.5], dtype="float32")  # one class is seen in many places, the other nowhere
    nn.save_state(net, tmp_path / "w.safetensors")
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    how = ["--weights", tmp_path / "w.safetensors", "--option", "num_classes=2", "--labels", tmp_path / "labels.txt"]
    result = omniconv_command("run", "yolov9_t", picture, *how, "--json")
    assert result.exit_code == 0, result.output
    objects = read_json(result.stdout)["results"][0]["objects"]
    pixels = np.asarray(Image.open(picture), dtype="float32") / 255  # 30 x 41, with zeros to 32 x 64
    image = np.pad(pixels.transpose(2, 0, 1), [(0, 0), (0, 2), (0, 23)])[None]
    want = net.detect(image)[0]
    assert np.allclose([o["box"] for o in objects], want["boxes"], atol=1e-3)
    assert len(objects) == len(want["boxes"]) > 0 and objects[0]["label"] in ("ant", "bee")
    result = omniconv_command("run", "yolov9_t", picture, *how)
    assert result.exit_code == 0 and "box" in result.stdout and f"{want['scores'][0]:.4f}" in result.stdout


def test_batches_are_of_one_shape_and_read_when_their_turn_comes():
    from omniconv.cli.models import _batches
    from omniconv.cli.samples import Sample

    read = []

    def samples():
        for length in (3, 3, 3, 4, 4, 3):
            read.append(length)
            yield Sample(None, np.zeros(length), "array")

    batches = _batches(samples(), 2)
    assert len(next(batches)) == 2 and len(read) == 3
    assert [[len(s.array) for s in batch] for batch in batches] == [[3], [4, 4], [3]]


@pytest.mark.parametrize(
    "args, message",
    [
        (["resnet19", "x.npy"], "'resnet19' is not known"),
        (["resnet18", "x.npy", "--option", "classes=3"], "has no option 'classes'"),
        (["resnet18", "x.npy", "--option", "classes"], "is not NAME=VALUE"),
        (["resnet18", "x.npy"], "x.npy cannot be read as an array"),
        (["resnet18", "x.txt"], "x.txt cannot be read as an image"),
        (["sgconv", "x.wav"], "x.wav cannot be read as a sound"),
        (["resnet18", "x.npy", "--weights", "none.pth"], "none.pth is not a file"),
    ],
)
def test_what_is_wrong_is_said(omniconv_command, args, message):
    result = omniconv_command("run", *args)
    assert result.exit_code == 2 and message in result.output
