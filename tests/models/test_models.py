"""Models: the registry, sizes as published, folding, layouts of names, frameworks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omniconv import models, nn

#: parameters as published or as counted in the public implementations
SIZES = {
    "resnet18": 11689512, "resnext50_32x4d": 25028904, "wide_resnet50_2": 68883240, "vgg16": 138357544,
    "vgg11_bn": 132868840, "alexnet": 61100840, "googlenet": 6624904, "regnetx_004": 5157512, "regnety_002": 3162996,
    "regnety_040": 20646656, "convnext_tiny": 28589128, "convnext_xlarge": 350196968, "inception_next_tiny": 28055680,
    "inception_next_base": 86672136, "espcn_x4": 24752, "hornet_tiny_7x7": 22409512, "hornet_tiny_gf": 22991848,
    "cct_2_3x2_32": 283723, "cct_6_3x1_32": 3233803, "cct_7_3x1_32": 3760139, "cct_7_7x2_224": 4573735,
    "cct_14_7x2_384": 22513193, "convit_small": 27777322, "convit_base": 86540040, "cvt_13": 19997480,
    "cvt_21": 31622696, "affnet_et": 1436264, "affnet_t": 2654232, "affnet": 5568696,
    "tvconv_mobilenet_v2_x0_1": 16369368, "tvconv_mobilenet_v2_x1_0": 49708576, "mobilenet_v2_x0_1_faces": 324672,
    "transnext_micro": 12809304, "deeplab_v2_resnet101": 44048532, "halonet26t": 12480288, "halonet_h1": 8100056,
    "glnet_4g": 27001593,
    "glnet_9g": 60010617, "glnet_16g": 106055161, "glnet_stl": 30296786, "fourier_gan_z_3_5": 3889507,
    "fourier_gan_b_1_7": 3840547, "cmoe_resnet18": 11211280, "mobilenet_v2_x1_0_faces": 2241280,
    "dea_net": 3653377, "mirnet": 31787419, "spark_resnet50": 37970611, "yolov9_t": 2442624, "mossformer_l": 42101834,
}  # fmt: skip
#: one layer of each kind, and a head on three maps
YOLO = (
    {"type": "Conv", "args": {"out_channels": 8, "kernel_size": 3, "stride": 2}},
    {"type": "Conv", "args": {"out_channels": 8, "kernel_size": 3, "stride": 2}},
    {"type": "ELAN", "args": {"out_channels": 16, "part_channels": 8}},
    {"type": "ADown", "args": {"out_channels": 16}, "tags": "B3"},
    {"type": "AConv", "args": {"out_channels": 8}, "tags": "B4"},
    {"type": "RepNCSPELAN", "args": {"out_channels": 8, "part_channels": 8, "csp_args": {"repeat_num": 1}}},
    {"type": "AConv", "args": {"out_channels": 8}},
    {"type": "SPPELAN", "args": {"out_channels": 8}, "tags": "N3"},
    {"type": "UpSample", "args": {"scale_factor": 2, "mode": "nearest"}},
    {"type": "Concat", "source": [-1, "B4"], "tags": "P4"},
    {"type": "MultiheadDetection", "source": ["B3", "P4", "N3"]},
)
#: small ones of each family that folds: options, input
SMALL = {
    "resnet50": ({"layers": (1, 1, 1, 1), "num_classes": 5}, (1, 3, 40, 32)),
    "vgg11_bn": ({"hidden": 8, "num_classes": 5}, (1, 3, 32, 32)),
    "googlenet": ({"num_classes": 5, "aux_logits": True}, (1, 3, 64, 64)),
    "regnety_002": ({"depths": (1, 1), "widths": (24, 56), "group_widths": (8, 8), "num_classes": 5}, (1, 3, 32, 32)),
    "convnext_tiny": ({"depths": (1, 1), "dims": (16, 24), "layer_scale_init_value": 0.5}, (1, 3, 32, 32)),
    "convnext_isotropic_small": ({"depth": 2, "dim": 16, "layer_scale_init_value": 0.5}, (1, 3, 48, 32)),
    "inception_next_tiny": ({"depths": (1, 1), "dims": (16, 24), "mlp_ratios": (4, 3)}, (1, 3, 32, 32)),
    "unireplknet_a": ({"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 40)}, (1, 3, 64, 64)),
    "hornet_tiny_7x7": ({"depths": (1, 1, 1, 1), "base_dim": 16}, (1, 3, 64, 64)),
    "hornet_tiny_gf": ({"depths": (1, 1, 1, 1), "base_dim": 16}, (1, 3, 64, 64)),
    "cvt_13": ({"embed_dims": (16, 24), "num_heads": (1, 2), "depths": (1, 1)}, (1, 3, 32, 32)),
    "affnet_et": ({"num_classes": 5}, (1, 3, 64, 64)),
    "tvconv_mobilenet_v2_x0_1": ({"inter_chans": 8, "inter_layers": 1, "bias": True}, (1, 3, 96, 96)),
    "dea_net": ({"base_dim": 16, "deploy": False}, (1, 3, 16, 16)),
    "deeplab_v2_resnet101": ({"n_blocks": (1, 1, 1, 1)}, (1, 3, 33, 32)),
    "halonet26t": ({"stages": ((("bottle", "self_attn"), 32, 1), (("self_attn",), 64, 2))}, (1, 3, 64, 64)),
    "convfirst_small": ({"depths": (1, 1), "dims": (16, 24), "num_classes": 5}, (1, 3, 32, 32)),
    "sgconv": ({"d_model": 6, "l_max": 64, "kernel_dim": 8}, (2, 6, 60)),
    "hyena": ({"d_model": 8, "l_max": 64}, (2, 60, 8)),
    "ensem_1dcnn": ({"features": 12, "classes": 5}, (1, 40, 12)),
    "yolov9_t": ({"num_classes": 3, "layers": YOLO}, (1, 3, 32, 64)),
}  # fmt: skip


def filled(name, **options):
    """A model with arrays that make every part of it count."""
    model = models.create(name, **options)
    rng = np.random.default_rng(0)
    for parameter in model._unique():
        if parameter.fill is not None:
            around = 0.0 if parameter.fill == 0 else 1.0
            parameter.array = (around + 0.2 * rng.standard_normal(parameter.shape)).astype("float32")
        elif name == "dea_net":  # which has no norms: its maps would grow beyond what float32 can tell apart
            parameter.array = parameter.array * np.float32(0.3)
    return model


def error(got, want):
    return np.linalg.norm(np.asarray(got) - np.asarray(want)) / np.linalg.norm(np.asarray(want))


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_published(name):
    assert models.create(name).num_parameters == SIZES[name]


@pytest.mark.parametrize("name", SMALL)
def test_folding_changes_names_not_results(name):
    options, shape = SMALL[name]
    model = filled(name, **options)
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    before, count = model.outputs(x), len(model.named_parameters())
    after = model.fold().outputs(x)
    assert len(model.named_parameters()) < count
    assert list(after) == list(before)
    errors = {key: error(after[key], before[key]) for key in before}
    assert max(errors.values()) < 3e-5, errors
    again = model.fold().outputs(x)
    assert all(np.array_equal(again[key], after[key]) for key in after)


@pytest.mark.parametrize("name", [n for n in SMALL if n not in ("vgg11_bn", "googlenet")])
def test_pytorch_runs_the_same_text(name):
    options, shape = SMALL[name]
    model = filled(name, **options)
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    want = model(x)
    model.to("torch")
    t = torch.tensor(x, requires_grad=True)
    y = model(t)
    assert error(y.detach(), want) < 3e-5
    y.square().sum().backward()
    assert torch.isfinite(t.grad).all() and t.grad.abs().max() > 0


def test_every_name_builds_a_model_of_its_family():
    names = models.list()
    assert len(names) == len(set(names)) > 100
    for name, entry in models.entries().items():
        assert entry.paper.startswith(("arXiv:", "IEEE ")), name
        assert entry.build.__doc__ and "Parameters" in entry.build.__doc__, name
    assert set(models.list("cvt")) == {"cvt_13", "cvt_21", "cvt_w24"}


def test_create_tells_what_there_is():
    with pytest.raises(ValueError, match="'resnet51' is not known"):
        models.create("resnet51")
    with pytest.raises(ValueError, match="close are convnext_atto"):
        models.create("convnext_mini")
    with pytest.raises(TypeError, match="has no option 'classes'; it has block, layers, num_classes"):
        models.create("resnet18", classes=3)
    with pytest.raises(ValueError, match="block is 'bottle'"):
        models.create("resnet18", block="bottle")
    with pytest.raises(ValueError, match="multiples of 4"):
        models.create("dea_net")(np.zeros((1, 3, 6, 8), dtype="float32"))


def test_names_of_other_repositories_are_known():
    timm = {}
    net = models.create("convnext_tiny", depths=(1, 1), dims=(8, 16), num_classes=3)
    for name, array in net.state_dict().items():
        name = name.replace("downsample_layers.0", "stem").replace("downsample_layers.1", "stages.1.downsample")
        name = name.replace("stages.0.0", "stages.0.blocks.0").replace("stages.1.0", "stages.1.blocks.0")
        name = name.replace("dwconv", "conv_dw").replace("pwconv1", "mlp.fc1").replace("pwconv2", "mlp.fc2")
        timm[name.replace("head.", "head.fc.") if name.startswith("head") else name] = array
    timm = {f"head.{n}" if n.startswith("norm.") else n: v for n, v in timm.items()}
    assert not set(timm) & {"norm.weight", "head.weight"}
    other = models.create("convnext_tiny", depths=(1, 1), dims=(8, 16), num_classes=3, seed=1)
    other.load_state_dict(timm)
    assert np.array_equal(other.head.weight, net.head.weight)
    net = models.create("regnety_002", depths=(1, 1), widths=(16, 24), group_widths=(8, 8), seed=2)
    words = {"conv1.conv": "f.a", "conv2.conv": "f.b", "conv3.conv": "f.c", "conv1.bn": "f.a_bn", "conv2.bn": "f.b_bn",
             "conv3.bn": "f.c_bn", "se.fc1": "f.se.f_ex.0", "se.fc2": "f.se.f_ex.2", "downsample.conv": "proj",
             "downsample.bn": "bn"}  # fmt: skip
    pycls = {}
    for name, array in net.state_dict().items():
        for ours, theirs in words.items():
            name = name.replace(ours, theirs)
        pycls[name] = array
    models.create("regnety_002", depths=(1, 1), widths=(16, 24), group_widths=(8, 8)).load_state_dict(pycls)


def test_networks_scale_by_the_rule():
    from omniconv.models.regnet import stage_sizes

    depths, widths, groups = stage_sizes(96, 31.41, 2.24, 22, 64)
    assert (depths, widths, groups) == ([2, 6, 12, 2], [128, 192, 512, 1088], [64] * 4)
    fast = nn.scale(depths, widths, 224, 4, group_widths=groups)
    assert fast == ([2, 7, 14, 2], [224, 336, 896, 1904], [112] * 4, 240)
    deep = nn.scale(depths, widths, 224, 4, group_widths=groups, weights=(1, 1, 1), group_weight=0)
    assert (deep.depths, deep.widths, deep.resolution) == ([3, 10, 19, 3], [128, 256, 640, 1344], 284)
    options, resolution = models.scale("regnety_040", 4)
    assert (options["depths"], options["widths"], options["group_widths"], resolution) == fast
    options, resolution = models.scale("convnext_tiny", 0.5, num_classes=7, resolution=224)
    assert options == {"num_classes": 7, "depths": [3, 3, 8, 3], "dims": [72, 144, 288, 584]} and resolution == 216
    with pytest.raises(ValueError, match="resnet18 has no depths and widths of stages; its options are block"):
        models.scale("resnet18", 2)
    for how, message in (({"factor": 0}, "factor is 0"), ({"factor": 2, "weights": (0, 0, 0)}, "weights is")):
        with pytest.raises(ValueError, match=message):
            nn.scale([1], [8], 32, **how)


@pytest.mark.parametrize("name, factor", [("regnety_002", 2), ("convnext_atto", 0.5)])
def test_scaled_networks_have_the_flops_asked_for(name, factor):
    options, resolution = models.scale(name, factor, resolution=224)
    before = nn.summary(models.create(name), (1, 3, 224, 224)).macs
    after = nn.summary(models.create(name, **options), (1, 3, resolution, resolution)).macs
    assert 0.8 * factor < after / before < 1.25 * factor


def test_sgconv_keeps_the_norm_of_its_first_call():
    layer = models.create("sgconv", d_model=4, l_max=64, kernel_dim=8)
    u = np.random.default_rng(0).standard_normal((1, 4, 40)).astype("float32")
    first = layer.outputs(u)["kernel_norm"]
    state = layer.state_dict()
    layer.load_state_dict(state | {f"kernel_list.{i}": state[f"kernel_list.{i}"] * 2 for i in range(4)})
    assert np.allclose(layer.outputs(u)["kernel_norm"], 2 * first)
    stored = models.create("sgconv", d_model=4, l_max=64, kernel_dim=8, kernel_norm_initialized=True)
    stored.load_state_dict(state | {"kernel_norm": first * 3})
    assert np.array_equal(stored.outputs(u)["kernel_norm"], first * 3)


def test_yolo_detects_and_suppresses():
    from omniconv.models.yolov9 import anchored, suppress

    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 4]], dtype=float)
    scores, classes = np.array([0.5, 0.9, 0.8, 0.3, 0.7]), np.array([0, 0, 1, 0, 0])
    assert suppress(boxes, scores, classes, 0.45).tolist() == [1, 2, 4, 3]  # 90 of 110 are shared, and 36 of 104
    assert suppress(boxes, scores, classes, 0.9).tolist() == [1, 2, 4, 0, 3]
    net = models.create("yolov9_t", num_classes=3, layers=YOLO)
    x = np.random.default_rng(0).random((2, 3, 64, 96), dtype=np.float32)
    found = net.outputs(x)
    cells = anchored(found["vector"], (64, 96))
    assert cells.shape == (2, 8 * 12 + 4 * 6 + 2 * 3, 4)
    left, top, right, bottom = found["vector"][1, :, 8 * 12 + 7]  # cell (1, 1) of stride 16: its middle is (24, 24)
    want = np.array([24 - 16 * left, 24 - 16 * top, 24 + 16 * right, 24 + 16 * bottom])
    assert np.allclose(cells[1, 8 * 12 + 7], want, rtol=1e-6)
    detected = net.detect(x, confidence=0.0, limit=5)
    assert [d["boxes"].shape for d in detected] == [(5, 4), (5, 4)]
    chances = 1 / (1 + np.exp(-found["heads"][:, :3].astype(float)))
    assert np.allclose([d["scores"][0] for d in detected], chances.max((1, 2)))
    assert net.detect(x, confidence=1.0)[0]["classes"].size == 0
    with pytest.raises(ValueError, match="type 'Conf'; known are Conv"):
        models.create("yolov9_t", layers=[{"type": "Conf"}, {"type": "Head"}])


def test_voices_of_any_length_and_groups_that_look_back_alone():
    options = {"in_channels": 8, "out_channels": 8, "num_blocks": 2, "group_size": 4, "query_key_dim": 6}
    x = np.random.default_rng(0).standard_normal((2, 203)).astype("float32")
    for causal in (False, True):
        net = filled("mossformer_m", causal=causal, **options)
        found = net.outputs(x)
        assert found["y"].shape == (2, 203, 2) and found["mask"].shape == (2, 2, 8, 24)
        assert np.allclose(net(x[:1]), found["y"][:1], atol=1e-5)
        block, h = net.mask_net.mdl.att_mdl.mossformerM.layers[0], found["encoder"].transpose(0, 2, 1)
        changed = h.copy()
        changed[:, 20:] += 1
        before, after = (block(v)[:, :4] for v in (h, changed))  # two convolutions reach eight frames ahead each
        assert np.allclose(before, after, atol=1e-6) == causal
        q, k, v = np.random.default_rng(1).standard_normal((3, 1, 3, 4, 5))
        sums = [k[0, g].T @ v[0, g] for g in range(3)]
        seen = [sum(sums[:g], 0 * sums[0]) / 4 for g in range(3)] if causal else [sum(sums) / 11] * 3
        found = block._linear(np, q, k, v, 11)
        assert np.allclose(found[0], [q[0, g] @ seen[g] for g in range(3)])
    with pytest.raises(ValueError, match="norm is 'cln'"):
        models.create("mossformer_m", norm="cln")


@pytest.mark.parametrize("name, options, shape", [
    ("mossformer_m", {"in_channels": 8, "out_channels": 8, "num_blocks": 1, "group_size": 4, "causal": True}, (1, 90)),
    ("complex_cnn", {"c": 4, "act": "modReLU"}, (1, 2, 8, 10)),
])  # fmt: skip
def test_pytorch_runs_other_inputs_than_images(name, options, shape):
    model = filled(name, **options)
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    x = x + 1j * x[..., ::-1] if name == "complex_cnn" else x
    want = model(x)
    t = torch.tensor(x, requires_grad=True)
    y = model.to("torch")(t)
    assert error(y.detach(), want) < 3e-5
    y.square().sum().backward()
    assert torch.isfinite(torch.view_as_real(t.grad) if t.is_complex() else t.grad).all() and t.grad.abs().max() > 0


def test_spark_masks_of_the_ratio_asked_for():
    net = models.create("spark_resnet50", input_size=160)
    mask = net.random_mask(3, np.random.default_rng(0))
    assert mask.shape == (3, 1, 5, 5) and (mask.sum((1, 2, 3)) == 10).all() and not (mask[0] == mask[1]).all()


def test_importing_the_package_does_not_import_the_models():
    import subprocess
    import sys

    code = "import sys, omniconv; assert not {'omniconv.nn', 'omniconv.models'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hyena_keeps_the_spectra_of_folded_taps(isa):
    x = np.random.default_rng(3).standard_normal((2, 48, 8)).astype(np.float32)
    net, folded = (models.create("hyena", d_model=8, l_max=64, order=3).seed(1) for _ in range(2))
    folded.fold()
    for part in (x, x[:, :31], x):
        for _ in range(2):
            got, want = folded(part), net(part)
            assert np.linalg.norm(got - want) < 1e-6 * np.linalg.norm(want)
    got = folded(x)
    folded.filter_fn.folded = folded.filter_fn.folded * 2
    assert not np.allclose(folded(x), got)
