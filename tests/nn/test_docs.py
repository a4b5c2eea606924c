"""docs/nn.md: its names exist and its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import omniconv.attribution
import omniconv.ntk
import omniconv.torch.linear
from omniconv import models, nn
from omniconv.torch.linear import Linearized

TEXT = (Path(__file__).parents[2] / "docs" / "nn.md").read_text(encoding="utf-8")


def test_names_exist():
    cells = re.findall(r"^\| [^|]+ \| (.*) \|$", TEXT, re.M)
    names = {name for cell in cells for name in re.findall(r"`([A-Za-z_][\w.]*)", cell)}
    modules = {"omniconv.attribution", "omniconv.ntk"}
    places = (
        nn,
        nn.functional,
        nn.complex,
        models,
        omniconv.attribution,
        omniconv.ntk,
        omniconv.torch.linear,
        Linearized,
    )
    missing = {n for n in names - modules if not any(hasattr(p, n.split(".")[-1]) for p in places)}
    assert len(names) > 60 and not missing


def test_code_runs():
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", TEXT, re.S)[1].replace("64, 64", "32, 32"), names)
    assert names["cam"].shape == (1, 1, 1, 1) and len(names["values"]) == 3
