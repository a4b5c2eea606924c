"""The snippets of docs/vmf.md and the example run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import omniconv

ROOT = Path(__file__).parents[2]


def test_snippets_run():
    text = (ROOT / "docs/vmf.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(<!-- needs: (\w+) -->\n)?```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for _, needed, code in blocks:
        if needed:
            try:
                __import__(needed)
            except ImportError:
                continue
        exec(compile(code, "docs/vmf.md", "exec"), names)


def test_example_prints_a_short_table():
    pytest.importorskip("sklearn")
    path = os.pathsep.join([str(Path(omniconv.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(ROOT / "examples/vmf_digits.py"), "2"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 5
