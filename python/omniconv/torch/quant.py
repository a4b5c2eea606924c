"""PyTorch models with 8-bit convolutions, after a configuration of `omniconv.quant`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from omniconv import quant

__all__ = ["quantized"]


class _Int8(nn.Module):
    """An nn.Conv2d or nn.Linear in 8-bit numbers, for inference."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, inputs: Tensor, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.layer = layer
        scheme, clipping = configuration["scheme"], configuration["clipping"]
        self.x_format = quant.calibrate(inputs.numpy(), scheme, clipping)
        weight = layer.weight.detach().numpy()
        self.weight_format = quant.calibrate(weight, scheme, "max", configuration["granularity"])

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        layer, linear = self.layer, isinstance(self.layer, nn.Linear)
        weight = layer.weight.detach().numpy()
        bias = None if layer.bias is None else layer.bias.detach().numpy()
        values = x.detach().numpy()
        how: dict[str, Any] = {}
        if linear:
            values, weight = values.reshape(-1, values.shape[-1], 1, 1), weight[:, :, None, None]
        else:
            how = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
        y = torch.from_numpy(quant.conv2d(values, weight, self.x_format, self.weight_format, bias, **how))
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
