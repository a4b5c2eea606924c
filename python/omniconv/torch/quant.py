"""PyTorch models with 8-bit convolutions, after a configuration of `omniconv.quant`, or with formats to search."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniconv import quant

__all__ = ["fake_quantize", "macs", "quantized", "searchable", "set_formats"]


class _Int8(nn.Module):
    """An nn.Conv2d or nn.Linear in 8-bit numbers, for inference."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, inputs: Tensor, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.layer = layer
        scheme, clipping = configuration["scheme"], configuration["clipping"]
        self.x_format = quant.calibrate(inputs.numpy(), scheme, clipping)
        weight = layer.weight.detach().numpy()
        self.weight_format = quant.calibrate(weight, scheme, "max", configuration["granularity"])
        self._plan: tuple[Any, Any] = None, None

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        layer, linear = self.layer, isinstance(self.layer, nn.Linear)
        values = x.detach().numpy()
        if linear:
            values = values.reshape(-1, values.shape[-1], 1, 1)
        if self._plan[0] != values.shape:
            weight = layer.weight.detach().numpy()
            weight = weight[:, :, None, None] if linear else weight
            keys = () if linear else ("stride", "padding", "dilation", "groups")
            how = {key: getattr(layer, key) for key in keys}
            plan = quant.Int8Conv2d(values.shape, weight, self.x_format, self.weight_format, **how)
            self._plan = values.shape, plan
        y = torch.from_numpy(self._plan[1](values, None if layer.bias is None else layer.bias.detach().numpy()))
        return y.reshape(*x.shape[:-1], -1) if linear else y


def _names(model: nn.Module) -> list[str]:
    def plain(m: nn.Module) -> bool:
        return isinstance(m, nn.Linear) or (
            isinstance(m, nn.Conv2d) and m.padding_mode == "zeros" and not isinstance(m.padding, str)
        )

    return [name for name, module in model.named_modules() if plain(module)]


def quantized(model: nn.Module, configuration: Mapping[str, Any], images: Tensor) -> nn.Module:
    """A copy of a model whose nn.Conv2d and nn.Linear compute in 8-bit numbers.

    Parameters
    ----------
    model : torch.nn.Module
        On the CPU, float32, in evaluation mode.
    configuration : dict
        One of `omniconv.quant.configurations`: "calibration" of the images are looked at; activations get a format each
        for the whole tensor, weights one by "granularity"; "mixed" leaves the first and the last layer alone.
    images : Tensor
        [N, ...], what the model is fed to see the ranges of activations.

    Returns
    -------
    torch.nn.Module
        Without gradients.
    """
    if model.training:
        raise ValueError("model is in training mode; call model.eval() first")
    model = copy.deepcopy(model)
    names = _names(model)
    if configuration["mixed"]:
        names = names[1:-1]
    inputs: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: inputs.__setitem__(name, args[0].detach())
        )
        for name in names
    ]
    with torch.no_grad():
        model(images[: configuration["calibration"]])
    for hook in hooks:
        hook.remove()
    for name in names:
        if name not in inputs:
            continue  # not part of the forward pass
        parent, _, leaf = name.rpartition(".")
        owner = model.get_submodule(parent) if parent else model
        setattr(owner, leaf, _Int8(model.get_submodule(name), inputs[name], configuration))
    return model


# ---- training in formats -------------------------------------------------------------------------------------------


def fake_quantize(x: Tensor, form: str, axis: int | None = None) -> Tensor:
    """Round to a format, float32 still; gradients pass as if it were not.

    Parameters
    ----------
    x : Tensor
        float32.
    form : str
        "int2" to "int8": whole multiples, symmetric, of the largest magnitude / (2**(bits - 1) - 1); "dfp3" to "dfp16":
        of a power of two, as `omniconv.dfp16.quantize` does with one bit less; "bfloat16"; "float32".
    axis : int, optional
        One scale for each index of this axis, instead of one for all.
    """
    bits = quant.bits_of(form)
    if form == "float32":
        return x
    values = x.detach()
    if form == "bfloat16":
        return x + (values.bfloat16().float() - values)
    others = [i for i in range(x.ndim) if i != axis]
    most = values.abs().amax(others, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    largest = 2 ** (bits - 1) - 1
    if form.startswith("int"):
        scale = most / largest
    else:
        exponent = torch.frexp(most).exponent + (1 - bits)
        exponent = exponent + (torch.round(torch.ldexp(most, -exponent)) > largest)
        scale = torch.ldexp(torch.ones_like(most), exponent)
    return x + (torch.round(values / scale) * scale - values)


class _InFormat(nn.Module):
    """An nn.Conv2d or nn.Linear whose input and weight are rounded to `form`."""

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layer, self.form = layer, "float32"

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        layer = self.layer
        x, weight = fake_quantize(x, self.form), fake_quantize(layer.weight, self.form, 0)
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, layer.bias)
        return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def searchable(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """A copy of a model whose nn.Conv2d and nn.Linear train in formats (see `set_formats`), and the names of these."""
    model = copy.deepcopy(model)
    names = _names(model)
    for name in names:
        parent, _, leaf = name.rpartition(".")
        owner = model.get_submodule(parent) if parent else model
        setattr(owner, leaf, _InFormat(model.get_submodule(name)))
    return model, names


def set_formats(model: nn.Module, formats: Mapping[str, str]) -> None:
    """From now on layers of a `searchable` model round to formats of `fake_quantize`: {name: format}."""
    for name, form in formats.items():
        quant.bits_of(form)
        layer = model.get_submodule(name)
        if not isinstance(layer, _InFormat):
            raise ValueError(f"formats names {name!r}, which is no layer of a searchable model")
        layer.form = form


def macs(model: nn.Module, x: Tensor) -> dict[str, int]:
    """Multiply-adds of one image of every layer of a `searchable` model, fed with x [N, ...]."""
    counts: dict[str, int] = {}

    def count(name: str, module: nn.Module, y: Tensor) -> None:
        counts[name] = y[0].numel() * module.layer.weight[0].numel()

    hooks = [
        module.register_forward_hook(lambda module, _, y, name=name: count(name, module, y))
        for name, module in model.named_modules()
        if isinstance(module, _InFormat)
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return counts
