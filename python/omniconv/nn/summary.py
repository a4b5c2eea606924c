"""What a model costs: parameters, operations, memory that its results take."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

__all__ = ["Cost", "Summary", "note", "summary", "watched"]


class Cost(NamedTuple):
    """One operation of a run."""

    name: str  #: of the module, empty for a function
    kind: str
    shape: tuple[int, ...]  #: of the result
    params: int
    macs: int  #: multiplications with an addition, and additions of a bias
    activations: int  #: numbers of the result
    source: tuple[int, ...] = ()  #: shape of what a layer with weights was given


class Summary(NamedTuple):
    """A run of a model: the operations in order, and their sums.

    By the rules of "Fast and Accurate Model Scaling" (arXiv:2103.06877): convolutions, products and pools count, norms
    and activations do not. Products of attention count as well.
    """

    costs: tuple[Cost, ...]
    params: int  #: trainable, shared ones once
    macs: int
    activations: int
    bytes: int  #: of all parameters and buffers

    @property
    def flops(self) -> int:
        """Two for each of `macs`."""
        return 2 * self.macs

    def __str__(self) -> str:
        rows = [("name", "kind", "shape", "params", "macs")]
        rows += [(c.name, c.kind, "x".join(map(str, c.shape)), f"{c.params:,}", f"{c.macs:,}") for c in self.costs]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = []
        for row in rows:
            padded = [v.ljust(w) if i < 3 else v.rjust(w) for i, (v, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(padded))
        total = f"{self.params:,} parameters, {self.bytes / 2**20:.1f} MiB, {self.macs:,} multiply-adds, "
        return "\n".join([*lines, total + f"{self.activations:,} activations"])


_costs: ContextVar[list[Cost] | None] = ContextVar("omniconv_costs", default=None)


def watched() -> bool:
    """Whether a summary is being made."""
    return _costs.get() is not None


def note(kind: str, result: Any, macs: int, params: int = 0, name: str = "", source: tuple[int, ...] = ()) -> None:
    """Add an operation to the summary that is being made."""
    costs = _costs.get()
    if costs is not None:
        size = 1
        for n in result.shape:
            size *= int(n)
        costs.append(Cost(name, kind, tuple(result.shape), params, int(macs), size, tuple(source)))


def summary(model: Any, *inputs: Any) -> Summary:
    """Run a model on inputs, arrays or shapes of float32 zeros, and count what it does for the first axis of them."""
    import numpy as np

    arrays = [np.zeros(x, dtype=np.float32) if isinstance(x, (tuple, list)) else x for x in inputs]
    names = {id(module): path for path, module in model.named_modules()}
    token, costs = _costs.set([]), []
    try:
        model(*arrays)
        costs = _costs.get() or []
    finally:
        _costs.reset(token)
    costs = [c._replace(name=names.get(int(c.name), "")) if c.name else c for c in costs]
    size = sum(p.size * np.dtype(p.dtype).itemsize for p in model._unique())
    return Summary(
        tuple(costs), model.num_parameters, sum(c.macs for c in costs), sum(c.activations for c in costs), size
    )
