"""Writes docs/families.md, a section per family of models, and the table of names in docs/models.md.

    python docs/make_families.py            # from the registry, docstrings and docs/parity.json
    python docs/make_families.py --measure  # runs the golden cases of tests/golden first, and writes docs/parity.json

What is faithful and what differs is told once, in the table of families of docs/models.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from omniconv import models

DOCS = Path(__file__).parent
GOLDEN = DOCS.parent / "tests" / "golden"
HEAD = """# Families of models

Written by `docs/make_families.py`; [models.md](models.md) tells how to use them. Parity is the relative L2 difference
of the worst result of a case to the public implementation in float64, with equal random weights, in float32; the limit
is the larger of 1e-5 and ten times what that implementation errs by itself in float32. Measured with AVX2 (EPYC 7003).
"""


def _table() -> dict[str, tuple[str, str]]:
    """(faithful to, differs) of each family, as docs/models.md tells."""
    text = re.search(r"## Families\n(.*?)\n## ", (DOCS / "models.md").read_text(encoding="utf-8"), re.S)[1]
    found = {}
    for row in re.findall(r"^\| ([a-z].*) \|$", text, re.M):
        names, faithful, differs, _ = (cell.strip() for cell in row.split("|"))
        found |= {name.strip(): (faithful, differs) for name in names.split(",")}
    return found


def _options(build: Any) -> str:
    """The parameters that a family's docstring tells, as they stand."""
    text = inspect.getdoc(build) or ""
    return text.split("Parameters\n----------\n", 1)[-1].split("\nReturns\n", 1)[0].strip()


def _section(family: str, entries: list[models.Entry], parity: dict[str, Any], told: tuple[str, str]) -> str:
    module = importlib.import_module(f"omniconv.models.{family}")
    lines = [f"## {family}", "", inspect.getdoc(module) or "", ""]
    lines += [f"Faithful to: {told[0]}." + (f" To be known: {told[1]}." if told[1] else ""), ""]
    builds = list(dict.fromkeys(e.build for e in entries))
    for build in builds:
        names = [e.name for e in entries if e.build is build]
        lines += [f"`{'`, `'.join(names)}`. Options:", "", "```text", _options(build), "```", ""]
        outputs = inspect.getdoc(getattr(build, "outputs", None)) if inspect.isclass(build) else None
        if outputs:
            lines += [f"Results: {outputs}", ""]
    if parity:
        lines += ["| case | reference | results | parity | limit |", "|---|---|---|---|---|"]
        for case, p in parity.items():
            lines.append(f"| {case} | {p['reference']} | {p['results']} | {p['error']:.0e} | {p['limit']:.0e} |")
    else:
        lines.append("No public implementation to compare with was at hand.")
    return "\n".join(lines) + "\n"


def text() -> str:
    """What docs/families.md has to hold."""
    parity, told = json.loads((DOCS / "parity.json").read_text(encoding="utf-8")), _table()
    families: dict[str, list[models.Entry]] = {}
    for entry in models.entries().values():
        families.setdefault(entry.family, []).append(entry)
    return "\n".join([HEAD, *(_section(f, es, parity.get(f, {}), told[f]) for f, es in families.items())])


def measure() -> dict[str, dict[str, Any]]:
    """{family: {case: parity}} over the golden cases."""
    spec = importlib.util.spec_from_file_location("omniconv_golden_cases", GOLDEN / "cases.py")
    cases = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = cases
    spec.loader.exec_module(cases)
    found: dict[str, dict[str, Any]] = {}
    for family in sorted({e.family for e in models.entries().values()}):
        for path in sorted((GOLDEN / family).glob("*.npz")):
            case, outputs = cases.seeded.load(path), cases.run(path)
            each = case.meta.get("err32_each", {})
            errors = {n: cases.seeded.relative_error(outputs[n], case.outputs[n]) for n in case.outputs}
            worst = max(errors, key=lambda n: errors[n] / max(1e-5, 10 * each.get(n, case.meta["err32"])))
            found.setdefault(family, {})[path.stem] = {
                "reference": re.sub(r" ?@[0-9a-f]{7,}", "", case.meta["reference"]), "results": len(errors),
                "error": float(f"{errors[worst]:.1e}"),
                "limit": float(f"{max(1e-5, 10 * each.get(worst, case.meta['err32'])):.1e}"),
            }  # fmt: skip
            print(family, path.stem, f"{errors[worst]:.1e}", flush=True)
    return found


def main() -> None:
    """Write both pages."""
    if "--measure" in sys.argv[1:]:
        (DOCS / "parity.json").write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    page = DOCS / "models.md"
    marks = re.compile(r"(<!-- table: omniconv\.models\.table\(\) -->\n).*?(\n<!-- end -->)", re.S)
    page.write_text(
        marks.sub(lambda m: m[1] + models.table() + m[2], page.read_text(encoding="utf-8")), encoding="utf-8"
    )
    (DOCS / "families.md").write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
