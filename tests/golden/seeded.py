"""Inputs and weights of the golden cases: made from a name and a shape, never stored.

Each array has a generator of its own: PCG64 seeded with the first 8 bytes (little endian) of the SHA-256 of
"seed:name". So values depend on neither the order in which arrays are made nor on the machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Case", "Sample", "array", "load", "parameter", "relative_error", "state"]


def generator(name: str, seed: int) -> np.random.Generator:
    word = hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]
    return np.random.Generator(np.random.PCG64(int.from_bytes(word, "little")))


def array(name: str, shape: Iterable[int], seed: int = 0, kind: str = "normal", high: int = 2) -> np.ndarray:
    """An input: "normal" or "uniform" in [0, 1), both float64, or "integer" in [0, high), int64."""
    numbers, shape = generator(f"input:{name}", seed), tuple(shape)
    if kind == "integer":
        return numbers.integers(0, high, shape)
    if kind not in ("normal", "uniform"):
        raise ValueError(f"kind is {kind!r}; allowed are 'normal', 'uniform' and 'integer'")
    return numbers.standard_normal(shape) if kind == "normal" else numbers.random(shape)


def parameter(name: str, shape: Iterable[int], seed: int = 0) -> np.ndarray:
    """A weight or buffer, float64: what suits the last word of its name, so that activations stay near one."""
    numbers, shape, word = generator(name, seed), tuple(map(int, shape)), name.split(".")[-1]
    if word == "num_batches_tracked":
        return np.zeros(shape)
    if len(shape) > 1:
        return numbers.standard_normal(shape) / math.sqrt(max(math.prod(shape[1:]), 1))
    if word == "running_var":
        return numbers.random(shape) + 0.5
    around = 0.0 if word == "running_mean" or word.endswith("bias") else 1.0
    return around + 0.1 * numbers.standard_normal(shape)


def state(shapes: dict[str, Iterable[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """All parameters of a model."""
    return {name: parameter(name, shape, seed) for name, shape in shapes.items()}


class Sample(NamedTuple):
    """What a case stores of one output: every `step`-th element of the flattened float64 result."""

    values: np.ndarray
    step: int
    shape: tuple[int, ...]


class Case(NamedTuple):
    meta: dict[str, Any]
    outputs: dict[str, Sample]
    arrays: dict[str, np.ndarray]  # what is stored whole: explicit inputs ("in:NAME"), integer results ("int:NAME")


def load(path: str | Path) -> Case:
    """A case as its file tells it."""
    with np.load(path, allow_pickle=False) as stored:
        meta = json.loads(stored["meta"].item())
        outputs = {
            name: Sample(stored[f"out:{name}"], int(about["step"]), tuple(about["shape"]))
            for name, about in meta["outputs"].items()
        }
        arrays = {key: stored[key] for key in meta.get("arrays") or ()}
    return Case(meta, outputs, arrays)


def relative_error(got: Any, sample: Sample) -> float:
    """||got - golden|| / ||golden|| over the stored elements; infinite for another shape or a result not finite."""
    if tuple(got.shape) != sample.shape:
        return math.inf
    found = np.asarray(got, np.float64).ravel()[:: sample.step]
    if not np.isfinite(found).all():
        return math.inf
    golden = sample.values.astype(np.float64)
    return float(np.linalg.norm(found - golden) / np.linalg.norm(golden))
