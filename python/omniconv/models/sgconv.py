"""SGConv: Li et al., "What Makes Convolutional Models Great on Long Sequence Modeling?", arXiv:2210.09298.

The layer; names are the repository's. The norm that divides the kernel is that of the first call: a checkpoint
holds it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import omniconv
from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import concat, constant, fft_conv, glu, namespace, permute


@register({"sgconv": {}}, paper="arXiv:2210.09298")
class SGConv(Model):
    """A global convolution whose kernel decays over scales, GELU, and a product over channels.

    Parameters
    ----------
    d_model, channels : int
        Channels of the sequences, and kernels of each.
    l_max, kernel_dim : int
        Longest length, and taps of a sub-kernel.
    mode : str
        Holds "cat" or "sum": how the sub-kernels make the kernel; "nearest" instead of linear interpolation;
        "learnable" for a decay that is a parameter.
    decay_min, decay_max : float
        Of the first and the last channel, per scale.
    init_scale : int
        log2 of the factor by which the first sub-kernel is stretched.
    bidirectional : bool
        A second kernel for what is to come.
    transposed : bool
        Sequences are [B, H, L]; else [B, L, H].
    postact : None, "glu", or an activation
        After the product.
    kernel_norm_initialized : bool
        Expect the norm in the checkpoint, instead of computing it at the first call.
    """

    main = "y"
    ignored = (*Model.ignored, r"^kernel_norm_initialized$")

    def __init__(
        self, d_model: int = 128, l_max: int = 1024, kernel_dim: int = 64, channels: int = 1, mode: str = "cat",
        decay_min: float = 2.0, decay_max: float = 2.0, init_scale: int = 0, bidirectional: bool = False,
        transposed: bool = True, postact: str | None = None, kernel_norm_initialized: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode, self.init_scale, self.channels = mode, init_scale, channels
        self.bidirectional, self.transposed, self.postact = bidirectional, transposed, postact
        kernels = channels * (2 if bidirectional else 1)
        self.D = nn.Parameter(channels, d_model)
        decay = np.linspace(decay_min, decay_max, d_model, dtype=np.float64).reshape(1, -1, 1)
        if "learnable" in mode:
            self.decay = nn.Parameter(d_model)
            self.multiplier = nn.Parameter(fill=1.0, trainable=False)
        else:
            self.decay = None
            self.multiplier = nn.Parameter(1, d_model, 1, trainable=False)
            self.multiplier = decay
        self.kernel_norm = nn.Parameter(kernels, d_model, 1, trainable=False) if kernel_norm_initialized else None
        self.found_norm: Any = None
        self.folded: Any = None  # the longest kernels, once `fold` has made them
        scales = 1 + math.ceil(math.log2(l_max / kernel_dim)) - init_scale
        self.kernel_list = nn.ParameterList(nn.Parameter(kernels, d_model, kernel_dim) for _ in range(scales))
        linear = nn.Linear(channels * d_model, d_model * (2 if postact == "glu" else 1))
        self.output_linear = linear if postact is None else nn.ModuleDict({"0": linear})

    def kernel(self, length: int) -> tuple[Any, Any]:
        """The kernels [C, H, length], cut or lengthened with zeros, and the norm [C, H, 1] that divided them."""
        if self.folded is not None:
            longest = self.folded.shape[-1]
            k = self.folded if longest >= length else nn.functional.pad(self.folded, [(0, length - longest)])
            return k[..., :length], self.kernel_norm
        weights = self.kernel_list.arrays()
        xp = namespace(weights[0])
        sums = "sum" in self.mode
        longest = weights[0].shape[-1] * 2 ** (len(weights) - 1 + self.init_scale)
        k, _ = omniconv.sgconv_kernel(
            weights, longest, mode="sum" if sums else "cat", scale=self.init_scale,
            norm=xp.ones_like(weights[0][..., :1]),
            decay=1.0 if self.decay is not None else self.multiplier.reshape(-1),
            interpolation="nearest" if "nearest" in self.mode else "linear",
        )  # fmt: skip
        if self.decay is not None:
            k = k * xp.exp(-self.decay.reshape(-1, 1) * constant(np.log(np.arange(longest) + 1.0), k))
        norm = self.kernel_norm
        if norm is None and self.found_norm is not None:
            norm = constant(self.found_norm, k)
        if norm is None:
            norm = xp.sqrt(xp.sum(k * k, axis=-1, keepdims=True))
            if isinstance(norm, np.ndarray):
                self.found_norm = norm
        k = k[..., :length] if longest >= length else nn.functional.pad(k, [(0, length - longest)])
        return k / norm, norm

    def load_state_dict(self, state: Any, *, strict: bool = True) -> None:
        """See `omniconv.nn.load_state_dict`; a norm of the first call is forgotten."""
        super().load_state_dict(state, strict=strict)
        self.found_norm = None

    def _fold(self) -> None:
        if self.folded is not None:
            return
        first = self.kernel_list.arrays()[0]
        longest = first.shape[-1] * 2 ** (len(self.kernel_list._parameters) - 1 + self.init_scale)
        k, norm = self.kernel(longest)
        self.folded, self.kernel_norm = (nn.Parameter(*v.shape, trainable=False) for v in (k, norm))
        self.folded, self.kernel_norm = k, norm
        self.kernel_list = nn.ParameterList()
        self.decay = None

    def outputs(self, u: Any) -> dict[str, Any]:
        """Kernel (of both directions, as one circular kernel), kernel_norm, and y of sequences u."""
        u = u if self.transposed else permute(u, (0, 2, 1))
        length = u.shape[-1]
        k, norm = self.kernel(length)
        back = None
        if self.bidirectional:  # the first tap of the other half multiplies the next sample
            after = k[self.channels :]
            k, back = k[: self.channels], nn.functional.pad(after, [(1, 0)])
        y = fft_conv(u, k, k_rev=back, skip=self.D, activation="gelu")
        y = permute(y.reshape(len(u), -1, length), (0, 2, 1))
        y = self.output_linear(y) if self.postact is None else self.output_linear["0"](y)
        y = glu(y) if self.postact == "glu" else nn.functional.activation(y, self.postact)
        if back is not None:
            k = concat([k, namespace(k).flip(back[..., 1:], axis=-1)], axis=-1)
        return {"kernel": k, "kernel_norm": norm, "y": permute(y, (0, 2, 1)) if self.transposed else y}
