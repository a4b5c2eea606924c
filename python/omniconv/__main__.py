"""``python -m omniconv``: where a C or C++ build finds the library that this package carries."""

from __future__ import annotations

import argparse
from pathlib import Path

from omniconv import __version__, _core


def _folder(parser: argparse.ArgumentParser, *parts: str) -> Path:
    """A folder of the installed package; ends the program if this is a source tree, which has none."""
    # The module's folder, not this file's: in an editable install only the former holds what CMake installed.
    path = Path(_core.__file__).resolve().parent.joinpath(*parts)
    if not path.is_dir():
        parser.error(
            f"{path} does not exist: this omniconv is not installed (use `cmake --install` or `pip install .`)"
        )
    return path


def main(argv: list[str] | None = None) -> int:
    """Print each folder that was asked for, one per line; 0 on success."""
    parser = argparse.ArgumentParser(prog="python -m omniconv", description=__doc__)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--includedir", action="store_true", help="print the folder of the C and C++ headers")
    parser.add_argument("--cmakedir", action="store_true", help="print the folder of omniconvConfig.cmake")
    args = parser.parse_args(argv)
    if not (args.version or args.includedir or args.cmakedir):
        parser.print_help()
    if args.version:
        print(__version__)
    if args.includedir:
        print(_folder(parser, "include"))
    if args.cmakedir:
        print(_folder(parser, "lib", "cmake", "omniconv"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
