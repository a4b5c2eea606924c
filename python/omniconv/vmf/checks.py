"""Arguments of `omniconv.vmf`: arrays of any kind as NumPy, and the errors that name what is wrong with them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from omniconv.array import Described, export, finish, kind_of, said

__all__ = ["UNIT_TOLERANCE", "as_array", "as_kappa", "as_size", "as_unit", "as_weights", "give_back", "is_sparse"]

#: Largest allowed distance of a norm from 1. Rows that were normalised in float32 pass; they are normalised once more
#: in float64, so that what is left of the distance does not pass for concentration.
UNIT_TOLERANCE = 1e-5


def is_sparse(value: Any) -> bool:
    """Whether it is a matrix or array of scipy.sparse, which is not imported for this."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and sparse.issparse(value)


def as_array(value: Any, argument: str) -> tuple[np.ndarray, str]:
    """Real numbers as a NumPy array, float32 or float64, and the kind that they came as. TypeError for the rest."""
    if is_sparse(value):
        raise TypeError(f"{argument} is sparse; expected is a dense array")
    kind = "numpy"
    if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
        kind = kind_of(value, argument)
        array = np.asarray(export(value, argument))
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:  # rows of different lengths
            raise ValueError(f"{argument} is not a rectangular array: {said(value)}") from error
    if array.dtype.kind in "iu" or array.dtype == np.float16:
        array = array.astype(np.float64)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{argument} has dtype {array.dtype}; expected are real numbers, at most float64")
    return array, kind


def give_back(kind: str, result: np.ndarray) -> Any:
    """A float64 result as an array of the kind `as_array` found; a NumPy result without axes as a scalar."""
    if kind == "torch":
        return sys.modules["torch"].from_numpy(np.asarray(result))
    if kind == "numpy":
        return np.asarray(result)[()]
    return finish(Described(kind, np.shape(result), str(result.dtype), False), result)


def _first_bad(bad: np.ndarray) -> str:
    """Where the first True is, for a message."""
    if bad.ndim == 0:
        return ""
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    return f" at {index[0] if len(index) == 1 else index}"


def as_kappa(value: Any, argument: str = "kappa") -> np.ndarray:
    """Concentrations as float64. ValueError unless all are finite and not negative."""
    kappa = as_array(value, argument)[0].astype(np.float64)
    bad = ~(np.isfinite(kappa) & (kappa >= 0))
    if bad.any():
        raise ValueError(f"{argument} is {kappa[bad][0]}{_first_bad(bad)}; it must be finite and not negative")
    return kappa


def check_dimension(p: int, argument: str) -> None:
    """ValueError if the last axis is too short to hold a direction."""
    if p < 2:
        raise ValueError(f"{argument} has {p} elements in its last axis; a direction needs at least 2")


def check_norms(norms: np.ndarray, argument: str, first: int = 0) -> None:
    """ValueError if a norm is not 1; `first` is the index of the first one."""
    bad = ~(np.abs(norms - 1) <= UNIT_TOLERANCE)
    if not bad.any():
        return
    where, norm = _first_bad(bad), norms[bad][0]
    if first and norms.ndim == 1:
        where = f" at {first + int(np.argmax(bad))}"
    if np.isfinite(norm):
        raise ValueError(
            f"{argument} has a vector of norm {norm:.9g}{where}; all must have norm 1, to within {UNIT_TOLERANCE}"
        )
    raise ValueError(f"{argument} has a vector that is not finite{where}; all must have norm 1")


def as_unit(value: Any, argument: str) -> tuple[np.ndarray, str]:
    """Directions [..., p] as float64, of norm 1 to the last digits, and their kind. ValueError if one had another."""
    array, kind = as_array(value, argument)
    if array.ndim == 0:
        raise ValueError(f"{argument} has no axes; its last one must hold the p coordinates")
    check_dimension(array.shape[-1], argument)
    array = array.astype(np.float64)  # a copy, always: it is scaled in place
    norms = np.sqrt(np.einsum("...p,...p->...", array, array))
    check_norms(norms, argument)
    array /= norms[..., None]
    return array, kind


def as_weights(value: Any, rows: int, argument: str = "weights") -> np.ndarray | None:
    """Weights [rows] as float64, or None. ValueError unless they are finite, not negative and not all zero."""
    if value is None:
        return None
    weights = as_array(value, argument)[0].astype(np.float64)
    if weights.shape != (rows,):
        raise ValueError(f"{argument} has shape {weights.shape}; expected is {(rows,)}, one for each row of x")
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise ValueError(f"{argument} is {weights[bad][0]}{_first_bad(bad)}; all must be finite and not negative")
    return weights


def as_size(value: Any, argument: str = "size") -> tuple[int, ...]:
    """A shape of Python integers: () for None, one axis for an integer."""
    if value is None:
        return ()
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for size in sizes:
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise TypeError(f"{argument} is {said(value)}; expected is an integer or a tuple of integers")
        if size < 0:
            raise ValueError(f"{argument} is {said(value)}; it must not be negative")
    return tuple(int(size) for size in sizes)


def as_count(value: Any, argument: str, least: int = 1) -> int:
    """A Python integer that is at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{argument} is {said(value)}; expected is an integer")
    if value < least:
        raise ValueError(f"{argument} is {value}; it must be at least {least}")
    return int(value)


def as_choice(value: Any, allowed: tuple[str, ...], argument: str) -> str:
    """A word out of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{argument} is {said(value)}; allowed are {', '.join(map(repr, allowed))}")
    return value
