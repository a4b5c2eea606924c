"""Search for the format of every layer while the model trains, by policy gradient against a cost.

Dotzel et al., "FLIQS: One-shot mixed-precision floating-point and integer quantization search", AutoML 2024. Each layer
has logits over the formats; a step samples a format for each layer, trains the model in these, and moves the logits by
REINFORCE: reward = quality - weight |cost / target - 1|. In the end every layer keeps its likeliest format, and the
model has been trained already. `omniconv.torch.quant.searchable` makes a PyTorch model that trains in such formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from omniconv.array import said

__all__ = ["Search", "bit_operations", "bits_of", "search"]

Formats = dict[str, str]


def bits_of(form: str) -> int:
    """Bits of a number: of "int4" 4, of "dfp12" 12, of "bfloat16" 16, of "float32" 32."""
    kind = form.rstrip("0123456789") if isinstance(form, str) else ""
    bits = int(form[len(kind) :]) if kind and form[len(kind) :] else 0
    if not (
        form in ("bfloat16", "float32") or (kind == "int" and 2 <= bits <= 8) or (kind == "dfp" and 3 <= bits <= 16)
    ):
        raise ValueError(
            f"format is {said(form)}; allowed are 'int2' to 'int8', 'dfp3' to 'dfp16', 'bfloat16', 'float32'"
        )
    return bits


def bit_operations(macs: Mapping[str, int]) -> Callable[[Mapping[str, str]], float]:
    """The cost of formats for layers of so many multiply-adds: the sum of these times the square of the bits."""
    return lambda formats: float(sum(macs[name] * bits_of(form) ** 2 for name, form in formats.items()))


class Search(NamedTuple):
    """What `search` found."""

    formats: Formats  #: the likeliest of each layer
    cost: float  #: of these
    probabilities: np.ndarray  #: [layer, format], at the end
    rewards: np.ndarray  #: of every step, the uniform ones included


def _softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(1, keepdims=True))
    return grown / grown.sum(1, keepdims=True)


def _gradient(logits: np.ndarray, chosen: np.ndarray, advantage: float, entropy_weight: float) -> np.ndarray:
    """Of -advantage * mean log p(chosen) + entropy_weight * mean entropy, means over layers."""
    p = _softmax(logits)
    log_p = np.log(np.maximum(p, 1e-30))
    entropy = -(p * log_p).sum(1, keepdims=True)
    of_choice = np.eye(logits.shape[1])[chosen] - p
    return (-advantage * of_choice - entropy_weight * p * (log_p + entropy)) / len(logits)


def search(
    train: Callable[[Formats], float],
    cost: Callable[[Formats], float],
    layers: Sequence[str],
    formats: Sequence[str],
    target: float,
    *,
    steps: int = 2000,
    warm_up: int | None = None,
    cost_weight: float = 1.0,
    entropy_weight: float = 0.05,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> Search:
    """Train a model in sampled formats, and its formats with it.

    Parameters
    ----------
    train : callable
        Takes a step of training in the formats given, {layer: format}, and says how good it was; more is better: the
        negative loss of the batch, say.
    cost : callable
        Of such formats, positive; see `bit_operations`. Sampled on its own, so it may be a table of measured times.
    layers, formats : sequence of str
        The decisions, and what each may choose from.
    target : float
        The cost that the reward asks for.
    steps, warm_up : int
        Steps in all, and how many of them at first sample uniformly and leave the policy as it is; a quarter by
        default.
    cost_weight, entropy_weight, learning_rate : float
        Of the cost in the reward; of the entropy in the loss, reached at the end along half a cosine, so that the
        choice hardens late; of Adam, for the logits. The published 0.5 and 0.005 are for tens of thousands of steps;
        these suit a few thousand.
    seed : int
        The same seed and the same answers of `train` give the same formats.

    Raises
    ------
    ValueError
    """
    layers, formats = list(layers), list(formats)
    if not layers or not formats:
        raise ValueError(f"{'formats' if layers else 'layers'} is empty")
    for form in formats:
        bits_of(form)
    if not target > 0:
        raise ValueError(f"target is {target}; it must be positive")
    warm_up = steps // 4 if warm_up is None else warm_up
    if not 0 <= warm_up < steps:
        raise ValueError(f"warm_up is {warm_up}; allowed are 0 to steps - 1, which is {steps - 1}")
    rng = np.random.default_rng(seed)
    logits = np.full((len(layers), len(formats)), 0.5)
    first, second, baseline, rewards = np.zeros_like(logits), np.zeros_like(logits), None, []
    for step in range(steps):
        p = _softmax(logits) if step >= warm_up else np.full_like(logits, 1 / len(formats))
        chosen = np.minimum((p.cumsum(1) < rng.random((len(layers), 1))).sum(1), len(formats) - 1)
        assigned = {layer: formats[i] for layer, i in zip(layers, chosen, strict=True)}
        reward = float(train(assigned)) - cost_weight * abs(cost(assigned) / target - 1)
        rewards.append(reward)
        if not np.isfinite(reward):
            raise ValueError(f"train or cost returned what makes a reward of {reward} in step {step}")
        baseline = reward if baseline is None else 0.99 * baseline + 0.01 * reward
        if step < warm_up:
            continue
        at = step - warm_up + 1
        weight = entropy_weight * (1 - np.cos(np.pi * at / (steps - warm_up))) / 2
        gradient = _gradient(logits, chosen, reward - baseline, weight)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        logits = logits - learning_rate * (first / (1 - 0.9**at)) / (np.sqrt(second / (1 - 0.999**at)) + 1e-8)
    best = {layer: formats[i] for layer, i in zip(layers, logits.argmax(1), strict=True)}
    return Search(best, float(cost(best)), _softmax(logits), np.array(rewards))
