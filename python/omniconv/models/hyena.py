"""Hyena: Poli et al., "Hyena Hierarchy: Towards Larger Convolutional Language Models", arXiv:2302.10866.

The operator; names are the repository's. One sine with its frequencies serves all layers of the filter's network.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import omniconv
from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import fft_conv, permute


class Sine(nn.Module):
    """Frequencies of a sine."""

    def __init__(self, width: int, frequency: float) -> None:
        super().__init__()
        self.freq = nn.Parameter(1, width, fill=frequency)


class Filter(nn.Module):
    """An implicit filter: a network of the position, times a decaying window."""

    def __init__(
        self,
        channels: int,
        longest: int,
        features: int,
        width: int,
        inner: int,
        w: float,
        deltas: np.ndarray,
        shift: float,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.folded: Any = None  # the taps of the longest sequence, once `fold` has made them
        self._spectra: Any = None  # of the latest length
        self.bias = nn.Parameter(channels)
        sine, layers = Sine(width, w), [nn.Linear(features, width)]
        layers += [nn.Linear(width, width) for _ in range(inner)]
        steps = [step for layer in layers for step in (layer, sine)]
        self.implicit_filter = nn.Sequential(*steps, nn.Linear(width, channels, bias=False))
        t, z = omniconv.hyena_positions(longest, features)
        self.pos_emb, self.modulation = nn.Module(), nn.Module()
        self.pos_emb.z = nn.Parameter(1, longest, features)
        self.pos_emb.t = nn.Parameter(1, longest, 1, trainable=False)
        self.modulation.deltas = nn.Parameter(1, 1, channels, trainable=False)
        self.pos_emb.z, self.pos_emb.t, self.modulation.deltas = z[None], t[None, :, None], deltas[None, None]

    def forward(self, length: int) -> Any:
        """The taps [channels, length]."""
        if self.folded is not None:
            return self.folded[:, :length]
        steps = self.implicit_filter
        layers = [(steps[i].weight, steps[i].bias) for i in range(0, len(steps), 2)]
        return omniconv.hyena_filter(
            self.pos_emb.z[0, :length], layers, steps[1].freq, self.pos_emb.t[0, :length, 0],
            self.modulation.deltas.reshape(-1), shift=self.shift,
        )  # fmt: skip

    def spectra(self, taps: Any, count: int) -> Any:
        """The taps [channels, length] as `count` kernels; transformed, where `fold` made them for NumPy."""
        kernels = taps.reshape(count, -1, taps.shape[-1])
        if self.folded is None or not isinstance(taps, np.ndarray):
            return kernels
        key = (count, taps.shape, nn.Parameter.revision, omniconv.isa())
        if self._spectra is None or self._spectra[0] != key:
            made = [omniconv.KernelSpectrum(k, length=taps.shape[-1]) for k in kernels]
            object.__setattr__(self, "_spectra", (key, made))
        return self._spectra[1]

    def _fold(self) -> None:
        if self.folded is not None:
            return
        k = self(self.pos_emb.t.shape[1])
        self.folded = nn.Parameter(*k.shape, trainable=False)
        self.folded = k
        for part in ("implicit_filter", "pos_emb", "modulation"):
            del self._modules[part]


@register({"hyena": {}}, paper="arXiv:2302.10866")
class HyenaOperator(Model):
    """Gates and long convolutions in turn, in the place of attention.

    Parameters
    ----------
    d_model, l_max, order : int
        Channels, longest sequence, and number of projections beside the value's.
    filter_order, emb_dim, num_inner_mlps : int
        Of the filter's network: width, features of a position, inner layers.
    w : float
        Frequencies that its sines start from.
    fast_decay_pct, slow_decay_pct, target, shift : float
        Windows reach `target` at these parts of the length, the first and the last channel's; shift is added.
    """

    main = "y"
    #: tables that a checkpoint need not hold
    optional = (r"^filter_fn\.pos_emb\.[zt]$", r"^filter_fn\.modulation\.deltas$")

    def __init__(
        self, d_model: int = 64, l_max: int = 1024, order: int = 2, filter_order: int = 64, emb_dim: int = 3,
        num_inner_mlps: int = 2, w: float = 1.0, fast_decay_pct: float = 0.3, slow_decay_pct: float = 1.5,
        target: float = 1e-2, shift: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.order, self.longest, self.width = order, l_max, d_model
        wide = (order + 1) * d_model
        self.in_proj = nn.Linear(d_model, wide)
        self.out_proj = nn.Linear(d_model, d_model)
        self.short_filter = nn.Conv1d(wide, wide, 3, padding=2, groups=wide)
        channels = d_model * (order - 1)
        deltas = np.linspace(math.log(target) / slow_decay_pct, math.log(target) / fast_decay_pct, channels)
        self.filter_fn = Filter(channels, l_max, emb_dim, filter_order, num_inner_mlps, w, deltas, shift)

    def outputs(self, u: Any) -> dict[str, Any]:
        """Filter [1, L, channels] and y [B, L, D] of u [B, L, D], cut to l_max."""
        length = min(u.shape[1], self.longest)
        x = self.short_filter(self.in_proj.planes(u))[..., :length]
        gates = [x[:, i * self.width : (i + 1) * self.width] for i in range(self.order + 1)]
        v = gates.pop()
        k = self.filter_fn(length)
        kernels = self.filter_fn.spectra(k, self.order - 1)
        skips = self.filter_fn.bias.reshape(self.order - 1, self.width)
        for i in range(self.order - 1):
            after = gates[0] if i == self.order - 2 else None
            v = fft_conv(v, kernels[i], pre_gate=gates[self.order - 1 - i], post_gate=after, skip=skips[i])
        y = self.out_proj(permute(v if self.order > 1 else v * gates[0], (0, 2, 1)))
        return {"filter": permute(k, (1, 0))[None], "y": y}
