"""Measured times: they decide, they survive a file, and bits do not depend on where they were taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import omniconv
from omniconv import _core, tuning

X, W, HOW = (2, 16, 20, 20), (16, 16, 3, 3), {"padding": 1}


@pytest.fixture(autouse=True)
def _forget():
    yield
    tuning.clear()


def usable(**how):
    return [a for a in omniconv.algorithms(X, W, **{**HOW, **how}) if a.usable and a.name != "reference"]


def as_if(**seconds):
    """Times as though they had been measured, in both layouts; those not given are a second."""
    key = tuning_key()
    named = {name: seconds.get(name, 1.0) for name in {a.name for la in ("NCHW", "NHWC") for a in in_layout(la)}}
    _core.conv_add_tuned([(key, [(n, last, s) for last in (False, True) for n, s in named.items()])])


def in_layout(layout):
    x = X if layout == "NCHW" else (X[0], *X[2:], X[1])
    return [a for a in omniconv.algorithms(x, W, layout=layout, **HOW) if a.usable and a.name != "reference"]


def tuning_key():
    tuning.tune(X, W, seconds=1e-9, **HOW)
    ((key, _),) = _core.conv_tuned()
    return key


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("op", ["forward", "grad_input", "grad_weight"])
def test_every_algorithm_is_measured(op, packed):
    found = tuning.tune(X, W, op=op, packed=packed, seconds=0.02, **HOW)
    able = [a for a in found if a.usable and a.name != "reference"]
    assert len(able) >= 1 and all(a.measured > 0 for a in able)
    assert not any(a.measured for a in found if not a.usable)


def test_the_measured_times_decide_for_every_batch_and_layout():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(X, dtype=np.float32), rng.standard_normal(W, dtype=np.float32)
    plans = {name: omniconv.plan_conv2d(X, w, algorithm=name, **HOW)(x) for name in (a.name for a in usable())}
    for name, expected in plans.items():
        as_if(**{name: 1e-9})
        plan = omniconv.plan_conv2d(X, w, **HOW)
        assert plan.algorithm == name and "measured" in plan.explain()
        assert omniconv.algorithms(X, W, **HOW)[0].measured == pytest.approx(X[0] * 1e-9)
        np.testing.assert_array_equal(plan(x), expected)
        one = omniconv.plan_conv2d((1, *X[1:]), w, **HOW)
        np.testing.assert_array_equal(one(x[1:]), expected[1:])
        last = omniconv.plan_conv2d((X[0], *X[2:], X[1]), w, layout="NHWC", **HOW)
        same = last(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(same, expected)


def test_other_problems_and_calls_with_weights_of_their_own_are_left_alone():
    name = usable()[-1].name
    as_if(**{name: 1e-9})
    assert omniconv.algorithms(X, W, **HOW)[0].name == name
    for how in ({"padding": 0}, {"precision": "high", **HOW}, {"stride": 2, **HOW}, {"padding_mode": "reflect", **HOW}):
        assert not any(a.measured for a in omniconv.algorithms(X, W, **how))
    assert not any(a.measured for a in omniconv.algorithms((2, 16, 21, 20), W, **HOW))
    before = omniconv.isa()
    try:
        omniconv.set_isa("scalar")
        assert before == "scalar" or not any(a.measured for a in omniconv.algorithms(X, W, **HOW))
    finally:
        omniconv.set_isa(before)


def test_calls_that_cache_their_plans_take_the_new_choice():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(X, dtype=np.float32), rng.standard_normal(W, dtype=np.float32)
    before = omniconv.conv2d(x, w, **HOW)
    tuning.tune(X, W, packed=False, seconds=1e-9, **HOW)
    ((key, times),) = _core.conv_tuned()
    different = next(
        a.name for a in usable() if not np.array_equal(omniconv.conv2d(x, w, algorithm=a.name, **HOW), before)
    )
    _core.conv_add_tuned([(key, [(n, last, 1e-9 if n == different else s) for n, last, s in times])])
    omniconv.conv_spec.forget_plans()
    assert not np.array_equal(omniconv.conv2d(x, w, **HOW), before)
    tuning.clear()
    np.testing.assert_array_equal(omniconv.conv2d(x, w, **HOW), before)


def test_files_keep_what_others_wrote(tmp_path):
    path = tmp_path / "tuned.json"
    as_if(im2win=1e-9)
    assert tuning.save(path) == 1
    first = _core.conv_tuned()
    content = json.loads(path.read_text())
    content["machines"].append({"cpu": "another", "omniconv": "0", "problems": content["machines"][0]["problems"]})
    path.write_text(json.dumps(content))
    tuning.clear()
    assert not _core.conv_tuned() and not any(a.measured for a in usable())
    assert tuning.load(path) == 1 and _core.conv_tuned() == first
    tuning.tune(X, (8, 16, 1, 1), seconds=1e-9)
    assert tuning.save(path) == 2
    assert {m["cpu"] for m in json.loads(path.read_text())["machines"]} >= {"another"}
    both = tmp_path / "both.json"
    assert tuning.merge([path, path], both) == 3
    assert json.loads(both.read_text()) == json.loads(path.read_text())


def test_the_environment_names_a_file(tmp_path):
    as_if(im2win=1e-9)
    path = tmp_path / "tuned.json"
    tuning.save(path)
    code = f"import omniconv; print(omniconv.algorithms({X}, {W}, padding=1)[0].measured > 0)"
    environment = {**os.environ, "OMNICONV_TUNING": str(path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON file"),
        ("[]", "has schema None"),
        ('{"schema": "omniconv-bench-conv/1"}', "has schema 'omniconv-bench-conv/1'"),
        ('{"schema": "omniconv-tuning/1"}', "not its form"),
        ('{"schema": "omniconv-tuning/1", "machines": [{"cpu": "a", "omniconv": "b", "problems": {"k": 1}}]}', "form"),
    ],
)
def test_files_that_are_none(tmp_path, text, message):
    path = tmp_path / "file.json"
    path.write_text(text)
    for call in (tuning.load, tuning.save, lambda p: tuning.merge([p], tmp_path / "to.json")):
        with pytest.raises(ValueError, match=message):
            call(path)
    assert path.read_text() == text and not (tmp_path / "to.json").exists()


def test_bad_input(monkeypatch):
    monkeypatch.delenv("OMNICONV_TUNING", raising=False)
    with pytest.raises(ValueError, match="OMNICONV_TUNING"):
        tuning.load()
    with pytest.raises(TypeError, match="packed"):
        tuning.tune(X, W, packed=1)
    with pytest.raises(TypeError, match="seconds"):
        tuning.tune(X, W, seconds="long")
    for seconds in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="seconds"):
            tuning.tune(X, W, seconds=seconds)
    with pytest.raises(ValueError, match="empty"):
        tuning.tune((0, *X[1:]), W)
    with pytest.raises(NotImplementedError, match="dfp16"):
        tuning.tune(X, W, precision="dfp16")
    with pytest.raises(ValueError, match="im2win"):
        _core.conv_add_tuned([("key", [("im2win", False, 0.0)])])


def test_workspace_limit():
    able = usable()
    most = max(a.workspace_bytes for a in able)
    limit = sorted(a.workspace_bytes for a in able)[len(able) // 2]
    within = usable(workspace_limit=limit)
    assert {a.name for a in within} == {a.name for a in able if a.workspace_bytes <= limit} and limit < most
    out = next(a for a in omniconv.algorithms(X, W, workspace_limit=limit, **HOW) if a.workspace_bytes > limit)
    assert not out.usable and str(limit) in out.reason
    w = np.ones(W, np.float32)
    assert omniconv.plan_conv2d(X, w, workspace_limit=limit, **HOW).algorithm == within[0].name
    assert omniconv.plan_conv2d(X, w, workspace_limit=0, **HOW).algorithm in {"reference", *(a.name for a in within)}
    with pytest.raises(NotImplementedError, match="workspace_limit"):
        omniconv.plan_conv2d(X, w, algorithm=out.name, workspace_limit=limit, **HOW)(np.ones(X, np.float32))
    with pytest.raises(ValueError, match="workspace_limit"):
        omniconv.plan_conv2d(X, w, workspace_limit=-1, **HOW)
    with pytest.raises(NotImplementedError, match="workspace_limit"):
        omniconv.plan_conv2d(X, w, workspace_limit=9, precision="dfp16", **HOW)
