"""Convolution, pooling and norms of images of which some cells are hidden, as masked image modelling needs them.

`block_mask` cuts images into cells of one size, in every resolution: True, or not 0, for a cell that is seen. What is
hidden counts as zero, and results are zero there. Source: K. Tian et al., "Designing BERT for convolutional networks:
sparse and hierarchical masked modeling" (2023), who compute densely and mask afterwards; the values are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import _core
from omniconv.array import Described, check_out, describe, empty, export, finish, np, permuted, said
from omniconv.conv import channel_values
from omniconv.conv_spec import (
    W_ORDER,
    X_ORDER,
    Ints,
    Padding,
    Spec,
    check_rank,
    layout_is_last,
    per_axis,
    shape_of,
    spec_of,
)

__all__ = [
    "MaskedConvPlan", "masked_conv2d", "masked_conv2d_grad_input", "masked_conv2d_grad_weight", "plan_masked_conv2d",
]  # fmt: skip


def cells_of(block_mask: Any, batch: int) -> np.ndarray:
    """uint8 [N, rows, columns] of a mask [N, rows, columns] or [N, 1, rows, columns] of any kind."""
    mask = block_mask.detach().cpu() if hasattr(block_mask, "detach") else block_mask
    cells = np.asarray(mask)
    if cells.dtype.kind not in "biuf":
        raise TypeError(f"block_mask is {said(block_mask)}; expected are booleans or numbers")
    if cells.ndim == 4 and cells.shape[1] == 1:
        cells = cells[:, 0]
    if cells.ndim != 3 or len(cells) != batch or 0 in cells.shape[1:]:
        raise ValueError(f"block_mask has shape {np.shape(mask)}; expected is ({batch}, rows, columns)")
    return np.ascontiguousarray(cells != 0).view(np.uint8)


def _first(shape: Sequence[int], last: bool) -> tuple[int, ...]:
    return (shape[0], shape[3], shape[1], shape[2]) if last else tuple(shape)


def _operands(a: Any, a_name: str, b: Any, b_name: str, layout: str | None) -> tuple[Described, Described, bool]:
    like, other = describe(a, a_name), describe(b, b_name)
    check_rank(like.shape, 2, a_name, X_ORDER)
    check_rank(other.shape, 2, b_name, W_ORDER if b_name == "weight" else X_ORDER)
    if other.dtype != like.dtype:
        raise TypeError(f"{b_name} has dtype {other.dtype} and {a_name} has {like.dtype}; they must be the same")
    return like, other, layout_is_last(layout)


def _image(like: Described, shape: tuple[int, ...], last: bool, out: Any) -> Any:
    if out is not None:
        check_out(out)
        return out
    made = empty(like, shape, like.result_last or last)
    return permuted(made) if last else made


def masked_conv2d(
    x: Any,
    weight: Any,
    block_mask: Any,
    bias: Any = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    scale: Any = None,
    residual: Any = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    padding_mode: str = "zeros",
    precision: str = "highest",
    layout: str | None = None,
    out: Any = None,
) -> Any:
    """``mask * activation(scale * conv2d(mask * x, weight) + bias + residual)``, for the price of what is seen.

    Parameters
    ----------
    x : array [N, Ci, H, W], float32 or float64
    weight : array [Co, Ci / groups, kh, kw]
    block_mask : array [N, rows, columns] or [N, 1, rows, columns]
        rows divides the height of x and of the result, columns their widths.
    bias, stride, padding, dilation, groups, scale, residual, activation, negative_slope, padding_mode, precision,
    layout, out
        As in `omniconv.conv2d`.

    Returns
    -------
    array [N, Co, H', W']
        Of the kind, dtype and memory layout of x. Its bits depend neither on that layout nor on what else is seen.

    Notes
    -----
    Hidden cells are skipped in float32 with borders of zeros; float64 and other borders are computed densely.
    """
    like, w, last = _operands(x, "x", weight, "weight", layout)
    cells = cells_of(block_mask, like.shape[0])
    spec = spec_of(
        "forward", like.dtype, _first(like.shape, last), w.shape, stride=stride, padding=padding, dilation=dilation,
        groups=groups, activation=activation, negative_slope=negative_slope, padding_mode=padding_mode,
        precision=precision, channels_last=last or like.channels_last, device=like.device,
    )  # fmt: skip
    desc = spec.desc()
    result = _image(like, tuple(_core.conv_output_shape(desc)), last, out)
    small = (None if v is None else export(v, n) for v, n in ((bias, "bias"), (scale, "scale"), (residual, "residual")))
    _core.masked_conv(desc, cells, export(x, "x"), export(weight, "weight"), export(result, "out"), *small, last)
    return result if out is not None else finish(like, result)


def masked_conv2d_grad_input(
    grad: Any, weight: Any, block_mask: Any, input_shape: Sequence[int], *, stride: Ints = 1, padding: Padding = 0,
    dilation: Ints = 1, groups: int = 1, padding_mode: str = "zeros", precision: str = "highest",
    layout: str | None = None, out: Any = None,
) -> Any:  # fmt: skip
    """Gradient of sum(grad * masked_conv2d(x, weight, block_mask)) by x, an array of `input_shape`."""
    like, w, last = _operands(grad, "grad", weight, "weight", layout)
    shape = shape_of(input_shape, "input_shape")
    check_rank(shape, 2, "input_shape", X_ORDER)
    shape = _first(shape, last)
    cells = cells_of(block_mask, shape[0])
    desc = spec_of(
        "grad_input", like.dtype, shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups,
        padding_mode=padding_mode, precision=precision, channels_last=last or like.channels_last, device=like.device,
    ).desc()  # fmt: skip
    result = _image(like, shape, last, out)
    operands = export(grad, "grad"), export(weight, "weight"), export(result, "out")
    _core.masked_conv(desc, cells, *operands, None, None, None, last)
    return result if out is not None else finish(like, result)


def masked_conv2d_grad_weight(
    grad: Any, x: Any, block_mask: Any, weight_shape: Sequence[int], *, stride: Ints = 1, padding: Padding = 0,
    dilation: Ints = 1, groups: int = 1, padding_mode: str = "zeros", precision: str = "highest",
    layout: str | None = None,
) -> Any:  # fmt: skip
    """Gradient of sum(grad * masked_conv2d(x, weight, block_mask)) by weight, of `weight_shape`."""
    like, images, last = _operands(grad, "grad", x, "x", layout)
    shape = shape_of(weight_shape, "weight_shape")
    check_rank(shape, 2, "weight_shape", W_ORDER)
    cells = cells_of(block_mask, images.shape[0])
    desc = spec_of(
        "grad_weight", like.dtype, _first(images.shape, last), shape, stride=stride, padding=padding,
        dilation=dilation, groups=groups, padding_mode=padding_mode, precision=precision,
        channels_last=last or images.channels_last, device=like.device,
    ).desc()  # fmt: skip
    result = empty(like, shape, False)
    _core.masked_conv(desc, cells, export(grad, "grad"), export(x, "x"), export(result, "out"), None, None, None, last)
    return finish(like, result)


class MaskedConvPlan:
    """A masked convolution with its algorithm chosen and its weights packed: ``plan(x, block_mask)`` runs it.

    Immutable and safe to call from several threads. Made by `plan_masked_conv2d`.
    """

    def __init__(self, spec: Spec, weight: Any, grid: tuple[int, int], bias: Any, scale: Any, last: bool) -> None:
        self._spec, self._last = spec, last
        self._bias, self._scale = (channel_values(v, n, spec) for v, n in ((bias, "bias"), (scale, "scale")))
        self._plan = _core.MaskedConvPlan(spec.desc(), *grid, export(weight, "weight"))

    def __call__(self, x: Any, block_mask: Any, *, residual: Any = None, out: Any = None) -> Any:
        """Convolve x, of the shape the plan was made for, where the mask lets it be seen; see `masked_conv2d`."""
        like = describe(x, "x")
        shape = _first(like.shape, self._last)
        if shape != self._spec.x_shape:
            raise ValueError(f"x has shape {shape}; expected is {self._spec.x_shape}, in the order N, C, H, W")
        result = _image(like, tuple(self._plan.output_shape), self._last, out)
        residual = None if residual is None else export(residual, "residual")
        operands = export(x, "x"), export(result, "out"), self._bias, self._scale, residual
        self._plan.run(cells_of(block_mask, shape[0]), *operands, self._last)
        return result if out is not None else finish(like, result)

    @property
    def algorithm(self) -> str:
        """What runs: "masked_depthwise", "dense", or "blocks, " and the dense algorithm that they take."""
        return self._plan.algorithm

    def __repr__(self) -> str:
        return f"<omniconv.sparse.MaskedConvPlan {self.algorithm} x {self._spec.x_shape} weight {self._spec.w_shape}>"


def plan_masked_conv2d(
    x_shape: Sequence[int],
    weight: Any,
    grid: Ints,
    bias: Any = None,
    *,
    scale: Any = None,
    layout: str | None = None,
    channels_last: bool = False,
    **options: Any,
) -> MaskedConvPlan:
    """Plan a masked convolution: the algorithm is chosen for weights that stay, and they are packed once.

    Parameters
    ----------
    x_shape : sequence of int
        Shape of the x to come, in the order that `layout` says.
    weight, bias, scale : array
        As in `masked_conv2d`; they are packed and copied now, later changes to the arrays are not seen.
    grid : int or (rows, columns)
        Cells of the masks to come.
    channels_last : bool
        Whether the x to come has its channels innermost in memory although its shape is [N, C, H, W].
    **options
        stride, padding, dilation, groups, activation, negative_slope, padding_mode, precision.
    """
    w, last, shape = describe(weight, "weight"), layout_is_last(layout), shape_of(x_shape, "x_shape")
    check_rank(shape, 2, "x_shape", X_ORDER)
    check_rank(w.shape, 2, "weight", W_ORDER)
    cells = per_axis(grid, "grid", 2, 1)
    spec = spec_of(
        "forward", w.dtype, _first(shape, last), w.shape, channels_last=last or channels_last, device=w.device,
        **options,
    )  # fmt: skip
    return MaskedConvPlan(spec, weight, cells, bias, scale, last)
