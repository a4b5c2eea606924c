"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["bytes_text", "error_text", "seconds_text"]


def seconds_text(seconds: float) -> str:
    """In the unit that gives one to four digits before the point."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def bytes_text(count: int | None) -> str:
    """In KiB, MiB or GiB; a dash where it is not known."""
    if count is None:
        return "–"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def error_text(error: float) -> str:
    """Two digits."""
    return f"{error:.1e}"
