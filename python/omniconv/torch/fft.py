"""Long convolutions as PyTorch ops, and modules with published call signatures.

Two ops: ``fft_conv`` and ``fft_conv_grad``, the gradients of all its arrays in one call, which shares the recomputed
activations and the transforms. Derivatives are of first order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from omniconv import fft as _fft
from omniconv.torch.library import dtype_of, host, register

__all__ = ["FlashDepthWiseConv1d", "FlashFFTConv", "fft_conv"]

_ARRAYS = "Tensor u, Tensor k, Tensor? pre_gate, Tensor? post_gate, Tensor? skip, Tensor? bias, Tensor? k_rev"
_HOW = "str mode, str? activation, float negative_slope, bool per_sample, str layout, str algorithm"
_NAMES = ("u", "k", "pre_gate", "post_gate", "skip", "bias", "k_rev")


def _options(how: tuple) -> dict[str, Any]:
    names = ("mode", "activation", "negative_slope", "per_sample", "layout", "algorithm")
    return dict(zip(names, how, strict=True))


def _hosts(arrays: tuple) -> list[Any]:
    for name, array in zip(_NAMES, arrays, strict=True):
        if array is not None:
            dtype_of(array, name)
    return [None if a is None else host(a) for a in arrays]


def _conv_cpu(*args: Any) -> Tensor:
    u, k, *rest = _hosts(args[:7])
    y = _fft.fft_conv(u, k, **dict(zip(_NAMES[2:], rest, strict=True)), **_options(args[7:]))
    return torch.from_numpy(y)


def _conv_fake(*args: Any) -> Tensor:
    u, k = args[:2]
    how = _options(args[7:])
    time = 1 if how["layout"] == "BLH" else 2
    length, taps = u.shape[time], k.shape[-1]
    outputs = {"full": length + taps - 1, "valid": length - taps + 1}.get(how["mode"], length)
    rows = (outputs, u.shape[2]) if time == 1 else (u.shape[1], outputs)
    return u.new_empty((u.shape[0], *(k.shape[:1] if k.dim() == 3 and not how["per_sample"] else ()), *rows))


def _conv_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:7])
    ctx.how = inputs[7:]


def _conv_backward(ctx: Any, grad: Tensor) -> tuple:
    wanted = [bool(n) for n in ctx.needs_input_grad[:7]]
    grads = iter(_grad(grad, *ctx.saved_tensors, *ctx.how, wanted))
    return (*(next(grads) if n else None for n in wanted), *(None for _ in ctx.how))


def _grad_cpu(grad: Tensor, *args: Any) -> list[Tensor]:
    u, k, *rest = _hosts(args[:7])
    wanted = args[-1]
    found = _fft.fft_conv_grad(
        host(grad), u, k, **dict(zip(_NAMES[2:], rest, strict=True)), **_options(args[7:-1]),
        wrt=tuple(n for n, w in zip(_NAMES, wanted, strict=True) if w),
    )  # fmt: skip
    return [torch.from_numpy(getattr(found, n)) for n, w in zip(_NAMES, wanted, strict=True) if w]


def _grad_fake(grad: Tensor, *args: Any) -> list[Tensor]:
    return [a.new_empty(a.shape) for a, w in zip(args[:7], args[-1], strict=True) if w]


def _no_setup(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    pass


def _no_backward(ctx: Any, grads: list[Tensor]) -> tuple:
    raise NotImplementedError("fft_conv has derivatives of first order; those of its gradients are not implemented")


_conv = register(
    "fft_conv", f"({_ARRAYS}, {_HOW}) -> Tensor",
    cpu=_conv_cpu, fake=_conv_fake, setup_context=_conv_setup, backward=_conv_backward,
)  # fmt: skip
_grad = register(
    "fft_conv_grad", f"(Tensor grad, {_ARRAYS}, {_HOW}, bool[] wanted) -> Tensor[]",
    cpu=_grad_cpu, fake=_grad_fake, setup_context=_no_setup, backward=_no_backward,
)  # fmt: skip


def fft_conv(
    u: Tensor,
    k: Tensor | _fft.KernelSpectrum,
    *,
    mode: str = "causal",
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    skip: Tensor | None = None,
    bias: Tensor | None = None,
    activation: str | None = None,
    k_rev: Tensor | None = None,
    per_sample: bool = False,
    layout: str = "BHL",
    algorithm: str = "auto",
    negative_slope: float = 0.01,
) -> Tensor:
    """`omniconv.fft_conv` with gradients for every tensor; see there for shapes and errors.

    Tensors are float32 or float64, on the CPU; under autocast narrower ones are widened. A KernelSpectrum serves
    inference: an error where a tensor requires grad and gradients are recorded.
    """
    arrays = (u, k, pre_gate, post_gate, skip, bias, k_rev)
    for name, value in zip(_NAMES, arrays, strict=True):
        if value is not None and not isinstance(value, Tensor) and not (
            name == "k" and isinstance(value, _fft.KernelSpectrum)
        ):  # fmt: skip
            raise TypeError(f"{name} is a {type(value).__name__}; expected is a torch.Tensor")
    if isinstance(k, _fft.KernelSpectrum):
        return _fft.fft_conv(
            u, k, mode=mode, pre_gate=pre_gate, post_gate=post_gate, skip=skip, bias=bias, activation=activation,
            k_rev=k_rev, layout=layout, negative_slope=negative_slope,
        )  # fmt: skip
    return _conv(*arrays, mode, activation, negative_slope, per_sample, layout, algorithm)


class FlashFFTConv(nn.Module):
    """A long convolution with the call of the module of that name: ``conv(u, k, pregate=None, postgate=None)``.

    ``y = postgate * irfft(rfft(pregate * u, seqlen) * rfft(k, seqlen))[..., :L]`` for u [B, H, L], k [H, K] with L and
    K up to `seqlen`, any of the three lengths. It is causal where L + K - 1 <= seqlen. Inputs of `dtype` other than
    float32 and float64 are widened to float32 and the result is narrowed. For migrating; new code calls `fft_conv`.
    """

    def __init__(self, seqlen: int, dtype: torch.dtype = torch.float16, use_32_butterfly: bool = True) -> None:
        super().__init__()
        if seqlen < 1:
            raise ValueError(f"seqlen is {seqlen}; it must be at least 1")
        self.seqlen, self.dtype = seqlen, dtype

    def forward(self, u: Tensor, k: Tensor, pregate: Tensor | None = None, postgate: Tensor | None = None) -> Tensor:
        """[B, H, L], of the dtype of u."""
        length = u.shape[-1]
        if length > self.seqlen or k.shape[-1] > self.seqlen:
            raise ValueError(f"u of length {length} or k of length {k.shape[-1]} is longer than seqlen {self.seqlen}")
        wide = torch.float64 if u.dtype == torch.float64 else torch.float32
        v, pre, post = (None if a is None else a.to(wide) for a in (u, pregate, postgate))
        k = k.to(wide)
        if length + k.shape[-1] - 1 <= self.seqlen:
            return fft_conv(v, k, pre_gate=pre, post_gate=post).to(u.dtype)
        v = nn.functional.pad(v if pre is None else v * pre, (0, self.seqlen - length))
        y = fft_conv(v, k, mode="circular")[..., :length]
        return (y if post is None else y * post).to(u.dtype)


class FlashDepthWiseConv1d(nn.Module):
    """A depthwise convolution with the constructor of the module of that name.

    A cross-correlation, as in ``torch.nn.Conv1d(channels, channels, kernel_size, padding=padding, groups=channels)``:
    u [B, H, L] (``is_bhl``) or [B, L, H] to L + 2 padding - K + 1 outputs. `weights` is [H, 1, K], [H, K], or where
    not ``is_bhl`` [K, H]. For migrating.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        padding: int,
        weights: Tensor,
        bias: Tensor,
        is_bhl: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if weights.dim() == 3:
            weights = weights.squeeze(1)
        expected = (channels, kernel_size) if is_bhl else (kernel_size, channels)
        if weights.shape != expected:
            raise ValueError(f"weights has shape {tuple(weights.shape)}; expected is {expected}")
        if not 0 <= padding < kernel_size:
            raise ValueError(f"padding is {padding}; allowed are 0 to kernel_size - 1, {kernel_size - 1}")
        self.padding, self.is_bhl = padding, is_bhl
        self.weights, self.bias = (nn.Parameter(t.detach().clone().to(device, dtype)) for t in (weights, bias))

    def forward(self, input: Tensor) -> Tensor:
        """The convolved input, of its dtype and in its layout."""
        wide = torch.float64 if input.dtype == torch.float64 else torch.float32
        k = (self.weights if self.is_bhl else self.weights.t()).flip(-1).to(wide)
        y = fft_conv(input.to(wide), k, mode="full", bias=self.bias.to(wide), layout="BHL" if self.is_bhl else "BLH")
        time = 2 if self.is_bhl else 1
        first = k.shape[-1] - 1 - self.padding
        return y.narrow(time, first, input.shape[time] + 2 * self.padding - k.shape[-1] + 1).to(input.dtype)
