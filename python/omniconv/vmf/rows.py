"""Data [n, p], dense or of scipy.sparse, read in blocks of rows: float64, of norm 1, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from omniconv.vmf.checks import as_array, check_dimension, check_norms, is_sparse

__all__ = ["Rows", "one_minus_cos", "row_blocks"]

#: Numbers in a dense block: 8 MiB of float64, of which two or three are alive at a time.
_BLOCK = 1 << 20
#: Rows in a sparse block.
_SPARSE_ROWS = 1 << 14
#: Below this, 1 - cos is taken from the difference of the vectors: subtracting from 1 would lose 6 bits or more.
_NEAR = 0.02


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices that cover `rows` rows of `width` numbers."""
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def one_minus_cos(x: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """1 - <x, mu> of unit vectors [..., p] that broadcast, relatively accurate also where they all but agree."""
    close = np.asarray(1 - (x @ mu if mu.ndim == 1 else np.einsum("...p,...p->...", x, mu)))
    shape, close = close.shape, np.atleast_1d(close)
    near = np.argwhere(close < _NEAR)
    if near.size:
        x, mu = (np.broadcast_to(a, (*close.shape, a.shape[-1])) for a in (x, mu))
        for part in row_blocks(near.shape[0], x.shape[-1]):
            index = tuple(near[part].T)
            apart = x[index] - mu[index]
            close[index] = np.einsum("np,np->n", apart, apart) / 2
    return close.reshape(shape)


class Rows:
    """Rows of a matrix as unit vectors. What is given is neither copied nor changed; blocks of it are.

    Parameters
    ----------
    x : array [n, p], or scipy.sparse matrix or array
        Floats or integers; rows of norm 1.

    Raises
    ------
    ValueError
        If it has not two axes, p < 2, or a row is not finite or not of norm 1.
    """

    def __init__(self, x: Any, argument: str = "x") -> None:
        self.sparse = is_sparse(x)
        if self.sparse:
            if x.dtype.kind not in "iuf" or x.dtype.itemsize > 8:
                raise TypeError(f"{argument} has dtype {x.dtype}; expected are real numbers, at most float64")
            self._x = x.tocsr() if x.ndim == 2 else x
        else:
            self._x = as_array(x, argument)[0]
        if self._x.ndim != 2:
            raise ValueError(f"{argument} has shape {tuple(self._x.shape)}; expected are two axes, [n, p]")
        self.n, self.p = (int(size) for size in self._x.shape)
        check_dimension(self.p, argument)
        self._scale = np.empty(self.n)
        for part in self.parts():
            block = self._x[part].astype(np.float64, copy=self.sparse)  # of csr the slice may share its index arrays
            if self.sparse:
                norms = np.sqrt(np.asarray(block.multiply(block).sum(axis=1)).ravel())
            else:
                norms = np.sqrt(np.einsum("np,np->n", block, block))
            check_norms(norms, argument, part.start)
            self._scale[part] = 1 / norms

    def parts(self) -> Iterator[slice]:
        """The slices of rows that the blocks have."""
        if not self.sparse:
            yield from row_blocks(self.n, self.p)
            return
        for start in range(0, self.n, _SPARSE_ROWS):
            yield slice(start, min(start + _SPARSE_ROWS, self.n))

    def block(self, part: slice) -> Any:
        """These rows, float64 and of norm 1; sparse if the matrix is."""
        block = self._x[part].astype(np.float64)  # copies
        if self.sparse:
            block.data *= np.repeat(self._scale[part], np.diff(block.indptr))
        else:
            block *= self._scale[part][:, None]
        return block

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Every block with its place."""
        for part in self.parts():
            yield part, self.block(part)

    def dense(self, index: np.ndarray) -> np.ndarray:
        """Chosen rows as a dense float64 array of unit vectors."""
        rows = self._x[index]
        return (rows.toarray() if self.sparse else rows).astype(np.float64) * self._scale[index][:, None]

    def dense_parts(self, part: slice, block: Any) -> Iterator[tuple[slice, np.ndarray]]:
        """A block in dense pieces of bounded size, with their places in the data."""
        if not self.sparse:
            yield part, block
            return
        for inner in row_blocks(part.stop - part.start, self.p):
            yield slice(part.start + inner.start, part.start + inner.stop), block[inner].toarray()
