"""Interleaved timing: contestants take turns in one run, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["LONG_SETTLE", "Timing", "geometric_mean", "race"]

# Idle threads of an OpenMP runtime or a pool spin for a while after a call and take a core from the next contestant,
# and the scheduler needs time to give a woken worker a core of its own. So a turn of short calls opens with untimed
# ones for this long (with none, medians of 100 us calls were up to 1.7 times as long); long calls do not notice.
# Pools that spin for longer, such as ONNX Runtime's, need LONG_SETTLE: the first call of ResNet-50 behind it took 42
# ms, the second 30, every later one 21, as many as alone (two cores).
SETTLE, LONG_SETTLE = 0.01, 0.1
_CALLS_PER_TURN = 5
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 50


class Timing(NamedTuple):
    """Seconds of each timed call of one contestant."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.runs)

    @property
    def best(self) -> float:
        """The fastest call: for ceilings, never for comparisons."""
        return min(self.runs)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the calls was faster than the first, a quarter slower than the second."""
        if len(self.runs) < 2:
            return self.runs[0], self.runs[0]
        low, _, high = statistics.quantiles(self.runs, n=4, method="inclusive")
        return low, high


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _turn(call: Callable[[], Any], short: bool, warm: bool, settle: float) -> list[float]:
    end = time.perf_counter() + settle
    while (short or warm) and time.perf_counter() < end:
        call()
    return [_seconds(call) for _ in range(_CALLS_PER_TURN if short else 1)]


def race(
    calls: Mapping[str, Callable[[], Any]],
    *,
    repeat: int | None = None,
    budget: float = 3.0,
    warm: bool = False,
    settle: float = SETTLE,
    tick: Callable[[float], None] | None = None,
) -> dict[str, Timing]:
    """Time every call, in rounds that start with another contestant each time.

    Parameters
    ----------
    calls : mapping of str to callable
    repeat : int, optional
        Rounds, in which every call has a turn: five timed calls if they are short, else one. Left out, as many
        as fit into the budget, 3 to 50.
    budget : float
        Seconds for all rounds together. Without `repeat`, a call that alone takes longer is timed once.
    warm : bool
        Whether a turn of a long call opens with untimed ones too: for contestants whose idle threads spin for long.
    settle : float
        Seconds of untimed calls that open a turn of short calls, which are those of less than two of these.
    tick : callable, optional
        Told the part that is done, 0 to 1.
    """
    if repeat is not None and repeat < 1:
        raise ValueError(f"repeat is {repeat}; allowed is 1 and more")
    runs: dict[str, list[float]] = {name: [] for name in calls}
    tried = {name: _seconds(call) for name, call in calls.items()}
    names = [name for name in calls if repeat is not None or tried[name] <= budget]
    for name in calls.keys() - set(names):
        runs[name].append(tried[name])
    once = {name: min(tried[name], _seconds(calls[name])) for name in names}
    rounds = repeat
    if rounds is None:
        turns = sum(
            max(settle, s) + _CALLS_PER_TURN * s if s < 2 * settle else s + max(settle, s) * warm for s in once.values()
        )
        rounds = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, int(budget / max(turns, 1e-9))))
    for done in range(rounds if names else 0):
        first = done % len(names)
        for name in names[first:] + names[:first]:
            runs[name] += _turn(calls[name], once[name] < 2 * settle, warm, settle)
        if tick:
            tick((done + 1) / rounds)
    return {name: Timing(tuple(seconds)) for name, seconds in runs.items()}


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive numbers; NaN for none."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
