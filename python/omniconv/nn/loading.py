"""Checkpoints: reading files, and matching their names with those of a module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from omniconv.nn.module import Module, Parameter

__all__ = ["load_state_dict", "read_state", "save_state"]

#: under which a training script files the weights
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model_ema", "model", "net", "params")
#: what wrappers put before every name
PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "network.", "net.")


def read_state(path: str | Path) -> dict[str, Any]:
    """The arrays of a file by name.

    .safetensors (needs the extra "models"), .npz, and what ``torch.save`` wrote (.pth, .pt, .bin, .ckpt, .pyth; needs
    PyTorch), of which weights alone are read: a file that would run code is an error. Containers such as "state_dict"
    or "model" are opened.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} is not a file")
    if path.suffix == ".safetensors":
        try:
            from safetensors.numpy import load_file
        except ModuleNotFoundError:
            raise ImportError("a .safetensors file needs safetensors: pip install 'omniconv[models]'") from None
        return load_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    if path.suffix not in (".pth", ".pt", ".bin", ".ckpt", ".pyth"):
        raise ValueError(
            f"weights {path} ends in {path.suffix!r}; known are .safetensors, .npz and those of torch.save"
        )
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    while isinstance(found, Mapping):
        inside = [found[name] for name in CONTAINERS if isinstance(found.get(name), Mapping)]
        if not inside:
            break
        found = inside[0]
    if not isinstance(found, Mapping):
        raise ValueError(f"weights {path} holds a {type(found).__name__}; expected are tensors by name")
    return {name: tensor for name, tensor in found.items() if hasattr(tensor, "shape")}


def save_state(module: Module, path: str | Path) -> None:
    """Write the parameters of a module to a .safetensors file, shared ones under the first of their names."""
    from safetensors.numpy import save_file

    first = {id(p): (name, p) for name, p in reversed(module.named_parameters().items())}
    save_file({name: np.ascontiguousarray(_numpy(p.array)) for name, p in first.values()}, path)


def _numpy(array: Any) -> np.ndarray:
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)


def _renamed(module: Module, state: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """The arrays under the module's names: prefixes and other public names replaced where that finds more of them."""

    def known(candidate: Mapping[str, Any]) -> int:
        return len(names & set(candidate))

    best = dict(state)
    for _ in range(3):  # wrappers may be nested
        for prefix in PREFIXES:
            stripped = {n.removeprefix(prefix): v for n, v in best.items()}
            every = all(n.startswith(prefix) for n in best) and not any(n.startswith(prefix) for n in names)
            if len(stripped) == len(best) and (every or known(stripped) > known(best)):
                best = stripped
                break
        else:
            break
    other = {}
    for name, array in best.items():
        for pattern, replacement in module.renames:
            name = re.sub(pattern, replacement, name)
        other[name] = array
    return other if len(other) == len(best) and known(other) > known(best) else best


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Equal but for axes of size one at the end, which tell a 1x1 convolution from a matrix."""

    def bare(shape: tuple[int, ...]) -> tuple[int, ...]:
        while len(shape) > 2 and shape[-1] == 1:
            shape = shape[:-1]
        return shape

    return found == wanted or ((len(found) > 2 or len(wanted) > 2) and bare(found) == bare(wanted))


def load_state_dict(module: Module, state: Mapping[str, Any], *, strict: bool = True) -> None:
    """Give a module the arrays of a checkpoint.

    Prefixes of wrappers ("module.", ...) and other public names that the module knows are translated; counters of
    batches are passed over. Parameters that share an array need one of their names, and equal arrays under the others.
    Arrays are converted to the dtype of the module, and stay NumPy's or become so.

    Raises
    ------
    ValueError
        Listing every missing, unexpected and mis-shaped name; with ``strict=False`` only the latter are an error.
    """
    parameters = module.named_parameters()
    state = _renamed(module, state, set(parameters))
    passed_over = re.compile("|".join(module.ignored) or "$^")
    unexpected = [n for n in state if n not in parameters and not passed_over.search(n)]
    given: dict[int, str] = {}
    wrong = []
    for name, parameter in parameters.items():
        if name not in state:
            continue
        shape = tuple(state[name].shape)
        if not _fits(shape, parameter.shape):
            wrong.append(f"{name} has shape {shape}, expected is {parameter.shape}")
        elif id(parameter) not in given:
            given[id(parameter)] = name
        elif not np.array_equal(_numpy(state[name]), _numpy(state[given[id(parameter)]])):
            wrong.append(f"{name} differs from {given[id(parameter)]}, of which the model has one")
    optional = re.compile("|".join(module.optional) or "$^")
    missing = [
        n
        for n, p in parameters.items()
        if id(p) not in given and not optional.search(n) and not any(w.startswith(f"{n} ") for w in wrong)
    ]
    if wrong or (strict and (missing or unexpected)):
        raise ValueError(_complaint(type(module).__name__, missing, unexpected, wrong))
    for name, parameter in parameters.items():
        if given.get(id(parameter)) == name:
            parameter.array = _taken(state[name], parameter, name)


def _taken(array: Any, parameter: Parameter, name: str) -> np.ndarray:
    array = _numpy(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {array.dtype}; expected are real numbers")
    return np.array(array, dtype=parameter.dtype).reshape(parameter.shape)


def _complaint(model: str, missing: list[str], unexpected: list[str], wrong: list[str]) -> str:
    lines = [f"the checkpoint does not fit {model}:"]
    for title, names in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", wrong)):
        if names:
            lines += [f"  {title} ({len(names)}):", *(f"    {line}" for line in names)]
    return "\n".join(lines)
