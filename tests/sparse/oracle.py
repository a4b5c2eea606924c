"""Dense convolution in float64 by PyTorch, read at sites: what sparse convolution is."""

from __future__ import annotations

import itertools

import numpy as np

from omniconv import sparse


def sites(rng: np.random.Generator, grid: tuple[int, ...], count: int, batch: int = 1) -> np.ndarray:
    """Distinct sites in no order, int32 [count, 1 + D]."""
    cells = np.prod(grid) * batch
    chosen = rng.permutation(cells)[: min(count, cells)]
    return np.stack(np.unravel_index(chosen, (batch, *grid)), 1).astype(np.int32)


def relation(coords: np.ndarray, out: np.ndarray, plan: sparse.SparsePlan) -> set[tuple[int, int, int]]:
    """(row of the input, row of the output, tap), by the definition, one by one."""
    rows = {tuple(c): i for i, c in enumerate(coords.tolist())}
    taps = list(itertools.product(*map(range, plan.kernel_size)))
    found = set()
    for o, (batch, *place) in enumerate(out.tolist()):
        for t, tap in enumerate(taps):
            at = zip(place, tap, plan.stride, plan.padding, plan.dilation, strict=True)
            key = (batch, *(x * s - p + k * d for x, k, s, p, d in at))
            if key in rows:
                found.add((rows[key], o, t))
    return found


def by_relation(x: np.ndarray, w: np.ndarray, triples: np.ndarray, rows: int, groups: int = 1) -> np.ndarray:
    """float64 sums over the pairs; w [Co, Ci / groups, *kernel]."""
    w = w.reshape(*w.shape[:2], -1).astype(np.float64)
    outs, ins = w.shape[0] // groups, w.shape[1]
    y = np.zeros((rows, w.shape[0]))
    for i, o, t in triples:
        for g in range(groups):
            part = slice(g * outs, (g + 1) * outs)
            y[o, part] += w[part, :, t] @ x[i, g * ins : (g + 1) * ins].astype(np.float64)
    return y


def error(found: np.ndarray, truth: np.ndarray) -> float:
    """Relative L2."""
    return float(np.linalg.norm(found - truth) / max(np.linalg.norm(truth), 1e-30))
