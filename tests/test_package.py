"""What the package promises before any op is called."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import omniconv
from omniconv import _core

PACKAGE = Path(_core.__file__).parent  # where CMake installed: in an editable install not the folder of the sources
INSTALLED = (PACKAGE / "lib").is_dir()


def run(*args: str) -> str:
    return subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True).stdout.strip()


def test_version_of_library_is_version_of_package():
    if not INSTALLED:
        pytest.skip("runs from a source tree")
    assert omniconv.__version__ == importlib.metadata.version("omniconv")


def test_import_brings_in_no_framework():
    found = run("-c", "import sys, omniconv; print(*{'torch', 'jax', 'cupy', 'tensorflow'} & set(sys.modules))")
    assert found == ""


def test_main_prints_version():
    assert run("-m", "omniconv", "--version") == omniconv.__version__


@pytest.mark.skipif(not INSTALLED, reason="runs from a source tree")
def test_main_prints_folders_of_headers_and_cmake_package():
    include, cmake = run("-m", "omniconv", "--includedir", "--cmakedir").splitlines()
    assert (Path(include) / "omniconv" / "omniconv.h").is_file()
    assert (Path(include) / "dlpack" / "dlpack.h").is_file()
    assert (Path(cmake) / "omniconvConfig.cmake").is_file()


@pytest.mark.skipif(not INSTALLED, reason="runs from a source tree")
def test_cmake_finds_the_package_by_entry_point():
    entries = importlib.metadata.entry_points(group="cmake.root")
    assert [entry.value for entry in entries if entry.name == "omniconv"] == ["omniconv"]


def test_package_is_typed():
    assert (Path(omniconv.__file__).parent / "py.typed").is_file()
    assert (PACKAGE / "_core.pyi").is_file()


@pytest.mark.skipif(not INSTALLED, reason="runs from a source tree")
def test_library_is_carried_once():
    assert len(list(PACKAGE.rglob("libomniconv.*"))) == 1
