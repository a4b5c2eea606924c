"""A model of `omniconv.models` as PyTorch would write it: the same parameters, every operation one of PyTorch's own.

The model runs once on traced tensors, with the operations of `omniconv.nn` replaced by those of
``torch.nn.functional``; what is recorded is a graph of ATen operations, for eager PyTorch, ``torch.compile`` and ONNX.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np

from omniconv import nn
from omniconv.nn import arrays
from omniconv.nn import functional as F
from omniconv.nn.arrays import pair

__all__ = ["torch_twin"]


def _activation(x: Any, name: str | None, *, negative_slope: float = 0.01) -> Any:
    import torch.nn.functional as T

    if name is None:
        return x
    if name in ("gelu", "gelu_tanh"):
        return T.gelu(x, approximate="none" if name == "gelu" else "tanh")
    if name == "quick_gelu":
        return x * (1.702 * x).sigmoid()
    if name == "leaky_relu":
        return T.leaky_relu(x, negative_slope)
    return getattr(T, name)(x)


def _convolved(x: Any, weight: Any, bias: Any, options: dict[str, Any], transposed: bool = False) -> Any:
    import torch.nn.functional as T

    if not transposed:
        x, options = arrays._padded(x, weight, options)
    name = f"conv_transpose{weight.ndim - 2}d" if transposed else f"conv{weight.ndim - 2}d"
    return getattr(T, name)(x, weight, bias, **{k: v for k, v in options.items() if k != "padding_mode"})


def _linear(
    x: Any, weight: Any, bias: Any = None, *, activation: str | None = None, scale: Any = None, residual: Any = None
) -> Any:
    import torch.nn.functional as T

    y = T.linear(x, weight, bias if scale is None else None)
    if scale is not None:
        y = y * scale if bias is None else y * scale + bias
    return _activation(y if residual is None else y + residual, activation)


def _batch_norm(x: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, *, eps: float = 1e-5) -> Any:
    import torch.nn.functional as T

    return T.batch_norm(x, mean, var, weight, bias, eps=eps)


def _layer_norm(x: Any, weight: Any = None, bias: Any = None, *, axis: int = -1, eps: float = 1e-5) -> Any:
    import torch.nn.functional as T

    last = x.movedim(axis, -1)
    return T.layer_norm(last, last.shape[-1:], weight, bias, eps).movedim(-1, axis)


def _group_norm(x: Any, groups: int, weight: Any = None, bias: Any = None, *, eps: float = 1e-5) -> Any:
    import torch.nn.functional as T

    return T.group_norm(x, groups, weight, bias, eps)


def _max_pool(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False) -> Any:
    import torch.nn.functional as T

    return getattr(T, f"max_pool{x.ndim - 2}d")(x, kernel, stride, padding, ceil_mode=ceil_mode)


def _avg_pool(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, **options: Any) -> Any:
    import torch.nn.functional as T

    return getattr(T, f"avg_pool{x.ndim - 2}d")(x, kernel, stride, padding, **options)


def _adaptive_avg_pool(x: Any, size: Any) -> Any:
    import torch.nn.functional as T

    return getattr(T, f"adaptive_avg_pool{x.ndim - 2}d")(x, pair(size, x.ndim - 2))


def _resize(x: Any, size: Any, *, mode: str = "linear", align_corners: bool = False) -> Any:
    import torch.nn.functional as T

    words = {"linear": {3: "linear", 4: "bilinear"}.get(x.ndim), "cubic": "bicubic", "nearest": "nearest"}
    corners = {} if mode == "nearest" else {"align_corners": align_corners}
    return T.interpolate(x, tuple(size), mode=words[mode], **corners)


def _softmax(x: Any, axis: int = -1) -> Any:
    return x.softmax(axis)


def _fft_conv(
    u: Any, k: Any, *, k_rev: Any = None, skip: Any = None, activation: str | None = None, pre_gate: Any = None,
    post_gate: Any = None,
) -> Any:  # fmt: skip
    """The published recipe: transforms of twice the length; several kernels [C, H, L] of u [B, H, L] side by side."""
    import torch

    u = u if pre_gate is None else u * pre_gate
    length, n = u.shape[-1], 2 * u.shape[-1]
    if k_rev is not None:
        k = torch.nn.functional.pad(k, (0, n - k.shape[-1])) + torch.nn.functional.pad(
            k_rev[..., 1:].flip(-1), (n - k_rev.shape[-1] + 1, 0)
        )
    several = k.ndim == 3
    v = u[:, None] if several else u
    y = torch.fft.irfft(torch.fft.rfft(v, n=n) * torch.fft.rfft(k, n=n), n=n)[..., :length]
    y = y if skip is None else y + v * skip[..., None]
    y = _activation(y.reshape(len(u), -1, length) if several else y, activation)
    return y if post_gate is None else y * post_gate


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "activation": _activation, "batch_norm": _batch_norm, "fft_conv": _fft_conv, "group_norm": _group_norm,
    "layer_norm": _layer_norm, "linear": _linear, "softmax": _softmax,
}  # fmt: skip
_POOLS: dict[str, Callable[..., Any]] = {
    "adaptive_avg_pool": _adaptive_avg_pool, "avg_pool": _avg_pool, "max_pool": _max_pool, "resize": _resize,
}  # fmt: skip


@contextmanager
def _operations_of_torch() -> Iterator[None]:
    """Within the block, modules and models call PyTorch's operations, also by names that they imported."""
    owners = ((F, _FUNCTIONS), (nn, _POOLS), (arrays, {"convolved": _convolved}))
    ours = {getattr(owner, name): function for owner, names in owners for name, function in names.items()}
    before = [
        (module, name, value)
        for path, module in list(sys.modules.items())
        if path.startswith(("omniconv.nn", "omniconv.models"))
        for name, value in list(vars(module).items())
        if isinstance(value, FunctionType) and value in ours
    ]
    try:
        for module, name, function in before:
            setattr(module, name, ours[function])
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def torch_twin(model: Any, *inputs: np.ndarray) -> Any:
    """A ``torch.export.ExportedProgram`` of the model for inputs of these shapes; ``.module()`` runs it.

    The model's arrays are NumPy's, and stay so.
    """
    import torch

    class Twin(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places = {}
            for name, array in model.state_dict().items():
                self.places[name] = place = name.replace(".", "__")
                self.register_buffer(place, torch.tensor(np.asarray(array)))

        def forward(self, *x: Any) -> Any:
            state = {name: getattr(self, place) for name, place in self.places.items()}
            return model.apply(state, *x)

    with _operations_of_torch(), torch.no_grad():
        twin = Twin().eval()
        return torch.export.export(twin, tuple(torch.from_numpy(x) for x in inputs), strict=False)
