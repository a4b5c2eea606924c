"""Modules: named parameters as arrays, in a tree whose names are those of public checkpoints.

A module computes on arrays of any framework: NumPy by omniconv's kernels alone, PyTorch and JAX through
`omniconv.torch` and `omniconv.jax`, differentiable. Statistics of batch normalisation are constants: to train
those, use the framework's own modules.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from omniconv.array import said

__all__ = ["Identity", "Module", "ModuleDict", "ModuleList", "Parameter", "ParameterList", "Sequential"]


class Parameter:
    """A place for an array of a fixed shape.

    Modules that hold the same Parameter share it: each has a name of its own in the `state_dict`, as in a checkpoint.
    An array that was not loaded is made at its first use: weights normal with variance 1 / fan-in.

    Parameters
    ----------
    shape : sequence of int
    fill : float, optional
        The value of all elements, if it is not loaded; None draws them.
    trainable : bool
        False for buffers: statistics, tables.
    """

    #: counts the arrays that took a place anywhere: what was made of arrays holds while it stands
    revision = 0

    def __init__(self, *shape: int, fill: float | None = None, trainable: bool = True) -> None:
        self.shape, self.fill, self.trainable = tuple(int(n) for n in shape), fill, trainable
        self.key: tuple[int, str] = (0, "")
        self.dtype = "float32"
        self._array: Any = None
        self._source: Any = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def array(self) -> Any:
        """The array; one of NumPy is read-only, so that what was made of it cannot grow stale. Assign a new one."""
        if self._array is None:
            self.array = self._draw()
        return self._array

    @array.setter
    def array(self, value: Any) -> None:
        self._source = value  # as precise as it was given, for `to`
        if isinstance(value, np.ndarray):
            value = value.astype(self.dtype, copy=False).view()
            value.flags.writeable = False
        self._array = value
        Parameter.revision += 1

    def _draw(self) -> np.ndarray:
        if self.fill is not None or not self.size:
            return np.full(self.shape, self.fill or 0, dtype=self.dtype)
        rng = np.random.default_rng([self.key[0], zlib.crc32(self.key[1].encode())])
        fan_in = math.prod(self.shape[1:]) if len(self.shape) > 1 else self.shape[0]
        return rng.standard_normal(self.shape, dtype="float32").astype(self.dtype) / np.dtype(self.dtype).type(
            math.sqrt(max(fan_in, 1))
        )


class Module:
    """The base of layers and models; `forward` computes.

    Attributes that are modules or Parameters get the names under which `state_dict` lists them. Reading a Parameter
    attribute gives its array.
    """

    #: names of checkpoints that are passed over if the module has no such parameter: patterns of `re.search`
    ignored: tuple[str, ...] = (r"num_batches_tracked$",)
    #: names that a checkpoint need not hold, because they have values already: patterns of `re.search`
    optional: tuple[str, ...] = ()
    #: (pattern, replacement) of `re.sub`: other public names of the same parameters
    renames: tuple[tuple[str, str], ...] = ()

    def __init__(self) -> None:
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_modules", {})

    def __setattr__(self, name: str, value: Any) -> None:
        Parameter.revision += 1
        for kind, table in ((Parameter, self._parameters), (Module, self._modules)):
            if isinstance(value, kind):
                self.__dict__.pop(name, None)
                self._parameters.pop(name, None)
                self._modules.pop(name, None)
                table[name] = value
                return
        if name in self._parameters and value is not None:
            self._parameters[name].array = value
            return
        self._parameters.pop(name, None)
        self._modules.pop(name, None)
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        table = self.__dict__
        if name in (modules := table.get("_modules", ())):
            return modules[name]
        if name in (parameters := table.get("_parameters", ())):
            return parameters[name].array
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward`."""
        return self.forward(*inputs, **options)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    # ---- the tree --------------------------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(name, module) of this one, whose name is empty, and of all below; shared ones under each of their names."""
        yield prefix, self
        for name, module in self._modules.items():
            yield from module.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> dict[str, Parameter]:
        """All Parameters by name; shared ones under each of their names."""
        return {
            f"{path}.{name}" if path else name: parameter
            for path, module in self.named_modules()
            for name, parameter in module._parameters.items()
        }

    def _unique(self) -> list[Parameter]:
        return list({id(p): p for p in self.named_parameters().values()}.values())

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, shared ones counted once."""
        return sum(p.size for p in self._unique() if p.trainable)

    def seed(self, seed: int) -> Module:
        """Fix what parameters are drawn that are not loaded yet."""
        for name, parameter in self.named_parameters().items():
            parameter.key = (seed, name)
        return self

    # ---- arrays ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All parameters and buffers as arrays, by name."""
        return {name: parameter.array for name, parameter in self.named_parameters().items()}

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Take the arrays of `state`; see `omniconv.nn.load_state_dict`."""
        from omniconv.nn.loading import load_state_dict

        load_state_dict(self, state, strict=strict)

    def load(self, path: Any, *, strict: bool = True) -> Module:
        """Take the arrays of a .safetensors, .pth or .npz file; see `omniconv.nn.read_state`. Returns the module."""
        from omniconv.nn.loading import read_state

        self.load_state_dict(read_state(path), strict=strict)
        return self

    def to(self, what: str) -> Module:
        """Change all parameters, in place, to "float32" or "float64", or to arrays of "numpy", "torch" or "jax"."""
        if what in ("float32", "float64"):
            for parameter in self._unique():
                parameter.dtype = what
                if parameter._array is not None:
                    parameter.array = np.asarray(parameter._source).astype(what)
        elif what in ("numpy", "torch", "jax"):
            for parameter in self._unique():
                parameter.array = _converted(parameter.array, what)
        else:
            raise ValueError(f"to({said(what)}): allowed are 'float32', 'float64', 'numpy', 'torch' and 'jax'")
        return self

    @contextmanager
    def using(self, state: Mapping[str, Any]) -> Iterator[Module]:
        """Within the block the parameters are the arrays of `state`, any part of a `state_dict`; not for threads."""
        parameters = self.named_parameters()
        unknown = [name for name in state if name not in parameters]
        if unknown:
            raise KeyError(f"state has names that {type(self).__name__} has not: {unknown}")
        before = [(p := parameters[name], p._array, p._source) for name in state]
        try:
            for name, array in state.items():
                parameters[name].array = array
            yield self
        finally:
            for parameter, array, source in reversed(before):
                parameter._array, parameter._source = array, source
            Parameter.revision += 1

    def apply(self, state: Mapping[str, Any], *inputs: Any, **options: Any) -> Any:
        """The result with the parameters of `state`: a function of them, for ``jax.grad`` or ``torch.func``."""
        with self.using(state):
            return self(*inputs, **options)

    # ---- folding ---------------------------------------------------------------------------------------------------

    def fold(self) -> Module:
        """Merge what is linear into the weights before it, for inference, in place; results stay but for rounding.

        Batch normalisation goes into the convolution before it, parallel branches into one, layer scale into the
        last product of its branch. The names of parameters are no longer those of a checkpoint. Returns the module.
        """
        for module in {id(m): m for _, m in self.named_modules()}.values():
            module._fold()
        Parameter.revision += 1  # modules may have lost some
        return self

    def _fold(self) -> None:
        """Fold this module alone."""


def _converted(array: Any, kind: str) -> Any:
    if kind == "torch":
        import torch

        return array if isinstance(array, torch.Tensor) else torch.tensor(np.asarray(array))
    if kind == "jax":
        import jax.numpy as jnp

        return jnp.asarray(np.asarray(array))
    return array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)


class Identity(Module):
    """Gives back its input; what a folded module leaves behind."""

    def forward(self, x: Any) -> Any:
        """X."""
        return x


class Sequential(Module):
    """Modules one after another, named by their place: "0", "1", ... A function takes a place too, without a name."""

    def __init__(self, *steps: Module | Callable[[Any], Any]) -> None:
        super().__init__()
        self.steps = []
        for i, step in enumerate(steps):
            if isinstance(step, Module):
                setattr(self, str(i), step)
            self.steps.append(str(i) if isinstance(step, Module) else step)

    def __getitem__(self, i: int) -> Any:
        step = self.steps[i]
        return self._modules[step] if isinstance(step, str) else step

    def __len__(self) -> int:
        return len(self.steps)

    def forward(self, x: Any) -> Any:
        """The last of them, of ... the first, of x."""
        for i in range(len(self.steps)):
            x = self[i](x)
        return x


class ModuleList(Module):
    """Modules by number."""

    def __init__(self, modules: Any = ()) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __getitem__(self, i: int) -> Module:
        return self._modules[str(range(len(self))[i])]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())


class ModuleDict(Module):
    """Modules by name."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            setattr(self, name, module)

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]


class ParameterList(Module):
    """Parameters by number."""

    def __init__(self, parameters: Any = ()) -> None:
        super().__init__()
        for i, parameter in enumerate(parameters):
            setattr(self, str(i), parameter)

    def arrays(self) -> list[Any]:
        """The arrays of all."""
        return [parameter.array for parameter in self._parameters.values()]
