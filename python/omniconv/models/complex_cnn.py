"""A small complex-valued network: Chatterjee et al., "Complex Network for Complex Problems: A comparative study of CNN
and Complex-valued CNN", IEEE IPAS 2022.

A complex parameter `name` stands as two real ones, real.name and imag.name; `load` takes complex checkpoints too. Its
layers are those of the authors' package pytorch-complex, quirk included: a bias is added to each of the four real
products, so the complex bias is (br - bi) + i (br + bi).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn import complex as C
from omniconv.nn.functional import global_avg_pool, namespace

ACTIVATIONS = ("CReLU", "zReLU", "modReLU")


class _Part(nn.Module):
    """The real or imaginary parts of the complex parameters of one layer."""

    def __init__(self, shape: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(*shape)
        self.bias = nn.Parameter(shape[0], fill=0.0) if bias else None


class _Norm(nn.Module):
    """Batch normalisation of the two parts together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(2, 2, channels), nn.Parameter(2, channels, fill=0.0)
        self.running_mean = nn.Parameter(2, channels, fill=0.0, trainable=False)
        self.running_var = nn.Parameter(2, 2, channels, trainable=False)
        identity = [[[float(i == j)] * channels for j in range(2)] for i in range(2)]
        self.weight = self.running_var = np.array(identity)

    def forward(self, x: Any) -> Any:
        """X [N, C, H, W], complex."""
        return C.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


class _Naive(nn.Module):
    """The running statistics; weight and bias are complex, so they stand elsewhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.running_mean = nn.Parameter(2, channels, fill=0.0, trainable=False)
        self.running_var = nn.Parameter(2, channels, fill=1.0, trainable=False)


@register({"complex_cnn": {}}, paper="IEEE IPAS 2022")
class ComplexCNN(Model):
    """Two complex convolutions with norms, a pool between, and a complex classifier whose magnitudes count.

    Parameters
    ----------
    c : int
        Channels after the first convolution; twice as many after the second.
    classes, in_channels : int
    act : "CReLU", "zReLU" or "modReLU"
    naive : bool
        Whether norms treat the two parts each by itself.
    """

    main = "abs"

    def __init__(
        self, c: int = 8, classes: int = 10, act: str = "CReLU", naive: bool = False, in_channels: int = 2
    ) -> None:
        super().__init__()
        if act not in ACTIVATIONS:
            raise ValueError(f"act is {act!r}; allowed are {', '.join(ACTIVATIONS)}")
        self.act, self.naive = act, naive
        shapes = {
            "conv1": ((c, in_channels, 3, 3), True), "conv2": ((2 * c, c, 3, 3), False), "fc": ((classes, 2 * c), True),
        } | ({"bn1": ((c,), True), "bn2": ((2 * c,), True)} if naive else {})  # fmt: skip
        self.real = nn.ModuleDict({name: _Part(*about) for name, about in shapes.items()})
        self.imag = nn.ModuleDict({name: _Part(*about) for name, about in shapes.items()})
        self.bn1, self.bn2 = ((_Naive if naive else _Norm)(width) for width in (c, 2 * c))
        if act == "modReLU":
            for name in ("act1", "act2"):
                setattr(self, name, nn.Module())
                self._modules[name].b = nn.Parameter(1, fill=0.0)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, a complex one counted once."""
        halves = sum(p.size for p in self.imag.named_parameters().values())
        return super().num_parameters - halves

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Take the arrays of a state; complex ones stand under their own names, or as real.NAME and imag.NAME."""
        split: dict[str, Any] = {}
        for name, value in state.items():
            if "complex" in str(value.dtype):
                split |= {f"real.{name}": value.real, f"imag.{name}": value.imag}
            else:
                split[name] = value
        super().load_state_dict(split, strict=strict)

    def _weights(self, name: str) -> tuple[Any, Any]:
        re, im = self.real[name], self.imag[name]
        bias = None if re.bias is None else C.join(re.bias - im.bias, re.bias + im.bias)
        return C.join(re.weight, im.weight), bias

    def _normalised(self, x: Any, name: str) -> Any:
        norm = self._modules[name]
        if not self.naive:
            return norm(x)
        re, im = self.real[name], self.imag[name]
        weight, bias = C.join(re.weight, im.weight), C.join(re.bias, im.bias)
        return C.naive_batch_norm(x, norm.running_mean, norm.running_var, weight, bias)

    def _active(self, x: Any, name: str) -> Any:
        if self.act == "modReLU":
            return C.modrelu(x, self._modules[name].b)
        return C.crelu(x) if self.act == "CReLU" else C.zrelu(x)

    def outputs(self, x: Any) -> dict[str, Any]:
        """bn1, pool, act2, features and z, complex, and abs [N, classes] of complex images [N, in_channels, H, W]."""
        first = self._normalised(C.conv(x, *self._weights("conv1"), padding=1), "bn1")
        pool = C.max_pool(self._active(first, "act1"), 2)
        second = self._normalised(C.conv(pool, *self._weights("conv2"), stride=2, padding=1), "bn2")
        last = self._active(second, "act2")
        features = C.join(*(global_avg_pool(part) for part in (last.real, last.imag)))
        z = C.linear(features, *self._weights("fc"))
        found = {"bn1": first, "pool": pool, "act2": last, "features": features, "z": z}
        return found | {"abs": namespace(z.real).sqrt(z.real**2 + z.imag**2)}
