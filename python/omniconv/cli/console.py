"""What the commands share: consoles, and JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

__all__ = ["print_json", "stderr", "stdout", "writable", "write_json"]


def _console(error: bool) -> Console:
    console = Console(stderr=error, highlight=False)
    # A pipe or a log has no width of its own, and the 80 columns assumed then would break our tables.
    return console if console.is_terminal else Console(stderr=error, highlight=False, width=112)


def stdout() -> Console:
    """For results."""
    return _console(False)


def stderr() -> Console:
    """For progress, so that a pipe gets results alone."""
    return _console(True)


def writable(path: Path | None, option: str) -> None:
    """ValueError where a file could not be written: found out now, not after minutes of measuring."""
    if path is not None and not path.absolute().parent.is_dir():
        raise ValueError(f"{option} is {path}; its folder does not exist")


def print_json(value: Any) -> None:
    """On stdout, unadorned."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def write_json(value: Any, path: str) -> None:
    """To a file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")
