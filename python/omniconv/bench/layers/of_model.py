"""The convolutions of a model, from a run of it: nothing is typed by hand that the model's definition knows."""

from __future__ import annotations

from typing import Any, NamedTuple

from omniconv import nn
from omniconv.bench.layers import Layer
from omniconv.conv_spec import pads

__all__ = ["ModelLayers", "of_model", "sequence"]


class ModelLayers(NamedTuple):
    """What a model convolves."""

    layers: list[Layer]  #: in the order of the run, named as the modules are
    macs: int  #: of the whole model, by the rules of `omniconv.nn.summary`
    left_out: list[str]  #: names, or kinds, of what has multiplications and is no `Layer`


def _layer(name: str, module: Any, shape: tuple[int, ...]) -> Layer | None:
    """None where a `Layer` has no words for it. A linear layer is a 1x1 convolution of its rows."""
    if isinstance(module, nn.Linear):
        h, w = {2: (1, 1), 3: (1, shape[-2]), 4: shape[1:3]}.get(len(shape), (0, 0))
        return Layer(name, shape[-1], h, module.weight.shape[0], 1, w) if h else None
    if not isinstance(module, nn.Conv) or len(shape) > 4 or module.options["padding_mode"] != "zeros":
        return None
    # Sequences are images of one row.
    one_row, options, kernel = len(shape) == 3, module.options, module.kernel
    stride, dilation = options["stride"], options["dilation"]
    low, high = pads(options["padding"], len(kernel), shape[2:], kernel, stride, dilation)
    if low != high or len({*stride}) > 1 or len({*dilation}) > 1:
        return None
    (h, w), (kh, kw), (p, q) = (((first, *v) if one_row else v) for first, v in ((1, shape[2:]), (1, kernel), (0, low)))
    return Layer(name, shape[1], h, module.weight.shape[0], kh, w, kw, stride[0], p, q, dilation[0], options["groups"])


def sequence(model: Any, *inputs: Any) -> ModelLayers:
    """Run a model once on inputs, arrays or shapes of float32 zeros, and list what it convolves."""
    found = nn.summary(model, *inputs)
    modules = dict(model.named_modules())
    layers, left_out = [], []
    for cost in found.costs:
        layer = _layer(cost.name, modules[cost.name], cost.source) if cost.name else None
        if layer is not None:
            layers.append(layer)
        elif cost.macs:
            left_out.append(cost.name or cost.kind)
    return ModelLayers(layers, found.macs, left_out)


def of_model(name: str, size: int = 224) -> ModelLayers:
    """The layers of a model that `omniconv.models` knows, folded, for images of size x size.

    ValueError for a model that takes something else.
    """
    from omniconv.bench.models import problem

    try:
        model, x = problem(name, 1, size)
        return sequence(model, *x)
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"model {name} does not take images of {size}x{size}: {error}") from None
