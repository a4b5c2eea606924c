"""float16 and bfloat16 arrays, for operations that compute in float32."""

from __future__ import annotations

from typing import Any

from omniconv.array import dtype_name

__all__ = ["is_half", "like_dtype", "widened"]

HALVES = ("float16", "bfloat16")


def _name(array: Any) -> str:
    return dtype_name(array) if hasattr(array, "dtype") else ""


def is_half(array: Any) -> bool:
    """Whether the array is one of float16 or bfloat16."""
    return _name(array) in HALVES


def widened(array: Any) -> Any:
    """The array as float32, of its kind; as it is where it is not a half, None included."""
    if not is_half(array):
        return array
    return array.float() if hasattr(array, "float") else array.astype("float32")


def like_dtype(array: Any, other: Any) -> Any:
    """`array`, of the kind of `other`, rounded to its dtype."""
    if array is None or _name(array) == _name(other):
        return array
    return array.to(other.dtype) if hasattr(array, "to") and hasattr(array, "float") else array.astype(other.dtype)
