"""Convolution modules with the arguments and the state of PyTorch's own, and `replace`, which swaps them in.

Each class is torch's with another forward: no attribute, parameter or hook differs, so a module may change from one
class to the other at any time, and so may a checkpoint.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from omniconv import _core
from omniconv.array import said
from omniconv.conv_spec import PRECISIONS
from omniconv.torch import ops

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "replace"]


class Conv1d(nn.Conv1d):
    """``torch.nn.Conv1d`` by omniconv; every padding_mode is part of the kernel instead of a pass of its own."""

    precision = "highest"  #: of the result and the gradients, see `omniconv.conv`

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return ops.conv1d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups, padding_mode=self.padding_mode,
            precision=self.precision,
        )  # fmt: skip


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d`` by omniconv; every padding_mode is part of the kernel instead of a pass of its own."""

    precision = "highest"  #: of the result and the gradients, see `omniconv.conv`

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return ops.conv2d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups, padding_mode=self.padding_mode,
            precision=self.precision,
        )  # fmt: skip


class Conv3d(nn.Conv3d):
    """``torch.nn.Conv3d`` by omniconv; every padding_mode is part of the kernel instead of a pass of its own."""

    precision = "highest"  #: of the result and the gradients, see `omniconv.conv`

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return ops.conv3d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups, padding_mode=self.padding_mode,
            precision=self.precision,
        )  # fmt: skip


class ConvTranspose1d(nn.ConvTranspose1d):
    """``torch.nn.ConvTranspose1d`` by omniconv."""

    precision = "highest"  #: of the result and the gradients, see `omniconv.conv`

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[N, Ci, L] or [Ci, L] to [N, Co, L'] or [Co, L']; `output_size` chooses among the lengths possible."""
        extra = _output_padding(self, input, output_size, 1)
        return ops.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation,
            precision=self.precision,
        )  # fmt: skip


class ConvTranspose2d(nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d`` by omniconv."""

    precision = "highest"  #: of the result and the gradients, see `omniconv.conv`

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[N, Ci, H, W] or [Ci, H, W] to as many axes; `output_size` chooses among the sizes possible."""
        extra = _output_padding(self, input, output_size, 2)
        return ops.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation,
            precision=self.precision,
        )  # fmt: skip


class ConvTranspose3d(nn.ConvTranspose3d):
    """``torch.nn.ConvTranspose3d`` by omniconv."""

    precision = "highest"  #: of the result and the gradients, see `omniconv.conv`

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[N, Ci, D, H, W] or [Ci, D, H, W] to as many axes; `output_size` chooses among the sizes possible."""
        extra = _output_padding(self, input, output_size, 3)
        return ops.conv_transpose3d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation,
            precision=self.precision,
        )  # fmt: skip


def _output_padding(module: nn.Module, input: Tensor, output_size: list[int] | None, spatial: int) -> list[int]:
    return module._output_padding(
        input, output_size, module.stride, module.padding, module.kernel_size, spatial, module.dilation
    )


_OURS = {c.__mro__[1]: c for c in (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)}


def _reason(module: nn.Module) -> str:
    """Why a convolution of torch's is left as it is; empty when it can be replaced."""
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return "is lazy: its parameters do not exist before the first call"
    if type(module) not in _OURS:
        return f"is a {type(module).__name__}, a class of its own, whose forward may differ"
    if "forward" in vars(module) or "_conv_forward" in vars(module):
        return "has a forward of its own"
    weight = module.weight
    if weight.dtype not in (torch.float32, torch.float64):
        return f"has dtype {weight.dtype}; supported are torch.float32 and torch.float64"
    if weight.device.type == "cuda":
        reason = _core.cuda_report()[1]
        return reason and f"is on device {weight.device}: {reason}"
    if weight.device.type not in ("cpu", "meta"):
        return f"is on device {weight.device}; supported are the CPU and CUDA"
    return ""


def replace(
    model: nn.Module, *, inplace: bool = True, skipped: dict[str, str] | None = None, precision: str = "highest"
) -> nn.Module:
    """Let omniconv compute the convolutions of a model: torch's Conv1d ... ConvTranspose3d become ours.

    Parameters, buffers, hooks, training mode and references to the modules stay what they are: only the class of each
    module changes, so an optimiser made before goes on working.

    Parameters
    ----------
    model : torch.nn.Module
        May be a convolution itself.
    inplace : bool
        False changes a copy of the modules and leaves `model` alone; the copy shares its parameters and buffers.
    skipped : dict, optional
        Gets, under the name of each convolution left as it is, the reason: lazy modules, subclasses, other dtypes
        and devices.
    precision : "highest", "high", "medium" or "dfp16"
        Becomes the attribute `precision` of the modules replaced. With "dfp16" a model trains with integer
        convolutions in both directions, while its parameters, and all that is not convolution, stay float32.

    Returns
    -------
    torch.nn.Module
        `model`, or the copy.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {said(precision)}; allowed are {', '.join(map(repr, PRECISIONS))}")
    if not inplace:
        shared = [*model.parameters(), *model.buffers()]
        model = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    for name, module in model.named_modules():
        if not isinstance(module, nn.modules.conv._ConvNd) or isinstance(module, tuple(_OURS.values())):
            continue
        reason = _reason(module)
        if not reason:
            module.__class__ = _OURS[type(module)]
            module.precision = precision
        elif skipped is not None:
            skipped[name] = reason
    return model
