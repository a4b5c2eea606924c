"""MossFormer: Zhao, Ma, "MossFormer: Pushing the Performance Limit of Monaural Speech Separation Using Gated
Single-Head Transformer with Convolution-Augmented Joint Self-Attentions", arXiv:2302.11824.

Names are those of the public implementation, whose three files are here one, under encoder, decoder and mask_net.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, concat, constant, conv_transpose, namespace, pad, permute, stack

VARIANTS = {
    "mossformer_l": {"in_channels": 512, "out_channels": 512, "num_blocks": 24},
    "mossformer_m": {"in_channels": 512, "out_channels": 384, "num_blocks": 25},
}
TAPS = 17
ROTATED = 32


class GlobalNorm(nn.Module):
    """Normalises a whole sample; a factor and a shift per channel, of shape [C] or [C, 1]."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        if kind not in ("ln", "gln"):
            raise ValueError(f"norm is {kind!r}; allowed are 'ln' and 'gln'")
        shape = (channels,) if kind == "ln" else (channels, 1)
        self.weight, self.bias = nn.Parameter(*shape, fill=1.0), nn.Parameter(*shape, fill=0.0)

    def forward(self, x: Any) -> Any:
        """X [B, C, S]."""
        return nn.functional.group_norm(x, 1, self.weight.reshape(-1), self.bias.reshape(-1), eps=1e-8)


class ScaleNorm(nn.Module):
    """Rows of one length, which is learned."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g, self.channels = nn.Parameter(1, fill=1.0), channels

    def forward(self, x: Any) -> Any:
        """X [..., C]."""
        xp = namespace(x)
        length = xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True)) * self.channels**-0.5
        return x / xp.clip(length, 1e-5, None) * self.g


class FeedForward(nn.Module):
    """Norm, product, SiLU, and a depthwise convolution along time around a shortcut."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        conv = nn.ModuleDict({"conv": nn.Conv1d(co, co, TAPS, 1, TAPS // 2, groups=co, bias=False)})
        taps = nn.Module()
        taps.sequential = nn.ModuleDict({"1": conv})
        self.mdl = nn.ModuleDict({"0": ScaleNorm(ci), "1": nn.Linear(ci, co), "3": taps})

    def forward(self, x: Any) -> Any:
        """X [B, S, Ci] to [B, S, Co]."""
        h = permute(self.mdl["1"](self.mdl["0"](x), activation="silu"), (0, 2, 1))
        conv = self.mdl["3"].sequential["1"]["conv"]
        return permute(conv(h, residual=h), (0, 2, 1))


def rotated(x: Any) -> Any:
    """X [B, S, D] with neighbours among its first features turned by angles that grow with time."""
    xp, (b, s, d) = namespace(x), x.shape
    count = min(ROTATED, d)
    angles = np.arange(s)[:, None] * 10000.0 ** (-np.arange(0, count, 2) / count)[None]
    cos, sin = (constant(f(angles), x) for f in (np.cos, np.sin))
    even, odd = x[..., 0:count:2], x[..., 1:count:2]
    turned = xp.reshape(stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1), (b, s, count))
    return turned if count == d else concat([turned, x[..., count:]], axis=-1)


class Block(nn.Module):
    """Gated attention with a single head: squared ReLU within groups of frames, and linear over all."""

    def __init__(self, dim: int, group: int, qk: int, expansion: float, causal: bool) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        self.group, self.causal = group, causal
        self.to_hidden, self.to_qk = FeedForward(dim, hidden), FeedForward(dim, qk)
        self.qk_offset_scale = nn.Module()
        self.qk_offset_scale.gamma = nn.Parameter(4, qk)
        self.qk_offset_scale.beta = nn.Parameter(4, qk, fill=0.0)
        self.to_out = FeedForward(hidden // 2, dim)

    def _linear(self, xp: Any, q: Any, k: Any, v: Any, frames: int) -> Any:
        """Q times the sum of k^T v: of all frames, or if causal of the groups before."""
        sums = xp.matmul(permute(k, (0, 1, 3, 2)), v)
        if not self.causal:
            return xp.matmul(q, xp.sum(sums, axis=1, keepdims=True) / frames)
        total, before = sums[:, :1] * 0, []
        for g in range(sums.shape[1]):
            before.append(total)
            total = total + sums[:, g : g + 1] / self.group
        return xp.matmul(q, concat(before, axis=1))

    def forward(self, x: Any) -> Any:
        """X [B, S, C]."""
        xp, (b, s, c) = namespace(x), x.shape
        half = -(-c // 2)
        late = pad(x[:, :-1, :half], [(1, 0), (0, 0)])
        shifted = concat([late, x[..., half:]], axis=-1)
        hidden, qk = self.to_hidden(shifted), self.to_qk(shifted)
        v, u = hidden[..., : hidden.shape[-1] // 2], hidden[..., hidden.shape[-1] // 2 :]
        gamma, beta, g = self.qk_offset_scale.gamma, self.qk_offset_scale.beta, self.group

        def grouped(y: Any) -> Any:
            y = pad(y, [(0, -s % g), (0, 0)])
            return y.reshape(b, -1, g, y.shape[-1])

        quad_q, lin_q, quad_k, lin_k = (grouped(rotated(qk * gamma[i] + beta[i])) for i in range(4))
        weights = activation(xp.matmul(quad_q, permute(quad_k, (0, 1, 3, 2))) / g, "relu") ** 2
        if self.causal:
            weights = weights * constant(np.tri(g), weights)
        both = grouped(concat([v, u], axis=-1))  # frames that were added are zeros, and so are their keys
        seen = xp.matmul(weights, both) + self._linear(xp, lin_q, lin_k, both, s)
        seen = seen.reshape(b, -1, seen.shape[-1])[:, :s]
        seen_v, seen_u = seen[..., : v.shape[-1]], seen[..., v.shape[-1] :]
        return x + self.to_out((seen_u * v) * activation(seen_v * u, "sigmoid"))


class MaskNet(nn.Module):
    """Blocks between products along the channels: a mask for each speaker."""

    def __init__(self, ci: int, co: int, speakers: int, norm: str, blocks: list[Block]) -> None:
        super().__init__()
        self.speakers = speakers
        self.norm = GlobalNorm(ci, norm)
        self.conv1d_encoder = nn.Conv1d(ci, co, 1, bias=False)
        self.pos_enc = nn.Module()
        self.pos_enc.scale = nn.Parameter(1, fill=1.0)
        inner, layers, last = nn.Module(), nn.Module(), nn.Module()
        layers.layers, last.norm = nn.ModuleList(blocks), nn.LayerNorm(co, eps=1e-6)
        inner.mossformerM, inner.norm = layers, last
        self.mdl = nn.Module()
        self.mdl.att_mdl, self.mdl.att_norm = inner, GlobalNorm(co, norm)
        self.conv1d_out = nn.Conv1d(co, co * speakers, 1)
        self.conv1_decoder = nn.Conv1d(co, ci, 1, bias=False)
        self.prelu = nn.ModuleDict({})
        self.prelu.weight = nn.Parameter(1, fill=0.25)
        self.output = nn.Sequential(nn.Conv1d(co, co, 1))
        self.output_gate = nn.Sequential(nn.Conv1d(co, co, 1))

    def forward(self, x: Any) -> tuple[Any, list[Any]]:
        """X [B, Ci, S] to masks [speakers, B, Ci, S], and the results of the blocks [B, S, Co]."""
        xp, (b, _, s) = namespace(x), x.shape
        y = self.conv1d_encoder(self.norm(x))
        c = y.shape[1]
        angles = 10000.0 ** (-2 * np.arange(c // 2) / c)[:, None] * np.arange(s)[None]
        y = y + self.pos_enc.scale * constant(np.concatenate([np.sin(angles), np.cos(angles)]), y)
        h, seen = permute(y, (0, 2, 1)), []
        for block in self.mdl.att_mdl.mossformerM.layers:
            h = block(h)
            seen.append(h)
        y = y + self.mdl.att_norm(permute(self.mdl.att_mdl.norm.norm(h), (0, 2, 1)))
        y = xp.where(y > 0, y, y * self.prelu.weight)
        y = self.conv1d_out(y).reshape(b * self.speakers, c, s)
        y = self.output[0](y, activation="tanh") * self.output_gate[0](y, activation="sigmoid")
        masks = self.conv1_decoder(y, activation="relu").reshape(b, self.speakers, -1, s)
        return permute(masks, (1, 0, 2, 3)), seen


@register(VARIANTS, paper="arXiv:2302.11824")
class MossFormer(Model):
    """MossFormer, which separates the voices of a recording.

    Parameters
    ----------
    in_channels : int
        Filters of the encoder.
    out_channels : int
        Width of the blocks.
    num_blocks, num_spks : int
    kernel_size : int
        Samples of a filter, which moves by `stride`, half of it if left out.
    group_size : int
        Frames that see each other.
    query_key_dim : int
    expansion_factor : float
        Width within a block.
    norm : "ln" or "gln"
        The same norm, with parameters of shape [C] or [C, 1].
    causal, bias : bool
        Whether no frame sees later groups or frames of its own; whether the decoder has a bias.
    d_model : int, optional
        The same as out_channels.
    """

    main = "y"
    waveform = True
    ignored = (*Model.ignored, r"inv_freq$", r"rotary_pos_emb\.freqs$")

    def __init__(
        self, in_channels: int = 512, out_channels: int = 512, num_blocks: int = 24, num_spks: int = 2,
        kernel_size: int = 16, stride: int | None = None, group_size: int = 256, query_key_dim: int = 128,
        expansion_factor: float = 4.0, norm: str = "ln", causal: bool = False, bias: bool = False,
        d_model: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if d_model not in (None, out_channels):
            raise ValueError(f"d_model is {d_model} and out_channels {out_channels}; they must be the same")
        self.stride = kernel_size // 2 if stride is None else stride
        self.encoder = nn.ModuleDict({"conv1d": nn.Conv1d(1, in_channels, kernel_size, self.stride, bias=False)})
        blocks = [Block(out_channels, group_size, query_key_dim, expansion_factor, causal) for _ in range(num_blocks)]
        self.mask_net = MaskNet(in_channels, out_channels, num_spks, norm, blocks)
        self.decoder = nn.Module()
        self.decoder.weight = nn.Parameter(in_channels, 1, kernel_size)
        self.decoder.bias = nn.Parameter(1, fill=0.0) if bias else None

    def outputs(self, x: Any) -> dict[str, Any]:
        """Of sounds x [B, T]: encoder [B, C, S], block0 ... [B, S, C], mask [speakers, B, C, S], y [B, T, speakers]."""
        encoded = self.encoder["conv1d"](x[:, None], activation="relu")
        masks, seen = self.mask_net(encoded)
        voices = []
        for i in range(masks.shape[0]):
            y = conv_transpose(encoded * masks[i], self.decoder.weight, self.decoder.bias, stride=self.stride)
            voices.append(pad(y[:, 0], [(0, x.shape[1] - y.shape[2])]))
        found = {"encoder": encoded} | {f"block{i}": h for i, h in enumerate(seen)}
        return found | {"mask": masks, "y": stack(voices, axis=-1)}
