"""``omniconv info``: what a bug report needs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import omniconv
from omniconv import _core
from omniconv.bench import machine
from omniconv.bench.text import bytes_text
from omniconv.cli.console import print_json, stdout

__all__ = ["gather", "info"]


def _or_error(ask: Callable[[], Any]) -> Any:
    """A bad environment variable is the very thing that this command must be able to show."""
    try:
        return ask()
    except (ValueError, NotImplementedError) as error:
        return f"error: {error}"


def _threads_from() -> str:
    if os.environ.get("OMNICONV_NUM_THREADS"):
        return "OMNICONV_NUM_THREADS"
    return f"the CPUs this process may use (affinity, container limits), of {os.cpu_count()} in the machine"


def _isa_from() -> str:
    return "OMNICONV_ISA" if os.environ.get("OMNICONV_ISA") else "the best available"


def _cuda() -> dict[str, Any]:
    plugin, reason, devices = _core.cuda_report()
    return {"plugin": plugin if os.path.exists(plugin) else None, "reason": reason, "devices": devices}


def _cuda_line(cuda: dict[str, Any]) -> str:
    if cuda["plugin"] is None:
        return "no plugin: this omniconv was built without nvcc; everything runs on the CPU"
    if cuda["reason"]:
        return f"{cuda['reason']}; everything runs on the CPU (plugin {cuda['plugin']})"
    return f"{'; '.join(cuda['devices'])} (plugin {cuda['plugin']})"


def gather() -> dict[str, Any]:
    """Everything the command prints, as plain values."""
    return {
        "omniconv": omniconv.__version__,
        "compiler": _core.compiler,
        "isa": {"in_force": _or_error(omniconv.isa), "from": _isa_from(), "available": omniconv.available_isas()},
        "threads": {"in_force": _or_error(omniconv.get_num_threads), "from": _threads_from()},
        "cuda": _cuda(),
        "array_device": _or_error(omniconv.array_device),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith("OMNICONV_")},
        "python": platform.python_version(),
        "versions": machine.versions(),
        **machine.hardware(),
    }


def _lines(about: dict[str, Any]) -> list[tuple[str, str]]:
    isa, threads = about["isa"], about["threads"]
    caches = ", ".join(f"{name} {size}" for name, size in about["caches"].items())
    return [
        ("omniconv", f"{about['omniconv']}, compiled by {about['compiler']}"),
        ("ISA level", f"{isa['in_force']} ({isa['from']}); available: {', '.join(isa['available'])}"),
        ("threads", f"{threads['in_force']} ({threads['from']})"),
        ("CUDA", _cuda_line(about["cuda"])),
        *([("arrays go to", about["array_device"])] if about["array_device"] != "cpu" else []),
        ("CPU", f"{about['cpu']}; {caches}" if caches else about["cpu"]),
        ("memory", bytes_text(about["memory_bytes"])),
        ("system", about["system"]),
        ("Python", about["python"]),
        ("installed", ", ".join(f"{name} {version}" for name, version in about["versions"].items())),
        (
            "environment",
            ", ".join(f"{n}={v}" for n, v in about["environment"].items()) or "no OMNICONV_ variable is set",
        ),
    ]


def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print version, ISA levels, threads, CUDA, and the versions of what is installed beside."""
    about = gather()
    if as_json:
        print_json(about)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(about):
        table.add_row(name, escape(text))
    stdout().print(table)
