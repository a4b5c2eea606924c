"""Layers: modules of one operation, with the parameter names of ``torch.nn``."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from array_api_compat import array_namespace

import omniconv
from omniconv.memory import reused
from omniconv.nn import functional as F
from omniconv.nn.arrays import by_numpy, pair
from omniconv.nn.masked import masked_conv2d
from omniconv.nn.module import Identity, Module, Parameter
from omniconv.nn.summary import note, watched

__all__ = [
    "BatchNorm", "Conv", "Conv1d", "Conv2d", "ConvTranspose2d", "Embedding", "GroupNorm", "LayerNorm", "Linear",
    "fold_norm", "fold_norm_before", "mlp", "one_by_one", "squeeze_excite",
]  # fmt: skip

PLANS = 8  # of one layer: a plan holds a packed copy of the weights for one shape of input


class BatchNorm(Module):
    """Batch normalisation by its running statistics, over axis 1 of any shape: a scale and a shift per channel."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = Parameter(channels, fill=1.0)
        self.bias = Parameter(channels, fill=0.0)
        self.running_mean = Parameter(channels, fill=0.0, trainable=False)
        self.running_var = Parameter(channels, fill=1.0, trainable=False)

    def affine(self) -> tuple[Any, Any]:
        """(scale, shift) that it multiplies and adds."""
        scale = self.weight / array_namespace(self.weight).sqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Any) -> Any:
        """X [N, C, ...], normalised."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class LayerNorm(Module):
    """Layer normalisation along one axis; `axis` 1 is "channels first", at each position of [N, C, H, W]."""

    def __init__(self, channels: int, *, eps: float = 1e-5, axis: int = -1, affine: bool = True) -> None:
        super().__init__()
        self.eps, self.axis = eps, axis
        self.weight = Parameter(channels, fill=1.0) if affine else None
        self.bias = Parameter(channels, fill=0.0) if affine else None

    def forward(self, x: Any) -> Any:
        """x, normalised along the axis."""
        return F.layer_norm(x, self.weight, self.bias, axis=self.axis, eps=self.eps)


class GroupNorm(Module):
    """Group normalisation of [N, C, ...]."""

    def __init__(self, groups: int, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = Parameter(channels, fill=1.0)
        self.bias = Parameter(channels, fill=0.0)

    def forward(self, x: Any) -> Any:
        """x, normalised within each group of each sample."""
        return F.group_norm(x, self.groups, self.weight, self.bias, eps=self.eps)


class Embedding(Module):
    """Rows of a table by integer ids."""

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.weight = Parameter(count, channels)

    def forward(self, ids: Any) -> Any:
        """[..., channels] for ids [...]."""
        return F.embedding(ids, self.weight)


class _Product(Module):
    """A convolution or matrix product, with all that its epilogue can do beside it."""

    def __init__(self) -> None:
        super().__init__()
        self._plans: OrderedDict[Any, Any] = OrderedDict()
        self._latest: tuple[Any, ...] = (None,) * 9  # what `_planned` looks at, and the plan that it found

    def _by_numpy(self, x: Any) -> bool:
        return by_numpy(x) and isinstance(self._parameters["weight"].array, np.ndarray)

    def _epilogue(self, norm: Module | None, gamma: Any) -> tuple[Any, Any]:
        """(scale, bias) of the sums: bias, then a norm, then a factor per channel."""
        scale, bias = None, self.bias
        if isinstance(norm, BatchNorm):
            scale, shift = norm.affine()
            bias = shift if bias is None else bias * scale + shift
        if gamma is not None:
            scale = gamma if scale is None else scale * gamma
            bias = None if bias is None else bias * gamma
        return scale, bias

    def _planned(
        self, x: np.ndarray, norm: Module | None, gamma: Any, activation: str | None, residual: Any,
        layout: str | None, out: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """What the plan for x makes of it: its weights are packed once, and its scale and bias are computed once."""
        revision, level = Parameter.revision, omniconv.isa()
        at, on, shape, strides, dtype, word, normed, factor, plan = self._latest
        if (
            at == revision and shape == x.shape and strides == x.strides and dtype is x.dtype and word == activation
            and normed is norm and factor is gamma and on == level
        ):  # fmt: skip
            return plan.again(x, residual, out)
        sources = [self._parameters["weight"].array, self.bias, gamma]
        if norm is not None:
            sources += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        key = (x.shape, x.strides, x.dtype, level, activation, *map(id, sources))
        found = self._plans.get(key)
        if found is not None:
            latest = revision, level, x.shape, x.strides, x.dtype, activation, norm, gamma, found[0]
            object.__setattr__(self, "_latest", latest)  # no new array: the revision stays
            return found[0].again(x, residual, out)
        scale, bias = self._epilogue(norm, gamma)
        weight = self._as_kernel(sources[0])
        last = layout is None and x.strides[1] == x.itemsize and x.shape[1] > 1
        make = getattr(omniconv, f"plan_conv{weight.ndim - 2}d")
        plan = make(
            x.shape, weight, bias, scale=scale, layout=layout, channels_last=last, activation=activation, **self.options
        )
        y = plan(x, residual=residual, out=out)
        if x.dtype.isnative and not any(s % x.itemsize for s in x.strides):
            self._plans[key] = plan, sources
        while len(self._plans) > PLANS:
            self._plans.popitem(last=False)
        return y

    def _as_kernel(self, weight: np.ndarray) -> np.ndarray:
        """The weights as those of a convolution."""
        return weight

    def __call__(self, x: Any, **epilogue: Any) -> Any:
        y = self.forward(x, **epilogue)
        if not watched():
            return y
        size, bias = math.prod(y.shape), self.bias is not None
        per_output = math.prod(self.weight.shape[1:]) + bias
        note(
            type(self).__name__,
            y,
            size * per_output,
            math.prod(self.weight.shape) + bias * self.weight.shape[0],
            str(id(self)),
            x.shape,
        )
        return y

    def __deepcopy__(self, memo: dict) -> Any:
        raise TypeError("copy a model by create() and load_state_dict()")


class Conv(_Product):
    """A convolution, with the arguments of ``torch.nn.Conv2d``; `kernel` has one number for each spatial axis.

    A call may carry what follows, which then costs no pass over memory of its own:
    ``activation(gamma * norm(conv + bias) + residual)``. Of images, it may tell which cells are `seen`: see
    `masked_conv2d`.
    """

    def __init__(
        self, ci: int, co: int, kernel: tuple[int, ...], stride: Any = 1, padding: Any = 0, *, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
    ) -> None:  # fmt: skip
        super().__init__()
        if ci % groups or co % groups:
            raise ValueError(f"groups is {groups}; it must divide the channels, {ci} and {co}")
        spatial, self.kernel = len(kernel), tuple(kernel)
        self.options = {
            "stride": pair(stride, spatial),
            "padding": padding if isinstance(padding, str) else pair(padding, spatial),
            "dilation": pair(dilation, spatial),
            "groups": groups,
            "padding_mode": padding_mode,
        }
        self.weight = Parameter(co, ci // groups, *kernel)
        self.bias = Parameter(co, fill=0.0) if bias else None

    def forward(
        self, x: Any, *, norm: Module | None = None, gamma: Any = None, residual: Any = None,
        activation: str | None = None, seen: Any = None, out: Any = None,
    ) -> Any:  # fmt: skip
        """X [N, Ci, ...] to [N, Co, ...]; written to `out` and returned, if it is given: for NumPy alone."""
        norm = None if isinstance(norm, Identity) else norm
        if seen is not None:
            scale, bias = self._epilogue(norm, gamma)
            epilogue = {"scale": scale, "residual": residual, "activation": activation}
            return masked_conv2d(x, self.weight, seen, bias, **epilogue, **self.options)
        if self._by_numpy(x):
            return self._planned(x, norm, gamma, activation, residual, None, out)
        scale, bias = self._epilogue(norm, gamma)
        return F.conv(x, self.weight, bias, scale=scale, residual=residual, activation=activation, **self.options)


class Conv2d(Conv):
    """A convolution of images, with the arguments of ``torch.nn.Conv2d``."""

    def __init__(self, ci: int, co: int, kernel: Any, stride: Any = 1, padding: Any = 0, **options: Any) -> None:
        super().__init__(ci, co, pair(kernel), stride, padding, **options)


class Conv1d(Conv):
    """A convolution of sequences [N, C, L], with the arguments of ``torch.nn.Conv1d``."""

    def __init__(self, ci: int, co: int, kernel: int, stride: Any = 1, padding: Any = 0, **options: Any) -> None:
        super().__init__(ci, co, pair(kernel, 1), stride, padding, **options)


class ConvTranspose2d(Module):
    """A transposed convolution of images, with the arguments of ``torch.nn.ConvTranspose2d``."""

    def __init__(
        self, ci: int, co: int, kernel: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, *,
        groups: int = 1, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        pairs = {"stride": stride, "padding": padding, "output_padding": output_padding}
        self.options = {name: pair(value) for name, value in pairs.items()} | {"groups": groups}
        self.weight = Parameter(ci, co // groups, *pair(kernel))
        self.bias = Parameter(co, fill=0.0) if bias else None

    def forward(self, x: Any) -> Any:
        """X [N, Ci, H, W] to [N, Co, ...]."""
        y = F.conv_transpose(x, self.weight, self.bias, **self.options)
        bias = self.bias is not None
        macs = math.prod(x.shape) * math.prod(self.weight.shape[1:]) + bias * math.prod(y.shape)
        note("ConvTranspose2d", y, macs, math.prod(self.weight.shape) + bias * y.shape[1], str(id(self)))
        return y


class Linear(_Product):
    """A product with a matrix [Co, Ci], for rows [..., Ci]; see `Conv` for what a call may carry."""

    def __init__(self, ci: int, co: int, *, bias: bool = True) -> None:
        super().__init__()
        self.options: dict[str, Any] = {}
        self.weight = Parameter(co, ci)
        self.bias = Parameter(co, fill=0.0) if bias else None

    def forward(
        self, x: Any, *, norm: Module | None = None, gamma: Any = None, residual: Any = None,
        activation: str | None = None,
    ) -> Any:  # fmt: skip
        """[..., Ci] to [..., Co]."""
        norm = None if isinstance(norm, Identity) else norm
        if not self._by_numpy(x):
            scale, bias = self._epilogue(norm, gamma)
            return F.linear(x, self.weight, bias, scale=scale, residual=residual, activation=activation)
        co, shape = self.weight.shape[0], x.shape[:-1]
        if residual is None and x.ndim == 3 and x.transpose(0, 2, 1).flags.c_contiguous and x.shape[1] > 1:
            # channels by rows in memory: a product in place is quicker than a copy that turns them round
            return self._planned(x.transpose(0, 2, 1), norm, gamma, activation, None, None).transpose(0, 2, 1)
        rows = np.ascontiguousarray(x).reshape(1, math.prod(shape), x.shape[-1])
        if residual is not None:
            residual = np.ascontiguousarray(residual).reshape(1, -1, co)
        return self._planned(rows, norm, gamma, activation, residual, "NLC").reshape(*shape, co)

    def planes(self, x: Any) -> Any:
        """Rows [B, L, Ci] to channels [B, Co, L], each of them contiguous: what convolutions over L read best."""
        if not self._by_numpy(x) or watched():
            return F.permute(self(x), (0, 2, 1))
        out = reused((x.shape[0], self.weight.shape[0], x.shape[1]), x.dtype)
        return self._planned(x.transpose(0, 2, 1), None, None, None, None, None, out)

    def _as_kernel(self, weight: np.ndarray) -> np.ndarray:
        return weight[:, :, None]


def mlp(
    x: Any, first: _Product, second: _Product, *, conv: Conv | None = None, norm: LayerNorm | None = None,
    batch_norms: tuple[Module | None, Module | None, Module | None] = (None, None, None), activation: str = "gelu",
    gamma: Any = None, residual: Any = None,
) -> Any:  # fmt: skip
    """Two pointwise products with an activation between, and what surrounds them, at every pixel of x [N, C, ...].

    ``gamma * second(activation(first(norm(conv(x))))) + residual``: the ConvNeXt block, and with less of it the MLP of
    a transformer. For NumPy's float32 arrays with their channels innermost it is one pass, `omniconv.plan_mlp`, where
    the instruction set in force has no matrix unit, which that pass does not use.

    Parameters
    ----------
    first, second : Linear, or Conv2d of one tap
    conv : Conv2d, optional
        Before the norm.
    norm : LayerNorm, optional
        Over the channels; for `Linear`.
    batch_norms : three of BatchNorm, Identity or None
        Behind conv, first and second.
    """
    norms = [None if isinstance(n, Identity) else n for n in batch_norms]
    if _in_one_pass(x, first, second, conv, residual):
        return _planned_mlp(x, first, second, conv, norm, norms, activation, gamma, residual)
    y = x if conv is None else conv(x, norm=norms[0])
    if isinstance(first, Conv):
        return second(first(y, norm=norms[1], activation=activation), norm=norms[2], gamma=gamma, residual=residual)
    rows = F.channels_last(y)
    rows = first(rows if norm is None else norm(rows), norm=norms[1], activation=activation)
    residual = None if residual is None else F.channels_last(residual)
    return F.channels_first(second(rows, norm=norms[2], gamma=gamma, residual=residual))


def squeeze_excite(x: Any, first: Conv, second: Conv, *, squeeze: str = "relu", excite: str = "sigmoid") -> Any:
    """X [N, C, ...] times ``excite(second(squeeze(first(mean of x))))``: gates of its channels, arXiv:1709.01507.

    first and second are of one tap. For NumPy's float32 arrays with their channels innermost it is one call.
    """
    if not (watched() or _one_by_one.get()) and F.kernels.innermost(x):
        w1, w2 = first.weight, second.weight
        if type(w1) is type(w2) is np.ndarray:
            w1, w2 = w1.reshape(w1.shape[:2]), w2.reshape(w2.shape[:2])
            if (y := F.kernels.squeeze_excite(x, w1, first.bias, squeeze, w2, second.bias, excite)) is not None:
                return y
    gates = second(first(F.global_avg_pool(x, keepdims=True), activation=squeeze), activation=excite)
    return F.multiply(x, gates)


_one_by_one: ContextVar[bool] = ContextVar("omniconv_one_by_one", default=False)


@contextmanager
def one_by_one() -> Iterator[None]:
    """Within it `mlp` runs its operations one after another, to compare with."""
    token = _one_by_one.set(True)
    try:
        yield
    finally:
        _one_by_one.reset(token)


def _in_one_pass(x: Any, first: _Product, second: _Product, conv: Conv | None, residual: Any) -> bool:
    def dense(v: Any) -> bool:
        return F.kernels.innermost(v) and F.channels_last(v).flags.c_contiguous

    weights = [p.weight for p in (first, second, conv) if p is not None]
    return (
        not (watched() or _one_by_one.get())
        and dense(x)
        and (residual is None or dense(residual))
        and all(type(w) is np.ndarray and w.dtype == np.float32 for w in weights)
        and (conv is None or (x.ndim == 4 and conv.options["padding_mode"] == "zeros"))
        and omniconv.isa() != "amx"
    )


def _planned_mlp(
    x: np.ndarray, first: _Product, second: _Product, conv: Conv | None, norm: LayerNorm | None,
    norms: list[Any], activation: str, gamma: Any, residual: Any,
) -> np.ndarray:  # fmt: skip
    parts = [p for p in (conv, norm, first, second, *norms) if p is not None]
    sources = [p.array for part in parts for p in part._parameters.values()] + [gamma]
    key = ("mlp", x.shape, omniconv.isa(), activation, *map(id, sources))
    found = second._plans.get(key)
    if found is None:
        arrays = {"w1": first.weight, "w2": second.weight}
        arrays = {name: w.reshape(w.shape[:2]) for name, w in arrays.items()}
        arrays["scale1"], arrays["bias1"] = first._epilogue(norms[1], None)
        arrays["scale2"], arrays["bias2"] = second._epilogue(norms[2], gamma)
        options: dict[str, Any] = {"activation": activation}
        if conv is not None:
            arrays["conv_weight"] = conv.weight
            arrays["conv_scale"], arrays["conv_bias"] = conv._epilogue(norms[0], None)
            options |= conv.options
        if norm is not None:
            options |= {"norm": True, "eps": norm.eps, "norm_weight": norm.weight, "norm_bias": norm.bias}
        found = second._plans[key] = omniconv.plan_mlp(x.shape, **arrays, **options), sources
        while len(second._plans) > PLANS:
            second._plans.popitem(last=False)
    return found[0](x, residual=residual)


def fold_norm(product: _Product, norm: Module, gamma: Any = None) -> None:
    """Give a product the weights that compute ``gamma * norm(product(x))``."""
    scale, bias = product._epilogue(None if isinstance(norm, Identity) else norm, gamma)
    if scale is None:
        return
    weight = product.weight
    product._parameters["weight"].array = weight * array_namespace(weight).reshape(
        scale, (-1, *(1,) * (weight.ndim - 1))
    )
    if bias is None:
        return
    _set_bias(product, bias)


def _set_bias(product: _Product, bias: Any) -> None:
    if "bias" not in product._parameters:
        product.bias = Parameter(*bias.shape)
    product._parameters["bias"].array = bias


def fold_norm_before(norm: BatchNorm, product: _Product) -> None:
    """Give a product of all channels, without padding, the weights that compute ``product(norm(x))``."""
    scale, shift = norm.affine()
    weight = product.weight
    xp, tail = array_namespace(weight), (1,) * (weight.ndim - 2)
    taps = weight if weight.ndim == 2 else xp.sum(weight, axis=tuple(range(2, weight.ndim)))
    bias = xp.matmul(taps, shift)
    bias = bias if product.bias is None else bias + product.bias
    product._parameters["weight"].array = weight * xp.reshape(scale, (1, -1, *tail))
    _set_bias(product, bias)
