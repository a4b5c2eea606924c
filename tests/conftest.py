"""Fixtures and the hypothesis profile of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import omniconv

# The same examples in every run, and no verdict by the clock: these tests run on loaded machines. The fixtures below
# do not change between the examples of a test.
settings.register_profile(
    "omniconv",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# An emulated thread is not as quick as a vector lane.
settings.register_profile("emulated", settings.get_profile("omniconv"), max_examples=6)
EMULATED = omniconv.array_device() == "emu"
settings.load_profile("emulated" if EMULATED else "omniconv")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under the emulator no test takes more examples than the profile, whatever its own settings say."""
    for item in items if EMULATED else []:
        test = getattr(item, "obj", None)
        own = getattr(test, "_hypothesis_internal_use_settings", None)
        if own is not None:
            test._hypothesis_internal_use_settings = settings(own, max_examples=min(own.max_examples, 6))


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Thread number and instruction set do not leak from one test into the next."""
    threads, isa = omniconv.get_num_threads(), omniconv.isa()
    yield
    omniconv.set_num_threads(threads)
    omniconv.set_isa(isa)


@pytest.fixture(params=[omniconv.isa()] if EMULATED else omniconv.available_isas())
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set of this machine in turn."""
    omniconv.set_isa(request.param)
    return request.param
