"""Times of convolution algorithms measured on this machine, which ``algorithm="auto"`` prefers to predictions.

omniconv.tuning.tune((16, 64, 56, 56), (64, 64, 3, 3), padding=1)  # measures, and keeps the times in this process
omniconv.tuning.save("tuned.json")  # adds them to a file
omniconv.tuning.load("tuned.json")  # in another process; or OMNICONV_TUNING=tuned.json in its environment

A problem is known by its shapes without the batch, its geometry, precision and instruction set. Batch, layout and
number of threads are left out: the bits of a result depend on none of them, and so no choice may. Plans that exist
stay what they are.

A file holds times by CPU model and version of omniconv; others than those of the running ones are kept and not used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omniconv import _core
from omniconv.conv import Algorithm, _problem
from omniconv.conv_spec import forget_plans

__all__ = ["clear", "load", "merge", "save", "tune"]

SCHEMA = "omniconv-tuning/1"

# By key, by layout (channels first or last in memory), by algorithm: seconds of one image.
Problems = dict[str, dict[str, dict[str, float]]]
LAYOUTS = ("channels_first", "channels_last")


def tune(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    op: str = "forward",
    layout: str | None = None,
    packed: bool = True,
    seconds: float = 0.3,
    **options: Any,
) -> list[Algorithm]:
    """Measure every algorithm of a float32 problem on the CPU; from now on "auto" takes the fastest for it.

    Parameters
    ----------
    x_shape, w_shape : sequence of int
        Shapes of the convolution's x, in the order that `layout` says, and weight.
    op : "forward", "grad_input" or "grad_weight"
    packed : bool
        Whether the weights are packed before, as a plan does; False is for calls of `omniconv.conv` and its like,
        whose weights come with every call.
    seconds : float
        What measuring both layouts may take, apart from the first runs of each algorithm.
    **options
        stride, padding, padding_mode, dilation, groups, precision, workspace_limit, as in `omniconv.conv`.

    Returns
    -------
    list of Algorithm
        What `omniconv.algorithms` now says, with the measured times.
    """
    if not isinstance(packed, bool):
        raise TypeError(f"packed is {packed!r}; expected is True or False")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"seconds is {seconds!r}; expected is a number")
    desc = _problem(x_shape, w_shape, op, "float32", layout, "cpu", options).desc(weights_change=not packed)
    rows = _core.conv_tune(desc, seconds)
    forget_plans()
    return [Algorithm(*row) for row in rows]


def clear() -> None:
    """Forget all times of this process; files stay."""
    _core.conv_clear_tuned()
    forget_plans()


def save(path: str | os.PathLike[str]) -> int:
    """Add the times of this process to a file, which is made where there is none; returns how many problems they are.

    Problems that the file has for this CPU and version are replaced, everything else in it stays.
    """
    path = Path(path)
    blocks = _read(path) if path.exists() else {}
    problems: Problems = {}
    for key, times in _core.conv_tuned():
        problems[key] = {layout: {} for layout in LAYOUTS}
        for algorithm, last, seconds in times:
            problems[key][LAYOUTS[last]][algorithm] = seconds
    blocks.setdefault(_here(), {}).update(problems)
    _write(path, blocks)
    return len(problems)


def load(path: str | os.PathLike[str] | None = None) -> int:
    """Take up the times of a file (None: that of OMNICONV_TUNING); returns how many problems are this machine's."""
    if path is None:
        path = os.environ.get("OMNICONV_TUNING")
        if not path:
            raise ValueError("path is None and OMNICONV_TUNING is not set")
    problems = _read(Path(path)).get(_here(), {})
    rows = [
        (key, [(name, last, seconds) for last in (False, True) for name, seconds in times[LAYOUTS[last]].items()])
        for key, times in problems.items()
    ]
    _core.conv_add_tuned(rows)
    forget_plans()
    return len(problems)


def merge(paths: Sequence[str | os.PathLike[str]], into: str | os.PathLike[str]) -> int:
    """Put files together into one; of a problem that several have, the last one's times. Returns its problems."""
    blocks: dict[tuple[str, str], Problems] = {}
    for path in paths:
        for place, problems in _read(Path(path)).items():
            blocks.setdefault(place, {}).update(problems)
    _write(Path(into), blocks)
    return sum(map(len, blocks.values()))


def _here() -> tuple[str, str]:
    from omniconv.bench.machine import cpu_name

    return cpu_name(), _core.__version__


def _read(path: Path) -> dict[tuple[str, str], Problems]:
    """The file's problems by CPU and version. ValueError names the file where it is none of ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}; expected is {SCHEMA!r}")
    try:
        blocks: dict[tuple[str, str], Problems] = {}
        for block in found["machines"]:
            problems = {
                str(key): {
                    layout: {str(name): float(seconds) for name, seconds in times[layout].items()} for layout in LAYOUTS
                }
                for key, times in block["problems"].items()
            }
            blocks.setdefault((str(block["cpu"]), str(block["omniconv"])), {}).update(problems)
        return blocks
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has schema {SCHEMA!r} and not its form: {error!r}") from None


def _write(path: Path, blocks: dict[tuple[str, str], Problems]) -> None:
    machines = [
        {"cpu": cpu, "omniconv": version, "problems": dict(sorted(problems.items()))}
        for (cpu, version), problems in sorted(blocks.items())
    ]
    text = json.dumps({"schema": SCHEMA, "machines": machines}, indent=1) + "\n"
    part = path.with_name(path.name + ".part")  # whoever reads meanwhile finds the old file or the new one
    part.write_text(text, encoding="utf-8")
    part.replace(path)
