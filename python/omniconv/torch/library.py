"""The library ``torch.ops.omniconv``, and what every op needs to join it.

An op is a schema and four functions: the kernel for the CPU and CUDA, the fake (shape, dtype and strides of the result,
symbolic sizes included), and the two halves of its derivative. Backward formulas call ops of this library alone: the
compiler can then trace them, and differentiate them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from omniconv.device import handed_over

__all__ = ["dtype_of", "empty", "host", "register"]

# define and impl on one library object, not the custom_op decorator: that one adds microseconds to every call.
_LIBRARY = torch.library.Library("omniconv", "DEF")
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


def register(
    name: str,
    schema: str,
    *,
    cpu: Callable[..., Any],
    fake: Callable[..., Any],
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
    cuda: bool = False,
) -> torch._ops.OpOverload:
    """Define ``omniconv::name`` and return the callable op. `schema` is the text after the name.

    `cuda`: the kernel takes tensors on a GPU as well.
    """
    _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, cpu, "CPU")
    if cuda:
        _LIBRARY.impl(name, cpu, "CUDA")
    op = getattr(torch.ops.omniconv, name).default
    torch.library.register_fake(op, fake, lib=_LIBRARY)
    torch.library.register_autograd(op, backward, setup_context=setup_context, lib=_LIBRARY)
    # Under autocast the half-precision results of neighbouring layers are widened: the kernels take no halves.
    torch.library.register_autocast(op, "cpu", torch.float32, lib=_LIBRARY)
    if cuda:
        torch.library.register_autocast(op, "cuda", torch.float32, lib=_LIBRARY)
    return op


def dtype_of(tensor: torch.Tensor, argument: str) -> str:
    """``"float32"`` or ``"float64"``; TypeError for any other dtype."""
    name = _DTYPES.get(tensor.dtype)
    if name is None:
        raise TypeError(f"{argument} has dtype {tensor.dtype}; supported are {' and '.join(map(str, _DTYPES))}")
    return name


def host(tensor: torch.Tensor) -> Any:
    """The memory of a CPU tensor as NumPy sees it: a third of the time that a DLPack capsule takes.

    Of a CUDA tensor, what the bindings take.
    """
    if tensor.is_cuda:
        return handed_over("torch", tensor.detach(), f"cuda:{tensor.device.index}")
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


def empty(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A result [N, C, *spatial] in the memory format of `like`; kernel and fake both make theirs here.

    As in PyTorch, channels_last is a format of two or three spatial axes: one-dimensional results are contiguous.
    """
    memory_format = torch.contiguous_format
    # A pixel's channels are adjacent, and the next pixel lies behind all of them.
    if like.dim() > 3 and like.stride(1) == 1 and like.stride(-1) >= like.shape[1]:
        memory_format = torch.channels_last if like.dim() == 4 else torch.channels_last_3d
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)
