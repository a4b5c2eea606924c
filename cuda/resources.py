"""Registers, spills and shared memory of every CUDA kernel, as ptxas tells them, held against ``cuda/resources.txt``.

    cmake --preset cuda && cmake --build --preset cuda
    python3 cuda/resources.py build/cuda            # compare; 1 where they differ
    python3 cuda/resources.py build/cuda --write    # after a change that is meant

It finds without a GPU what makes a kernel slow on one: a register too many halves the warps that fit, a spill goes to
memory. Numbers belong to one version of nvcc; those of another are not compared.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

TABLE = Path(__file__).with_name("resources.txt")
ENTRY = re.compile(r"Compiling entry function '(?P<name>\w+)' for '(?P<arch>\w+)'")
SPILLS = re.compile(r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads")
USED = re.compile(r"Used (?P<registers>\d+) registers")
SHARED = re.compile(r"(?P<bytes>\d+) bytes smem")


def demangled(names: list[str]) -> dict[str, str]:
    """Kernel names as people write them: without namespaces and parameters."""
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    short = {}
    for name, line in zip(names, text.splitlines(), strict=True):
        line = line.replace("(anonymous namespace)::", "").removeprefix("void ")
        line = re.sub(r"\w+::", "", line)
        depth = 0
        for i, c in enumerate(line):  # the parameters begin at the first parenthesis outside of template arguments
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0:
                line = line[:i]
                break
        short[name] = re.sub(r"\((?:bool|int)\)", "", line)
    return short


def read(build: Path) -> list[str]:
    """A line for each kernel of each architecture, sorted."""
    logs = sorted((build / "cuda" / "nvcc").rglob("*.cu.o.log"))
    if not logs:
        sys.exit(f"{build} holds no logs of ptxas: build the preset 'cuda' first")
    rows = []
    for log in logs:
        source, kernel, spilled = log.relative_to(build / "cuda" / "nvcc").as_posix().removesuffix(".o.log"), None, 0
        for line in log.read_text().splitlines():
            if match := ENTRY.search(line):
                kernel, spilled = match, 0
            elif match := SPILLS.search(line):
                spilled = max(spilled, int(match["stores"]) + int(match["loads"]))
            elif kernel and (match := USED.search(line)):
                shared = SHARED.search(line)
                rows.append((kernel["arch"], source, kernel["name"], match["registers"], spilled,
                             shared["bytes"] if shared else "0"))  # fmt: skip
                kernel = None
    names = demangled([row[2] for row in rows])
    lines = [
        f"{arch:8} {source} {names[name]}: {registers} registers, {spilled} bytes spilled, {shared} bytes shared"
        for arch, source, name, registers, spilled, shared in rows
    ]
    return sorted(lines)


def compiler(build: Path) -> str:
    """The version of the nvcc that built."""
    ninja = (build / "build.ninja").read_text()
    nvcc = re.search(r"(\S+/nvcc) -std=", ninja)
    if nvcc is None:
        sys.exit(f"{build} was built without nvcc")
    text = subprocess.run([nvcc[1], "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V([\d.]+)", text)[1]


def main() -> int:
    """Compare or write; 1 where a kernel differs from the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="folder of a build with nvcc")
    parser.add_argument("--write", action="store_true", help="make what was built the table")
    args = parser.parse_args()
    lines = [f"nvcc {compiler(args.build)}", *read(args.build)]
    if args.write:
        TABLE.write_text("\n".join(lines) + "\n")
        return 0
    expected = TABLE.read_text().splitlines()
    if lines[0] != expected[0]:
        print(f"{TABLE.name} is of {expected[0]}, this is {lines[0]}: not compared")
        return 0
    gone, new = sorted(set(expected) - set(lines)), sorted(set(lines) - set(expected))
    for line in gone:
        print(f"- {line}")
    for line in new:
        print(f"+ {line}")
    if not gone and not new:
        print(f"{len(lines) - 1} kernels as in {TABLE.name}")
    return 1 if gone or new else 0


if __name__ == "__main__":
    raise SystemExit(main())
