"""omniconv info, and the command without its extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

import omniconv

BLOCKED = "import sys; sys.modules['typer'] = None; "


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_info_prints_versions_isa_and_threads(omniconv_command):
    result = omniconv_command("info")
    assert result.exit_code == 0, result.output
    for text in (omniconv.__version__, omniconv.isa(), str(omniconv.get_num_threads()), "CUDA", "plugin", "numpy"):
        assert text in result.stdout


def test_info_as_json(omniconv_command, read_json):
    result = omniconv_command("info", "--json")
    assert result.exit_code == 0, result.output
    about = read_json(result.stdout)
    assert about["omniconv"] == omniconv.__version__
    assert about["isa"]["available"] == omniconv.available_isas()
    assert about["isa"]["in_force"] in about["isa"]["available"]
    assert about["threads"]["in_force"] == omniconv.get_num_threads()
    assert set(about["cuda"]) == {"plugin", "reason", "devices"}
    assert bool(about["cuda"]["devices"]) != bool(about["cuda"]["reason"])
    assert about["versions"]["numpy"]


def test_info_names_the_variables_in_force(omniconv_command, read_json, monkeypatch):
    monkeypatch.setenv("OMNICONV_NUM_THREADS", "1")
    about = read_json(omniconv_command("info", "--json").stdout)
    assert about["environment"]["OMNICONV_NUM_THREADS"] == "1"
    assert about["threads"]["from"] == "OMNICONV_NUM_THREADS"


def test_info_shows_a_bad_variable_and_does_not_fail():
    code = "import os; os.environ['OMNICONV_ISA'] = 'abacus'; import sys; sys.argv = ['omniconv', 'info'];"
    result = run(code + "from omniconv.cli import main; main()")
    assert result.returncode == 0, result.stderr
    assert "abacus" in result.stdout and "error" in result.stdout


def test_info_imports_no_framework():
    result = run(
        "import sys, omniconv.cli.app, omniconv.cli.info as info; info.info()\n"
        "print(sorted({'torch', 'jax', 'cupy', 'matplotlib'} & set(sys.modules)))"
    )
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


@pytest.mark.parametrize("code", ["from omniconv.cli import main; main()", "import omniconv.cli.app"])
def test_without_the_extra_the_message_tells_what_to_install(code):
    result = run(BLOCKED + code)
    assert result.returncode != 0
    assert "pip install 'omniconv[cli]'" in result.stderr


def test_without_the_extra_the_command_prints_no_traceback():
    assert "Traceback" not in run(BLOCKED + "from omniconv.cli import main; main()").stderr
