"""Models by name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from omniconv import nn
from omniconv.array import said
from omniconv.nn import Module

__all__ = ["Entry", "Model", "create", "entries", "list", "register", "scale", "table"]


class Model(Module):
    """A module whose intermediate results have names.

    `outputs` computes all of them; calling the model gives the one that `main` names.
    """

    main = "logits"
    #: height and width of an image must be multiples of this
    multiple = 1
    #: whether the input is sounds of one channel [N, T], and the main result [N, T, sounds]
    waveform = False

    def outputs(self, *inputs: Any) -> dict[str, Any]:
        """Every named result, in the order in which they are computed."""
        raise NotImplementedError(f"{type(self).__name__} has no outputs")

    def forward(self, *inputs: Any) -> Any:
        """The main result."""
        return self.outputs(*inputs)[self.main]


class Entry(NamedTuple):
    """A name that `create` knows."""

    name: str
    family: str
    build: Callable[..., Model]
    options: dict[str, Any]
    paper: str


_ENTRIES: dict[str, Entry] = {}


def register(variants: Mapping[str, Mapping[str, Any]], *, paper: str) -> Callable[[Any], Any]:
    """Decorate the class or function that builds a family: `variants` names its published sizes."""

    def note(build: Callable[..., Model]) -> Callable[..., Model]:
        family = build.__module__.rsplit(".", 1)[-1]
        for name, options in variants.items():
            _ENTRIES[name] = Entry(name, family, build, dict(options), paper)
        return build

    return note


def entries() -> dict[str, Entry]:
    """All names, sorted by family."""
    import omniconv.models as package

    for found in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"omniconv.models.{found.name}")
    return dict(sorted(_ENTRIES.items(), key=lambda item: (item[1].family, item[0])))


def list(family: str | None = None) -> tuple[str, ...]:
    """The names that `create` knows, of one family or of all."""
    return tuple(name for name, entry in entries().items() if family in (None, entry.family))


def create(name: str, *, seed: int = 0, **overrides: Any) -> Model:
    """Build a model.

    Parameters
    ----------
    name : str
        One that `list` gives: a published size.
    seed : int
        Of the parameters that are not loaded.
    **overrides
        Options of the family, in the words of its paper, such as num_classes or depths.

    Returns
    -------
    Model
        In float32, on NumPy arrays; ``model.load(path)`` takes a checkpoint.

    Raises
    ------
    ValueError, TypeError
        For a name that is not known, and for an option that the family does not have, saying which it has.
    """
    known = entries()
    if name not in known:
        close = [n for n in known if isinstance(name, str) and n.split("_")[0] == name.split("_")[0]]
        raise ValueError(f"model {said(name)} is not known; {'close are ' if close else ''}{', '.join(close or known)}")
    entry = known[name]
    allowed = inspect.signature(entry.build).parameters
    for option in overrides:
        if option not in allowed:
            raise TypeError(f"{name} has no option {option!r}; it has {', '.join(allowed)}")
    model = entry.build(**(entry.options | overrides))
    model.seed(seed)
    return model


def scale(
    name: str, factor: float, *, resolution: int = 224, weights: tuple[float, float, float] = (1.0, 8.0, 1.0),
    group_weight: float | None = None, **overrides: Any,
) -> tuple[dict[str, Any], int]:  # fmt: skip
    """Options for `create`, and the resolution, of a network with about `factor` times the FLOPs of `name`.

    By the rule of `omniconv.nn.scale`, for families with depths and widths of stages: regnet, convnext,
    inception_next, unireplknet and others. `omniconv.nn.summary` counts what came out.

    Parameters
    ----------
    name, **overrides
        As for `create`: the network to start from.
    factor, resolution, weights, group_weight
        As for `omniconv.nn.scale`.
    """
    if name not in entries():
        raise ValueError(f"model {said(name)} is not known; omniconv.models.list() tells the names")
    entry = entries()[name]
    bound = inspect.signature(entry.build).bind_partial(**(entry.options | overrides))
    bound.apply_defaults()
    given = bound.arguments
    if all(given.get(word, 0) is None for word in ("depths", "widths", "group_widths")):  # they follow from a rule
        found = importlib.import_module(entry.build.__module__).stages(**(entry.options | overrides))
        given = given | found
    wide = next((word for word in ("widths", "dims") if isinstance(given.get(word), Sequence)), None)
    if wide is None or not isinstance(given.get("depths"), Sequence):
        raise ValueError(f"{name} has no depths and widths of stages; its options are {', '.join(given)}")
    groups = given.get("group_widths")
    size = nn.scale(
        given["depths"], given[wide], resolution, factor, group_widths=groups, weights=weights,
        group_weight=group_weight,
    )  # fmt: skip
    options = {"depths": size.depths, wide: size.widths} | ({"group_widths": size.group_widths} if groups else {})
    return overrides | options, size.resolution


def table() -> str:
    """All names in Markdown, one row per family: for the documentation."""
    families: dict[str, Any] = {}
    for entry in entries().values():
        families.setdefault((entry.family, entry.paper), []).append(entry)
    lines = ["| family | paper | names: parameters |", "|---|---|---|"]
    for (family, paper), found in families.items():
        names = ", ".join(f"`{e.name}`: {_short(e.build(**e.options).num_parameters)}" for e in found)
        lines.append(f"| {family} | {paper} | {names} |")
    return "\n".join(lines)


def _short(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count:,}"
