"""BaseConv: Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models", arXiv:2312.04927.

The mixer, a small language model around it, and the task that the paper measures recall with. Names are the
repository's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import omniconv
from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, fft_conv, permute


class ShortConv(nn.Module):
    """Causal depthwise convolution."""

    def __init__(self, d_model: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(d_model, d_model, kernel_size, padding=kernel_size - 1, groups=d_model)

    def forward(self, u: Any) -> Any:
        """U [B, L, D]."""
        return permute(self.conv(permute(u, (0, 2, 1)))[..., : u.shape[1]], (0, 2, 1))


class LongConv(nn.Module):
    """Causal convolution as long as the sequence, plus its input; taps are learned, or made from the position."""

    def __init__(self, d_model: int, l_max: int, implicit: bool) -> None:
        super().__init__()
        self.implicit = implicit
        if not implicit:
            self.filter = nn.Parameter(d_model, l_max)
            return
        self.mlp = nn.ModuleDict({"0": nn.Linear(3, 16), "2": nn.Linear(16, d_model)})
        self.pos_emb = nn.Module()
        self.pos_emb.z = nn.Parameter(1, l_max, 3, trainable=False)
        self.pos_emb.z = omniconv.hyena_positions(l_max, 3)[1][None]

    def forward(self, u: Any) -> Any:
        """U [B, L, D]."""
        length = u.shape[1]
        if self.implicit:
            k = permute(self.mlp["2"](self.mlp["0"](self.pos_emb.z[0, :length], activation="relu")), (1, 0))
        else:
            k = self.filter[:, :length]
        return permute(fft_conv(permute(u, (0, 2, 1)), k), (0, 2, 1)) + u


@register({"base_conv": {}}, paper="arXiv:2312.04927")
class BaseConv(Model):
    """A convolution times a product over channels, plus the input.

    Parameters
    ----------
    d_model, l_max : int
        Channels and longest sequence.
    kernel_size : int
        Taps; -1 is as many as the sequence has.
    implicit_long_conv : bool
        The taps of the long convolution are made by a small network.
    use_act : bool
        SiLU on both factors.
    """

    main = "y"
    optional = (r"(^|\.)conv\.pos_emb\.z$",)
    ignored = (*Model.ignored, r"conv\.pos_emb\.t$")

    def __init__(
        self, d_model: int = 64, l_max: int = 128, kernel_size: int = 3, implicit_long_conv: bool = True,
        use_act: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.act = "silu" if use_act else None
        self.projection = nn.Linear(d_model, d_model)
        if kernel_size == -1:
            self.conv = LongConv(d_model, l_max, implicit_long_conv)
        else:
            self.conv = ShortConv(d_model, kernel_size)

    def outputs(self, u: Any) -> dict[str, Any]:
        """Conv and y [B, L, D] of u [B, L, D]."""
        conv = self.conv(u)
        return {"conv": conv, "y": activation(conv, self.act) * self.projection(u, activation=self.act) + u}


@register({"base_conv_lm": {}}, paper="arXiv:2312.04927")
class LanguageModel(Model):
    """Embeddings, BaseConv in residual blocks without a second mixer, and logits by the same embeddings.

    Parameters
    ----------
    d_model, n_layers, vocab_size : int
    max_position_embeddings : int
        Learned positions; 0 for none.
    mixer_kwargs : mapping
        Options of `BaseConv`; a sequence as kernel_size has one for each layer.
    """

    optional = BaseConv.optional
    ignored = (*BaseConv.ignored, r"^lm_head\.weight$")

    def __init__(
        self, d_model: int = 128, n_layers: int = 2, vocab_size: int = 8192, max_position_embeddings: int = 64,
        mixer_kwargs: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        options = dict(mixer_kwargs or {})
        taps = options.pop("kernel_size", 3)
        taps = list(taps) if isinstance(taps, Sequence) else [taps] * n_layers
        tables = {"word_embeddings": nn.Embedding(vocab_size, d_model)}
        if max_position_embeddings > 0:
            tables["position_embeddings"] = nn.Embedding(max_position_embeddings, d_model)
        layers = [
            nn.ModuleDict(
                {
                    "sequence_mixer": BaseConv(d_model, kernel_size=taps[i], **options),
                    "norm1": nn.LayerNorm(d_model),
                    "norm2": nn.LayerNorm(d_model),
                }
            )
            for i in range(n_layers)
        ]
        self.backbone = nn.ModuleDict(
            {"embeddings": nn.ModuleDict(tables), "layers": nn.ModuleList(layers), "ln_f": nn.LayerNorm(d_model)}
        )

    def outputs(self, ids: Any) -> dict[str, Any]:
        """mixer0, mixer1, ..., hidden [B, L, D] and logits [B, L, V] of ids [B, L]."""
        tables = self.backbone["embeddings"]
        x, found = tables["word_embeddings"](ids), {}
        if "position_embeddings" in tables._modules:
            x = x + tables["position_embeddings"].weight[: ids.shape[1]]
        for i, layer in enumerate(self.backbone["layers"]):
            y = found[f"mixer{i}"] = layer["sequence_mixer"](layer["norm1"](x))
            x = x + y
            x = x + layer["norm2"](x)
        x = found["hidden"] = self.backbone["ln_f"](x)
        return found | {"logits": nn.functional.linear(x, tables["word_embeddings"].weight)}


def multiquery_ar(
    vocab_size: int, num_examples: int, input_seq_len: int, seed: int, power_a: float = 0.01, num_kv_pairs: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Examples of multi-query associative recall: ids and labels [num_examples, input_seq_len], int64.

    Pairs of a key and a value open a sequence; later each key comes once more, after a gap drawn from a power law, and
    the label there is its value. All other labels are -100, all other ids 0. The numbers are the repository's.
    """
    if input_seq_len % 2 or vocab_size <= input_seq_len or num_kv_pairs * 4 > input_seq_len:
        raise ValueError(
            f"input_seq_len is {input_seq_len}, vocab_size {vocab_size} and num_kv_pairs {num_kv_pairs}; the length "
            "must be even, below the vocabulary, and at least four times the pairs"
        )
    rng, context = np.random.RandomState(seed), 2 * num_kv_pairs
    space, half = (input_seq_len - context) // 2, vocab_size // 2

    def drawn(low: int, high: int) -> np.ndarray:
        rows = [rng.choice(np.arange(low, high), num_kv_pairs, replace=False) for _ in range(num_examples)]
        return np.array(rows, dtype=np.int64).reshape(num_examples, num_kv_pairs)

    keys, values = drawn(1, half), drawn(half, vocab_size)
    chances = power_a * np.arange(1, space + 1) ** (power_a - 1)
    chances /= chances.sum()
    gaps = np.array([rng.choice(space, num_kv_pairs, replace=False, p=chances) for _ in range(num_examples)])
    ids = np.zeros((num_examples, input_seq_len + 1), dtype=np.int64)
    labels = np.full_like(ids, -100)
    ids[:, 0:context:2], ids[:, 1:context:2] = keys, values
    rows = np.arange(num_examples)[:, None]
    ids[rows, context + 2 * gaps] = keys
    labels[rows, context + 2 * gaps + 1] = values
    return ids[:, :-1], labels[:, 1:]
