"""docs/models.md: its table is that of the registry, and its guide works."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np

from omniconv import models

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "models.md").read_text(encoding="utf-8")


def test_table_is_current():
    found = re.search(r"<!-- table: omniconv\.models\.table\(\) -->\n(.*?)\n<!-- end -->", TEXT, re.S)
    assert found[1] == models.table()


def test_sections_of_families_are_current():
    spec = importlib.util.spec_from_file_location("make_families", DOCS / "make_families.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert (DOCS / "families.md").read_text(encoding="utf-8") == make.text(), "run python docs/make_families.py"
    parity = json.loads((DOCS / "parity.json").read_text(encoding="utf-8"))
    cases = {p.stem for family in parity for p in (DOCS.parent / "tests/golden" / family).glob("*.npz")}
    assert {case for each in parity.values() for case in each} == cases
    assert all(p["error"] <= p["limit"] for each in parity.values() for p in each.values())


def test_every_family_is_described():
    described = re.search(r"## Families\n(.*?)\n## Names", TEXT, re.S)[1]
    cells = {name.strip() for row in re.findall(r"^\| ([^|]+) \|", described, re.M) for name in row.split(",")}
    assert {entry.family for entry in models.entries().values()} <= cells


def test_the_guide_to_a_model_works(monkeypatch):
    from omniconv.models import registry

    monkeypatch.setattr(
        registry, "_ENTRIES", dict(models.entries())
    )  # imports all, so that none registers with the copy
    code = re.search(r"## Add a model\n.*?```python\n(.*?)```", TEXT, re.S)[1]
    exec(code, {"__name__": "omniconv.models.tinynet"})
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype("float32")
    model = models.create("tinynet_b", num_classes=3)
    before = model(x)
    assert before.shape == (2, 3) and "blocks.3.conv.weight" in model.state_dict()
    assert np.allclose(model.fold()(x), before, atol=1e-5)
