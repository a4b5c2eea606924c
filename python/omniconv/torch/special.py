"""The functions of `omniconv.special` as PyTorch ops, with derivatives of first order in both arguments.

``v`` and ``x`` are float32 or float64 tensors on the CPU of one dtype, or numbers, broadcast against each other;
domain, limits and accuracy are those of `omniconv.special`, that of the derivatives is in docs/special.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from omniconv import special as _special
from omniconv import special_grad
from omniconv.torch.library import dtype_of, host, register

__all__ = ["iv_ratio", "iv_ratioc", "kv_ratio", "log_iv", "log_ive", "log_kv", "log_kve"]


def _value_cpu(function: str, v: Tensor, x: Tensor) -> Tensor:
    dtype_of(v, "v")
    dtype_of(x, "x")
    return torch.from_numpy(np.asarray(getattr(_special, function)(host(v), host(x))))


def _value_fake(function: str, v: Tensor, x: Tensor) -> Tensor:
    return v.new_empty(torch.broadcast_shapes(v.shape, x.shape))


def _setup(ctx: Any, inputs: tuple, output: Any) -> None:
    ctx.function, v, x = inputs
    ctx.save_for_backward(v, x)


def _value_backward(ctx: Any, grad: Tensor) -> tuple:
    v, x = ctx.saved_tensors
    dv, dx = _partials(ctx.function, v, x)
    return (
        None,
        (grad * dv).sum_to_size(v.shape) if ctx.needs_input_grad[1] else None,
        (grad * dx).sum_to_size(x.shape) if ctx.needs_input_grad[2] else None,
    )


def _partials_cpu(function: str, v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    wide = np.broadcast_arrays(host(v), host(x))
    with np.errstate(all="ignore"):  # infinite derivatives at x = 0 are results
        dv, dx = special_grad.partials(function, *wide)
    return torch.from_numpy(np.asarray(dv)), torch.from_numpy(np.asarray(dx))


def _partials_fake(function: str, v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    shape = torch.broadcast_shapes(v.shape, x.shape)
    return v.new_empty(shape), v.new_empty(shape)


def _partials_backward(ctx: Any, *grads: Tensor) -> tuple:
    raise NotImplementedError(f"{ctx.function} has derivatives of first order; higher ones are not implemented")


_value = register(
    "bessel", "(str function, Tensor v, Tensor x) -> Tensor",
    cpu=_value_cpu, fake=_value_fake, setup_context=_setup, backward=_value_backward,
)  # fmt: skip
_partials = register(
    "bessel_partials", "(str function, Tensor v, Tensor x) -> (Tensor, Tensor)",
    cpu=_partials_cpu, fake=_partials_fake, setup_context=_setup, backward=_partials_backward,
)  # fmt: skip


def _call(function: str, v: Tensor | float, x: Tensor | float) -> Tensor:
    given = [a for a in (v, x) if isinstance(a, Tensor)]
    if not given:
        raise TypeError(f"v is a {type(v).__name__} and x is a {type(x).__name__}; expected is a tensor among them")
    v, x = (a if isinstance(a, Tensor) else torch.as_tensor(a, dtype=given[0].dtype) for a in (v, x))
    if v.dtype != x.dtype:
        raise TypeError(f"v is {v.dtype} and x is {x.dtype}; they must be the same")
    return _value(function, v, x)


def log_iv(v: Tensor | float, x: Tensor | float) -> Tensor:
    """Logarithm of I_v(x)."""
    return _call("log_iv", v, x)


def log_kv(v: Tensor | float, x: Tensor | float) -> Tensor:
    """Logarithm of K_v(x)."""
    return _call("log_kv", v, x)


def log_ive(v: Tensor | float, x: Tensor | float) -> Tensor:
    """Logarithm of I_v(x) exp(-x)."""
    return _call("log_ive", v, x)


def log_kve(v: Tensor | float, x: Tensor | float) -> Tensor:
    """Logarithm of K_v(x) exp(x)."""
    return _call("log_kve", v, x)


def iv_ratio(v: Tensor | float, x: Tensor | float) -> Tensor:
    """I_{v+1}(x) / I_v(x)."""
    return _call("iv_ratio", v, x)


def iv_ratioc(v: Tensor | float, x: Tensor | float) -> Tensor:
    """1 - I_{v+1}(x) / I_v(x)."""
    return _call("iv_ratioc", v, x)


def kv_ratio(v: Tensor | float, x: Tensor | float) -> Tensor:
    """K_{v+1}(x) / K_v(x)."""
    return _call("kv_ratio", v, x)
