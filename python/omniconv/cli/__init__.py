"""The command ``omniconv``: info, demo, bench. Needs the extra ``cli`` (typer, rich)."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of the command; ends the process."""
    try:
        from omniconv.cli.app import app
    except ImportError as error:
        raise SystemExit(str(error)) from None
    app()
