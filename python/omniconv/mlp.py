"""Two pointwise products and what surrounds them in one pass: the MLP, the ConvNeXt block, the ConvFirst block.

    y = scale2 * (w2 h) + bias2 + residual,   h = activation(scale1 * (w1 norm(f(x))) + bias1)

at every pixel; f is a convolution or nothing, norm a layer norm over channels or nothing. The wide tensor h is never
written to memory. Source of the idea: A. Lavin, "On the Efficiency of Convolutional Neural Networks", arXiv:2404.03617.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniconv import _core
from omniconv.array import check_out, describe, empty, export, finish
from omniconv.conv import PackedPlan
from omniconv.conv_spec import shape_of, spec_of

__all__ = ["MlpPlan", "plan_mlp"]


class MlpPlan(PackedPlan):
    """A block with its weights packed: ``plan(x)`` runs it. Immutable and safe to call from several threads.

    Made by `omniconv.plan_mlp`.
    """

    def __init__(self, plan: _core.MlpPlan) -> None:
        self._plan = plan
        self._shape = tuple(plan.output_shape)

    def __call__(self, x: Any, *, residual: Any = None, out: Any = None) -> Any:
        """The block at x, an array on the CPU of the shape and dtype that the plan was made for.

        Parameters
        ----------
        x : array
            [N, C] or [N, C, *spatial], channels adjacent in memory (NHWC), as those of residual and out.
        residual : array, optional
            Added to the result, of its shape.
        out : array, optional
            Written to and returned; must not overlap an input.

        Returns
        -------
        array
            [N, channels, *spatial] of the kind of x, channels adjacent.
        """
        if out is not None:
            check_out(out)
        like = describe(x, "x")
        result = empty(like, self._shape, True) if out is None else out
        self._plan.run(
            export(x, "x"), None if residual is None else export(residual, "residual"), export(result, "out")
        )
        return out if out is not None else finish(like, result)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """[N, channels, *spatial]."""
        return self._shape


def plan_mlp(
    x_shape: Sequence[int],
    w1: Any,
    w2: Any,
    *,
    bias1: Any = None,
    bias2: Any = None,
    scale1: Any = None,
    scale2: Any = None,
    activation: str = "gelu",
    negative_slope: float = 0.01,
    norm: bool = False,
    norm_weight: Any = None,
    norm_bias: Any = None,
    eps: float = 1e-6,
    conv_weight: Any = None,
    conv_bias: Any = None,
    conv_scale: Any = None,
    **conv_options: Any,
) -> MlpPlan:
    """Plan ``scale2 * (w2 activation(scale1 * (w1 norm(f(x))) + bias1)) + bias2 + residual`` at every pixel of x.

    Results are those of the operations one by one, bit for bit where their convolution is by `direct`, `im2win`,
    `planar` or `depthwise`; they depend on neither threads nor batch.

    Parameters
    ----------
    x_shape : sequence of int
        [N, C] or [N, C, *spatial].
    w1, w2 : array, float32 or float64
        [hidden, C of f(x)] and [channels, hidden]; all weights are packed and copied now.
    bias1, scale1, bias2, scale2 : array, optional
        [hidden], [channels].
    activation : str
        As in `omniconv.conv`; "none" for none.
    norm : bool
        Layer norm over the channels, with `eps` beside the variance, times norm_weight [C] plus norm_bias [C] where
        they are given.
    conv_weight : array, optional
        [C of f(x), C / groups, kh, kw]: f is ``conv_scale * convolution + conv_bias``.
    **conv_options
        stride, padding (with zeros), dilation, groups of f, as in `omniconv.conv2d`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        Naming the argument, what was found and what is allowed.
    """
    x, conv = shape_of(x_shape, "x_shape"), None
    if conv_weight is not None:
        w = describe(conv_weight, "conv_weight")
        if len(w.shape) != 4 or len(x) != 4:
            raise ValueError(f"conv_weight has shape {w.shape} and x_shape is {x}; expected are four sizes each")
        conv = spec_of("forward", w.dtype, x, w.shape, channels_last=True, **conv_options).desc()
    elif conv_options:
        raise TypeError(f"{', '.join(conv_options)}: options of a convolution; conv_weight is not given")
    arrays = {
        "w1": w1, "w2": w2, "bias1": bias1, "bias2": bias2, "scale1": scale1, "scale2": scale2,
        "conv_weight": conv_weight, "conv_bias": conv_bias, "conv_scale": conv_scale, "norm_weight": norm_weight,
        "norm_bias": norm_bias,
    }  # fmt: skip
    for name, array in arrays.items():
        if array is not None or name in ("w1", "w2"):
            describe(array, name)
            arrays[name] = export(array, name)
    return MlpPlan(
        _core.MlpPlan(
            x_shape=x, conv=conv, norm=norm, eps=eps, activation=activation, negative_slope=negative_slope, **arrays
        )
    )
