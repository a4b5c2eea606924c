"""Long convolutions with squashed kernels: Fu et al., "Simple Hardware-Efficient Long Convolutions", arXiv:2302.06646.

Names are the repository's. As there, a kernel is stored for twice the longest length and convolves around twice
the length of the input: its second half looks ahead.
"""

from __future__ import annotations

from typing import Any

import omniconv
from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import fft_conv, glu, namespace, pad, permute


class LongConv(nn.Module):
    """Convolution with a kernel of learned taps, GELU, and a gated product over channels."""

    def __init__(self, d_model: int, l_max: int, channels: int, kernel_lam: float) -> None:
        super().__init__()
        self.lam = kernel_lam
        self.D = nn.Parameter(channels, d_model)
        self.kernel = nn.Parameter(channels, d_model, 2 * l_max)
        self.output_linear = nn.ModuleDict({"0": nn.Linear(channels * d_model, 2 * d_model)})

    def forward(self, u: Any) -> Any:
        """U [B, H, L]."""
        length = u.shape[-1]
        k = omniconv.squash(self.kernel, self.lam)[..., : 2 * length]
        k = k if k.shape[-1] == 2 * length else pad(k, [(0, 2 * length - k.shape[-1])])
        # Tap 2 L - j multiplies the sample j steps ahead; tap L reaches none.
        ahead = namespace(k).flip(k[..., length + 1 :], axis=-1)
        y = fft_conv(u, k[..., :length], k_rev=pad(ahead, [(1, 0)]), skip=self.D, activation="gelu")
        y = permute(y.reshape(len(u), -1, length), (0, 2, 1))
        return permute(glu(self.output_linear["0"](y)), (0, 2, 1))


@register({"long_conv": {}}, paper="arXiv:2302.06646")
class LongConvModel(Model):
    """Residual layers of long convolutions, and a classifier of their mean.

    Parameters
    ----------
    d_input, d_output, d_model, n_layers : int
        Channels of the input, of the result and of the layers.
    channels : int
        Kernels of each channel.
    l_max : int
        Length that kernels are made for; they have twice as many taps.
    kernel_lam : float
        Threshold of `omniconv.squash`.
    prenorm : bool
        Normalise before a layer, instead of after its sum.
    """

    def __init__(
        self, d_input: int = 3, d_output: int = 10, d_model: int = 256, n_layers: int = 6, channels: int = 2,
        l_max: int = 1024, kernel_lam: float = 0.003, prenorm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.prenorm = prenorm
        self.encoder = nn.Linear(d_input, d_model)
        self.conv_layers = nn.ModuleList(LongConv(d_model, l_max, channels, kernel_lam) for _ in range(n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model, axis=1) for _ in range(n_layers))
        self.decoder = nn.Linear(d_model, d_output)

    def outputs(self, x: Any) -> dict[str, Any]:
        """conv_layer0, conv_layer1, ... [B, H, L], before the sums, and logits of x [B, L, d_input]."""
        x, found = permute(self.encoder(x), (0, 2, 1)), {}
        for i, (layer, norm) in enumerate(zip(self.conv_layers, self.norms, strict=True)):
            y = found[f"conv_layer{i}"] = layer(norm(x) if self.prenorm else x)
            x = x + y if self.prenorm else norm(x + y)
        return found | {"logits": self.decoder(nn.functional.global_avg_pool(x))}
