"""What a race and the oracles of the benches promise."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace

import numpy as np
import pytest

import omniconv
from omniconv.bench import layers, machine
from omniconv.bench.conv import busy_warning, summarise
from omniconv.bench.oracle import conv2d_float64, grad_weight_float64, plain_float32, relative_error
from omniconv.bench.race import Timing, geometric_mean, race


def test_race_interleaves_and_rotates(monkeypatch):
    from omniconv.bench import race as module

    clock, order = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

    def contestant(name, seconds):
        def call():
            order.append(name)
            clock[0] += seconds

        return call

    ticks = []
    timings = race({n: contestant(n, s) for n, s in (("a", 1.0), ("b", 2.0))}, repeat=3, tick=ticks.append)
    assert order[4:] == ["a", "b", "b", "a", "a", "b"]  # after a call to warm up and one to see how long it takes
    assert timings["a"].runs == (1.0,) * 3 and timings["b"].median == 2.0
    assert ticks == pytest.approx([1 / 3, 2 / 3, 1])
    timings = race({n: contestant(n, s) for n, s in (("a", 0.5), ("slow", 9.0))}, budget=4.0)
    assert timings["slow"].runs == (9.0,)  # longer than the budget: once
    assert timings["a"].runs == (0.5,) * 8
    timings = race({"short": contestant("short", 0.001)}, repeat=2)
    assert timings["short"].runs == pytest.approx((0.001,) * 10)  # several calls per turn


def test_short_calls_settle_before_they_are_timed(monkeypatch):
    from omniconv.bench import race as module

    clock = [0.0]

    def call():
        clock[0] += 0.01

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    assert race({"a": call}, repeat=2, settle=0.055)["a"].runs == pytest.approx((0.01,) * 10)
    assert clock[0] == pytest.approx(0.01 * (2 + 2 * (6 + 5)))  # 55 ms are six calls
    assert len(race({"a": call}, repeat=2, settle=0.004)["a"].runs) == 2  # long: a call for each turn
    start = clock[0]
    assert len(race({"a": call}, repeat=3, settle=0.004, warm=True)["a"].runs) == 3
    assert clock[0] - start == pytest.approx(0.01 * (2 + 3 * 2))  # an untimed one before each


def test_race_refuses_no_rounds():
    with pytest.raises(ValueError, match="repeat is 0"):
        race({"a": lambda: None}, repeat=0)


def test_timing_figures():
    timing = Timing((3.0, 1.0, 2.0, 5.0, 4.0))
    assert (timing.median, timing.best, timing.quartiles) == (3.0, 1.0, (2.0, 4.0))
    assert Timing((2.0,)).quartiles == (2.0, 2.0)


def test_geometric_mean():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([]))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Layer("plain", 5, 9, 7, 3),
        layers.Layer("all", ci=6, h=13, w=10, co=9, kh=3, kw=2, stride=2, padding=2, dilation=2, groups=3),
        layers.Layer("depthwise", ci=8, h=7, co=8, kh=5, padding=2, groups=8),
        layers.Layer("row", ci=6, h=7, co=6, kh=1, kw=5, padding=0, padding_w=2, groups=6),
    ],
    ids=lambda layer: layer.name,
)
def test_oracles_against_the_reference(layer):
    rng = np.random.default_rng(5)
    x, w, g = (rng.standard_normal(shape) for shape in (layer.x_shape(2), layer.w_shape, layer.y_shape(2)))
    expected = omniconv.conv2d(x, w, algorithm="reference", **layer.geometry)
    assert relative_error(conv2d_float64(x, w, layer), expected) < 1e-14
    chain = plain_float32(x, w.astype(np.float32), layer, 4)
    assert 1e-8 < relative_error(chain, expected[:, :4]) < 1e-6
    gradient = omniconv.conv2d_grad_weight(g, x, layer.w_shape, algorithm="reference", **layer.geometry)
    assert relative_error(grad_weight_float64(x, g, layer), gradient) < 1e-14


def test_relative_error():
    assert relative_error(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(0.5 / math.hypot(3, 4.5))
    assert relative_error(np.zeros(2), np.zeros(2)) == 0


def entry(name, auto, seconds):
    """A layer on which the peer p takes 2 and PyTorch NCHW 4 seconds."""
    rows = [
        {"name": n, "seconds": t, "peak_percent": 50.0, "error": 1e-7, "vs_best_peer": 2 / t, "vs_torch_nchw": 4 / t}
        for n, t in seconds.items()
    ]
    return {"name": name, "auto": auto, "count": 1, "results": rows}


def test_summary_keeps_losing_rows_and_follows_the_choice():
    entries = [
        entry("one", "a", {"a": 1.0, "b": 4.0, "p": 2.0}),
        entry("two", "b", {"a": 8.0, "b": 4.0, "p": 2.0}),
        entry("three", "a", {}),
    ]
    lines = {line["name"]: line for line in summarise(entries)}
    assert lines.keys() == {"auto", "a", "b", "p"}
    assert lines["auto"]["vs_best_peer"] == pytest.approx(1.0)  # 2 on one, 1/2 on two
    assert lines["auto"]["vs_best_peer_least"] == [0.5, "two"]
    assert lines["a"]["vs_best_peer"] == pytest.approx(math.sqrt(2 * 0.25))
    assert (lines["auto"]["fastest_on"], lines["p"]["fastest_on"], lines["b"]["fastest_on"]) == (1, 1, 0)
    assert (lines["auto"]["layers"], lines["auto"]["of"]) == (2, 2)


def test_a_busy_machine_is_said():
    assert busy_warning({"others_busy_cpus": [0.0, None]}) == ""
    assert "1.5 CPUs" in busy_warning({"others_busy_cpus": [0.0, 1.5]})


def test_machine_description_and_memory():
    about = machine.describe()
    assert about["omniconv"] == omniconv.__version__ and about["versions"]["numpy"] == np.__version__
    assert about["compiler"].startswith(("GCC", "Clang"))
    free = machine.available_bytes()
    assert free is None or 0 < free <= about["memory_bytes"]
    busy = machine.busy_cpus(0.05)
    assert busy is None or busy >= 0
    with machine.OtherWork() as elsewhere:
        pass
    assert elsewhere.cpus is None or elsewhere.cpus >= 0


def test_work_of_other_processes_is_told_from_our_own(monkeypatch):
    ticks, cpu = iter((1000, 1300)), iter((5.0, 6.0))
    second = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(machine, "_busy_ticks", lambda: next(ticks) / 100 * second)
    monkeypatch.setattr(machine.os, "times", lambda: SimpleNamespace(user=next(cpu), system=0.0))
    monkeypatch.setattr(machine.time, "perf_counter", iter((0.0, 4.0)).__next__)
    with machine.OtherWork() as elsewhere:
        pass
    assert elsewhere.cpus == pytest.approx(0.5)  # three busy seconds, one of them ours, in four
