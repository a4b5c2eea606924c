"""A convolutional network for clinical notes, and the phrases that decide: Gehrmann et al., "Comparing Rule-Based
and Deep Learning Models for Patient Phenotyping", arXiv:1703.08705. After Kim, arXiv:1408.5882. Names are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, concat, namespace, permute, softmax, topk


@register({"text_cnn": {}}, paper="arXiv:1703.08705")
class TextCNN(Model):
    """Convolutions of several widths over words, the largest result of each over time, and a linear classifier.

    Parameters
    ----------
    vocab_size, emb_size : int
    kernels : sequence of int
        Words that each kind of convolution sees.
    num_feat_maps : int
        Convolutions of each kind.
    classes : int
    """

    def __init__(
        self, vocab_size: int = 500, emb_size: int = 50, kernels: Sequence[int] = (1, 2, 3), num_feat_maps: int = 100,
        classes: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernels, self.maps = tuple(kernels), num_feat_maps
        self.embedding = nn.Embedding(vocab_size, emb_size)
        self.convs = nn.ModuleList(nn.Conv1d(emb_size, num_feat_maps, k) for k in kernels)
        self.linear = nn.Linear(num_feat_maps * len(self.kernels), classes)

    def outputs(self, tokens: Any) -> dict[str, Any]:
        """Pooled [B, F], logits and log_prob [B, classes] of tokens [B, L]."""
        return self._outputs(tokens)[0]

    def _outputs(self, tokens: Any) -> tuple[dict[str, Any], list[Any]]:
        x = permute(self.embedding(tokens), (0, 2, 1))
        sums = [conv(x) for conv in self.convs]
        xp = namespace(x)
        pooled = concat([xp.max(activation(y, "relu"), axis=-1) for y in sums])
        logits = self.linear(pooled)
        top = xp.max(logits, axis=-1, keepdims=True)
        total = xp.log(xp.sum(xp.exp(logits - top), axis=-1, keepdims=True)) + top
        return {"pooled": pooled, "logits": logits, "log_prob": logits - total}, sums

    def salient(self, tokens: np.ndarray, label: int = 1, count: int = 5) -> dict[str, np.ndarray]:
        """Which filters and phrases speak most for or against a class; NumPy arrays.

        grad_pooled [B, F] is the slope of the loss of `label`. Of each width k: top_filters{k} [B, count] have
        the largest
        slopes, phrases{k} [B, count, k] are the tokens at which they fire most, top_positions{k} [B, count] are
        where all
        filters together fire most, by position_norm{k}. argmax_position [B, F] is where each filter fires most.
        """
        found, sums = self._outputs(tokens)
        chances = softmax(found["logits"])
        wanted = np.eye(chances.shape[1], dtype=chances.dtype)[label]
        slopes = (chances - wanted) @ self.linear.weight
        result = {"grad_pooled": slopes, "argmax_position": np.concatenate([y.argmax(-1) for y in sums], axis=1)}
        for i, (k, y) in enumerate(zip(self.kernels, sums, strict=True)):
            block = slice(i * self.maps, (i + 1) * self.maps)
            filters = topk(np.abs(slopes[:, block]), count)[1]
            start = np.take_along_axis(result["argmax_position"][:, block], filters, axis=1)
            at = (start[..., None] + np.arange(k)).reshape(len(tokens), -1)
            norms = np.sqrt((np.maximum(y, 0) ** 2).sum(1))
            result |= {
                f"top_filters{k}": filters,
                f"phrases{k}": np.take_along_axis(tokens, at, axis=1).reshape(len(tokens), count, k),
                f"position_norm{k}": norms,
                f"top_positions{k}": topk(norms, count)[1],
            }
        return result
