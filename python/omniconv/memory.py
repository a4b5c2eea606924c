"""Memory of large NumPy results, used again.

The C library gives blocks above 32 MiB back to the system as soon as they are freed, and takes each new one as pages
that the kernel clears when they are first written: in the middle of a convolution that costs more than the writing,
for every page that is cleared drives the working set out of the caches. So the latest such block is kept.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["KEPT_BYTES", "LARGE_BYTES", "reused"]

LARGE_BYTES = 32 << 20  # glibc's largest M_MMAP_THRESHOLD: smaller blocks it keeps itself
KEPT_BYTES = 64 << 20  # as the arenas of the library keep

_spare: list[Any] = []  # at most one array of bytes; list.pop and list.append are atomic


class _Lease:
    """Owner of a block while an array, or a view of one, lives in it."""

    def __init__(self, block: Any, shape: tuple[int, ...], typestr: str) -> None:
        self.block = block
        self.__array_interface__ = {
            "version": 3,
            "data": (block.ctypes.data, False),
            "shape": shape,
            "typestr": typestr,
        }

    def __del__(self, spare: list[Any] = _spare) -> None:  # bound, for when the interpreter ends
        spare[:] = [self.block]


def reused(shape: tuple[int, ...], dtype: Any) -> Any:
    """``numpy.empty(shape, dtype)``, for sizes from 32 to 64 MiB in the memory of an earlier result."""
    import numpy as np  # not before the first array: importing it takes several times as long as all of omniconv

    dtype = np.dtype(dtype)
    size = dtype.itemsize * math.prod(shape)
    if not LARGE_BYTES <= size <= KEPT_BYTES:
        return np.empty(shape, dtype)
    try:
        block = _spare.pop()
    except IndexError:
        block = None
    if block is None or block.nbytes < size:
        del block  # first free, then allocate
        block = np.empty(size, np.uint8)
    return np.asarray(_Lease(block, shape, dtype.str))
