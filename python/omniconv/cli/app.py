"""The commands put together. ImportError tells how to install what they need."""

from __future__ import annotations

try:
    import rich  # noqa: F401
    import typer
except ModuleNotFoundError as missing:
    raise ImportError(
        f"the command omniconv needs {missing.name}, which is not installed: pip install 'omniconv[cli]'"
    ) from None

from omniconv.cli import bench, demo, info, models, tune

app = typer.Typer(
    name="omniconv",
    help="Convolutions: what this machine offers, a demonstration, models, and races against peers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback as Python prints it is what a bug report needs
)
app.command("info")(info.info)
app.command("demo")(demo.demo)
app.command("models")(models.models)
app.command("run")(models.run)
app.command("tune")(tune.tune)
app.add_typer(bench.app, name="bench")
