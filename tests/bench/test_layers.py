"""Layer sets: tables, models, and how a layer is described."""

from __future__ import annotations

import math

import numpy as np
import pytest

import omniconv
from omniconv import nn
from omniconv.bench import layers
from omniconv.bench.layers import Layer
from omniconv.bench.layers.of_model import of_model, sequence


def test_layer_sets_of_the_package():
    assert layers.names() == ["im2win12", "mobilenet_v2", "resnet50"]
    twelve = layers.load("im2win12")
    assert [layer.name for layer in twelve] == [f"conv{i}" for i in range(1, 13)]
    assert [layer.out[0] for layer in twelve] == [55, 56, 111, 109, 20, 10, 222, 110, 54, 26, 12, 5]
    gflop = [round(layer.flops(128) * 1e-9, 1) for layer in twelve]
    assert gflop == [27.0, 28.0, 29.7, 610.4, 62.9, 30.2, 21.8, 228.4, 27.5, 25.5, 21.7, 15.1]
    resnet = layers.load("resnet50")
    assert sum(layer.count for layer in resnet) == 53
    # Published: 4.09e9 multiply-adds per image, 2.05e6 of them in the last linear layer; 25.5e6 parameters.
    assert sum(layer.count * layer.flops(1) for layer in resnet) / 2 == pytest.approx(4.087e9, rel=1e-3)
    assert sum(layer.count * math.prod(layer.w_shape) for layer in resnet) == 23_454_912
    mobile = layers.load("mobilenet_v2")
    # Published: 3.4e6 parameters and 300e6 multiply-adds, the linear layer of 1.28e6 among them.
    assert sum(layer.count for layer in mobile) == 52
    assert sum(layer.count * math.prod(layer.w_shape) for layer in mobile) + 1.281e6 == pytest.approx(3.4e6, rel=0.03)
    assert sum(layer.count * layer.flops(1) for layer in mobile) / 2 == pytest.approx(300e6, rel=0.01)


@pytest.mark.parametrize("name", layers.names())
def test_output_shapes_are_those_of_omniconv(name):
    for layer in layers.load(name):
        plan = omniconv.plan_conv2d(layer.x_shape(2), np.empty(layer.w_shape, np.float32), **layer.geometry)
        assert tuple(plan._plan.output_shape) == layer.y_shape(2), layer
        assert plan.flops == layer.flops(2), layer


def test_the_table_of_resnet50_is_what_the_model_does():
    found = of_model("resnet50")
    assert not found.left_out
    assert len(found.layers) == 54 and found.layers[-1] == Layer("fc", 2048, 1, 1000, 1)
    # Biases are additions that a convolution's flops do not have.
    assert sum(layer.flops(1) for layer in found.layers) / 2 == pytest.approx(found.macs, rel=5e-3)

    def known(some):
        return {(layer.describe(), layer.count) for layer in some}

    assert known(layers.distinct(found.layers[:-1])) == known(layers.load("resnet50"))


class Odd(nn.Module):
    """One of each kind."""

    def __init__(self):
        super().__init__()
        self.row = nn.Conv2d(4, 4, (1, 5), padding=(0, 2), groups=4)
        self.again = nn.Conv2d(4, 4, (1, 5), padding=(0, 2), groups=4)
        self.uneven = nn.Conv2d(4, 8, 3, stride=(1, 2))
        self.mirrored = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.pixels = nn.Linear(8, 6)
        self.line = nn.Conv1d(6, 6, 3, 2, 1)

    def forward(self, x):
        y = self.mirrored(self.uneven(self.again(self.row(x))))
        y = self.pixels(np.moveaxis(y, 1, -1))
        return self.line(y[:, 0].swapaxes(1, 2))


def test_layers_of_a_model_and_what_is_left_out():
    found = sequence(Odd(), (2, 4, 7, 9))
    assert found.left_out == ["uneven", "mirrored"]
    assert found.layers == [
        Layer("row", 4, 7, 4, 1, 9, 5, padding=0, padding_w=2, groups=4),
        Layer("again", 4, 7, 4, 1, 9, 5, padding=0, padding_w=2, groups=4),
        Layer("pixels", 8, 5, 6, 1, 4),
        Layer("line", 6, 1, 6, 1, 4, 3, stride=2, padding=0, padding_w=1),
    ]
    merged = layers.distinct(found.layers)
    assert [(layer.name, layer.count) for layer in merged] == [("row", 2), ("pixels", 1), ("line", 1)]
    assert merged[0].describe() == "4→4 7x9 k1x5 p0x2 g4"


def test_models_without_images_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match="model text_cnn does not take images of 224x224"):
        layers.load("text_cnn")
    with pytest.raises(ValueError, match="layers is 'vgg99'; allowed are im2win12, mobilenet_v2"):
        layers.load("vgg99")
