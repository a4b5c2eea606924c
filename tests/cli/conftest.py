"""What the tests of the command line share."""

from __future__ import annotations

import json

import pytest

typer_testing = pytest.importorskip("typer.testing", reason="the command line needs the extra cli")
pytest.importorskip("rich")


@pytest.fixture
def omniconv_command(monkeypatch):
    """Runs the command with arguments; the result has exit_code, stdout, stderr and output."""
    from omniconv.cli.app import app

    # Messages are boxed to the terminal's width; one line each is what the tests can search.
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "dumb")
    return lambda *args: typer_testing.CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def read_json():
    """The value in a JSON text; NaN and infinity are not JSON, so they are errors."""

    def refuse(word):
        raise AssertionError(f"{word} in JSON")

    return lambda text: json.loads(text, parse_constant=refuse)
