"""Long convolutions as PyTorch ops, and modules with published call signatures.

Three ops: ``fft_conv``; ``fft_conv_sums``, which also keeps what the activation and the gate were applied to, for a
backward that needs it; and ``fft_conv_grad``, the gradients of all arrays in one call, which shares the transforms.
Derivatives of the gradients are those of `definition`, the same formula by ``torch.fft``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omniconv import fft as _fft
from omniconv.fft2d import conv2d_by_rows
from omniconv.torch.library import dtype_of, host, register

__all__ = ["FlashDepthWiseConv1d", "FlashFFTConv", "fft_conv", "fft_conv2d"]

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


def _sums_cpu(*args: Any) -> tuple[Tensor, Tensor]:
    u, k, *rest = _hosts(args[:7])
    sums = torch.empty_like(_conv_fake(*args), memory_format=torch.contiguous_format)
    y = _fft.fft_conv(u, k, sums=sums.numpy(), **dict(zip(_NAMES[2:], rest, strict=True)), **_options(args[7:]))
    return torch.from_numpy(y), sums


def _sums_fake(*args: Any) -> tuple[Tensor, Tensor]:
    return _conv_fake(*args), _conv_fake(*args)


def _conv_setup(ctx: Any, inputs: tuple, output: Any) -> None:
    sums = output[1] if isinstance(output, tuple) else None
    if sums is not None:
        ctx.mark_non_differentiable(sums)
        ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:7], sums)
    ctx.how = inputs[7:]


def _conv_backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple:
    wanted = [bool(n) for n in ctx.needs_input_grad[:7]]
    nothing = (None for _ in ctx.how)
    if grad is None:
        return (*(None for _ in wanted), *nothing)
    grads = iter(_grad(grad, *ctx.saved_tensors, *ctx.how, wanted))
    return (*(next(grads) if n else None for n in wanted), *nothing)


def _grad_cpu(grad: Tensor, *args: Any) -> list[Tensor]:
    u, k, *rest = _hosts(args[:7])
    sums, wanted = args[7], args[-1]
    found = _fft.fft_conv_grad(
        host(grad), u, k, **dict(zip(_NAMES[2:], rest, strict=True)), **_options(args[8:-1]),
        wrt=tuple(n for n, w in zip(_NAMES, wanted, strict=True) if w), sums=None if sums is None else host(sums),
    )  # fmt: skip
    return [torch.from_numpy(getattr(found, n)) for n, w in zip(_NAMES, wanted, strict=True) if w]


def _grad_fake(grad: Tensor, *args: Any) -> list[Tensor]:
    return [a.new_empty(a.shape) for a, w in zip(args[:7], args[-1], strict=True) if w]


def _grad_setup(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    ctx.save_for_backward(*inputs[:8])
    ctx.how, ctx.wanted = inputs[9:-1], inputs[-1]


def _grad_backward(ctx: Any, grads: list[Tensor | None]) -> tuple:
    """Of sum(grads * gradients), by differentiating `definition` twice."""
    again = torch.is_grad_enabled()
    inputs = ctx.saved_tensors
    with torch.enable_grad():
        if not again:
            inputs = tuple(None if t is None else t.detach().requires_grad_() for t in inputs)
        grad, *arrays = inputs
        y = definition(*arrays, **_options(ctx.how))
        first = torch.autograd.grad(
            y, [a for a, w in zip(arrays, ctx.wanted, strict=True) if w], grad, create_graph=True
        )
        total = sum((a * g).sum() for a, g in zip(first, grads, strict=True) if g is not None)
        needed = [bool(n) and t is not None for n, t in zip(ctx.needs_input_grad[:8], inputs, strict=True)]
        found = iter(
            torch.autograd.grad(
                total, [t for t, n in zip(inputs, needed, strict=True) if n], create_graph=again, allow_unused=True
            )
        )
    return (*(next(found) if n else None for n in needed), None, *(None for _ in ctx.how), None)


_conv = register(
    "fft_conv", f"({_ARRAYS}, {_HOW}) -> Tensor",
    cpu=_conv_cpu, fake=_conv_fake, setup_context=_conv_setup, backward=_conv_backward,
)  # fmt: skip
_conv_sums = register(
    "fft_conv_sums", f"({_ARRAYS}, {_HOW}) -> (Tensor, Tensor)",
    cpu=_sums_cpu, fake=_sums_fake, setup_context=_conv_setup, backward=_conv_backward,
)  # fmt: skip
_grad = register(
    "fft_conv_grad", f"(Tensor grad, {_ARRAYS}, Tensor? sums, {_HOW}, bool[] wanted) -> Tensor[]",
    cpu=_grad_cpu, fake=_grad_fake, setup_context=_grad_setup, backward=_grad_backward,
)  # fmt: skip

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu, "relu6": functional.relu6, "silu": functional.silu, "sigmoid": torch.sigmoid,
    "tanh": torch.tanh, "gelu": functional.gelu, "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "hardswish": functional.hardswish,
}  # fmt: skip


def _rows(v: Tensor, k: Tensor, mode: str, wide: bool) -> Tensor:
    """Rows v convolved with k, by one transform of the next power of two."""
    length, taps = v.shape[-1], k.shape[-1]
    if mode == "circular" and taps > length:
        k = functional.pad(k, (0, -taps % length)).unflatten(-1, (-1, length)).sum(-2)
    size = length if mode == "circular" else 1 << (length + taps - 2).bit_length()
    spectrum = torch.fft.rfft(v, size)
    full = torch.fft.irfft((spectrum[:, None] if wide else spectrum) * torch.fft.rfft(k, size), size)
    first = {"same": taps // 2, "valid": taps - 1}.get(mode, 0)
    count = {"full": length + taps - 1, "valid": length - taps + 1}.get(mode, length)
    return full[..., first : first + count]


def definition(
    u: Tensor, k: Tensor, pre_gate: Tensor | None = None, post_gate: Tensor | None = None, skip: Tensor | None = None,
    bias: Tensor | None = None, k_rev: Tensor | None = None, *, mode: str = "causal", activation: str | None = None,
    negative_slope: float = 0.01, per_sample: bool = False, layout: str = "BHL", algorithm: str = "auto",
) -> Tensor:  # fmt: skip
    """What `fft_conv` computes, in terms of ``torch.fft``: differentiable to any order. `algorithm` is not used."""
    v = u if pre_gate is None else u * pre_gate
    v = v.transpose(1, 2) if layout == "BLH" else v
    wide = k.dim() == 3 and not per_sample
    y = _rows(v, k, mode, wide)
    if k_rev is not None:
        first = {"same": k.shape[-1] // 2, "valid": k.shape[-1] - 1}.get(mode, 0)
        back = _rows(v.flip(-1), k_rev, "circular" if mode == "circular" else "full", wide).flip(-1)
        if mode != "circular":  # output o is the lag 0 of element o, which is k_rev.shape[-1] - 1 + o of the full ones
            back = functional.pad(back, (0, y.shape[-1]))
            first += k_rev.shape[-1] - 1
            back = back[..., first : first + y.shape[-1]]
        y = y + back
    if skip is not None:
        y = y + skip[..., None] * (v[:, None] if wide else v)
    if bias is not None:
        y = y + bias[..., None]
    if activation == "leaky_relu":
        y = functional.leaky_relu(y, negative_slope)
    elif activation not in (None, "none"):
        y = _ACTIVATIONS[activation](y)
    y = y.transpose(-1, -2) if layout == "BLH" else y
    return y if post_gate is None else y * post_gate


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
    frequency_keep: float | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """`omniconv.fft_conv` with gradients for every tensor; see there for shapes and errors.

    Tensors are on the CPU. Where u is float16 or bfloat16, all are widened to float32 and the result is rounded to the
    dtype of u; under autocast the result stays float32. A KernelSpectrum serves
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
            k_rev=k_rev, layout=layout, negative_slope=negative_slope, frequency_keep=frequency_keep,
        )  # fmt: skip
    if u.dtype in (torch.float16, torch.bfloat16):
        arrays = tuple(a.float() if a is not None and a.dtype in (torch.float16, torch.bfloat16) else a for a in arrays)
    if frequency_keep is not None:
        if mode != "causal" or k_rev is not None:
            raise ValueError(f"frequency_keep needs mode 'causal' and no k_rev; mode is {mode!r}")
        from array_api_compat import torch as xp

        banded = _fft.low_passed(xp, arrays[1], u.shape[1 if layout == "BLH" else 2], frequency_keep)
        arrays = (arrays[0], banded[0], *arrays[2:6], banded[1])
    how = (mode, activation, negative_slope, per_sample, layout, algorithm)
    if torch.is_grad_enabled() and (
        activation is not None or (post_gate is not None and post_gate.requires_grad)
    ) and any(a is not None and a.requires_grad for a in arrays):  # fmt: skip
        y = _conv_sums(*arrays, *how)[0]
    else:
        y = _conv(*arrays, *how)
    return y if y.dtype == u.dtype or torch.is_autocast_enabled("cpu") else y.to(u.dtype)


def fft_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, padding: Any = "same", padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Tensor:  # fmt: skip
    """`omniconv.fft_conv2d` with gradients for every array."""
    from array_api_compat import array_namespace

    return conv2d_by_rows(array_namespace(x, weight), fft_conv, x, weight, bias, padding, padding_mode, groups)


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
