"""omniconv bench blocks: report, means, what it refuses; one pass and one by one agree bit for bit."""

from __future__ import annotations

import pytest

from omniconv import nn
from omniconv.bench import blocks


@pytest.mark.parametrize("name", blocks.BLOCKS)
def test_measure(name):
    report = blocks.measure([name], [2], shapes=[(6, 16)], peers=False, repeat=1)
    (entry,) = report["entries"]
    assert [row["name"] for row in entry["results"]] == ["omniconv", "one by one"]
    assert max(row["error"] for row in entry["results"]) < 1e-6
    assert report["means"][name]["one_by_one"] == pytest.approx(entry["one_by_one"])
    with pytest.raises(ValueError, match="allowed are convnext, convfirst"):
        blocks.measure(["nothing"], [1])


def test_one_pass_and_one_by_one(isa):
    block, x = blocks._problem("convnext", 2, 9, 24)
    fused = block(x)
    with nn.one_by_one():
        assert (block(x) == fused).all()
    assert nn.functional.channels_last(fused).flags.c_contiguous


def test_the_peer_computes_the_same():
    pytest.importorskip("torch")
    report = blocks.measure(["convnext"], [1], shapes=[(5, 8)], repeat=1)
    assert max(row["error"] for row in report["entries"][0]["results"]) < 2e-6
