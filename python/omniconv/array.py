"""Arrays of any framework: what they are, where results of the same kind come from.

A framework is recognised through ``sys.modules``, so none is ever imported here; NumPy when the first array is met.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from omniconv.device import CPU, handed_over, name_of
from omniconv.memory import reused

if TYPE_CHECKING:
    import numpy as np
else:

    class _NumPy:
        """Stands for NumPy until it is needed: importing it takes several times as long as all of omniconv."""

        def __getattr__(self, name: str) -> Any:
            import numpy

            globals()["np"] = numpy
            return getattr(numpy, name)

    np = _NumPy()

__all__ = [
    "Described",
    "check_out",
    "describe",
    "dtype_name",
    "empty",
    "export",
    "finish",
    "permuted",
    "plain_dtype",
    "said",
]

FLOATS = ("float32", "float64")
_FLOAT_OF_CHAR = {"f": "float32", "d": "float64"}  # str(dtype) takes 5 us


class Described(NamedTuple):
    """What an operation needs to know of an array before it runs."""

    kind: str  # "numpy", "torch", "jax" or "cupy"
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool  # axis 1 is the one that is contiguous
    device: str = CPU  # or "cuda:<index>"

    @property
    def result_last(self) -> bool:
        """Whether results have channels last in memory: what lies both ways, one pixel, has rows, as in PyTorch."""
        return self.channels_last and any(n > 1 for n in self.shape[2:])


def said(value: Any) -> str:
    """A value for a message: its repr, cut short; of a value that has none, its type."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:80]}..."


def _is_instance(array: Any, module: str, name: str) -> bool:
    owner = sys.modules.get(module)
    cls = getattr(owner, name, None) if owner is not None else None
    return cls is not None and isinstance(array, cls)


def kind_of(array: Any, argument: str) -> str:
    """``"numpy"``, ``"torch"``, ``"jax"`` or ``"cupy"``; other DLPack exporters count as NumPy. Else TypeError."""
    if isinstance(array, np.ndarray):
        if _is_instance(array, "numpy.ma", "MaskedArray"):
            raise TypeError(f"{argument} is a masked array, and masks are not supported; pass its data, or fill it")
        return "numpy"
    if _is_instance(array, "torch", "Tensor"):
        return "torch"
    if _is_instance(array, "jax", "Array"):
        if _is_instance(array, "jax.core", "Tracer"):
            raise TypeError(f"{argument} is being traced by JAX; inside jit use the functions of omniconv.jax")
        return "jax"
    if _is_instance(array, "cupy", "ndarray"):
        return "cupy"
    if hasattr(array, "__dlpack__") and not isinstance(array, type):
        return "numpy"
    raise TypeError(f"{argument} is a {type(array).__name__}; expected is an array that supports DLPack")


def _imported(array: Any, argument: str) -> np.ndarray:
    """NumPy's view of another exporter's memory; whatever goes wrong in the exporter is the argument's fault."""
    try:
        return np.from_dlpack(array)
    except Exception as error:
        raise TypeError(
            f"{argument} is a {type(array).__name__} that cannot be read through DLPack: {said(error)}"
        ) from error


def _check_torch(tensor: Any, argument: str) -> None:
    torch = sys.modules["torch"]
    if tensor.layout != torch.strided or tensor.is_nested:
        raise TypeError(f"{argument} has layout {tensor.layout} or is nested; expected is a strided tensor")


def export(array: Any, argument: str) -> Any:
    """The array in a form that the bindings take without a copy: a torch tensor detached, a JAX array as NumPy."""
    kind = kind_of(array, argument)
    if kind == "torch":
        torch = sys.modules["torch"]
        if array.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{argument} requires grad, and omniconv's functions record no gradient: "
                "use omniconv.torch, or pass a detached tensor"
            )
        device = name_of(kind, array, argument)
        _check_torch(array, argument)
        plain = array.detach().resolve_neg().resolve_conj()
        return plain if device == CPU else handed_over(kind, plain, device)
    if kind == "cupy":
        return handed_over(kind, array, name_of(kind, array, argument))
    if kind == "jax":
        name_of(kind, array, argument)
        return np.asarray(array)
    if isinstance(array, np.ndarray):
        if array.flags.c_contiguous and array.dtype.isnative:
            return array
        if not array.dtype.isnative or any(s % array.itemsize for s in array.strides):
            return np.array(array, dtype=array.dtype.newbyteorder("="))
        return array
    return _imported(array, argument)


def dtype_name(array: Any) -> str:
    """``"float32"``, ``"bfloat16"`` and so on, of an array of any framework."""
    dtype = array.dtype
    if getattr(dtype, "isnative", False) and dtype.char in _FLOAT_OF_CHAR:
        return _FLOAT_OF_CHAR[dtype.char]
    return str(dtype).removeprefix("torch.")


def plain_dtype(array: Any) -> str | None:
    """``"float32"`` or ``"float64"`` if it is a NumPy array that the bindings take as it stands, otherwise None.

    For the short paths of what is called often. Python that the caches have lost costs far more than its time in a
    loop: 150 us instead of 10 for the general path of a Bessel function, a tenth of its time on 200,000 values.
    """
    if type(array) is not np.ndarray:
        return None
    dtype = array.dtype
    plain = array.flags.c_contiguous and dtype.isnative and array.ndim
    return _FLOAT_OF_CHAR.get(dtype.char) if plain else None


def describe(array: Any, argument: str) -> Described:
    """Kind, shape, dtype and layout of an array. TypeError unless it is float32 or float64."""
    kind = kind_of(array, argument)
    if kind == "numpy" and not isinstance(array, np.ndarray):
        array = _imported(array, argument)
    if kind == "torch":
        _check_torch(array, argument)
    shape, dtype = tuple(array.shape), dtype_name(array)
    if dtype not in FLOATS:
        raise TypeError(f"{argument} has dtype {dtype}; supported are {' and '.join(FLOATS)}")
    channels_last = False
    if kind != "jax" and len(shape) > 2 and shape[1] > 1:
        stride = array.stride(1) if kind == "torch" else array.strides[1] // array.itemsize
        channels_last = stride == 1
    return Described(kind, shape, dtype, channels_last, name_of(kind, array, argument))


def empty(like: Described, shape: tuple[int, ...], channels_last: bool) -> Any:
    """A new array of the kind and dtype of `like`, [N, C, *spatial]; channels innermost in memory on request.

    For JAX, whose arrays cannot be written, it is a NumPy array: `finish` makes the JAX array of it.
    """
    order = (shape[0], *shape[2:], shape[1]) if channels_last else shape
    try:
        if like.kind == "torch":
            torch = sys.modules["torch"]
            out = torch.empty(order, dtype=getattr(torch, like.dtype), device=like.device)
            return out.movedim(-1, 1) if channels_last else out
        if like.kind == "cupy":
            cupy = sys.modules["cupy"]
            with cupy.cuda.Device(int(like.device.removeprefix("cuda:"))):
                out = cupy.empty(order, dtype=like.dtype)
            return cupy.moveaxis(out, -1, 1) if channels_last else out
        out = reused(order, like.dtype)
        return np.moveaxis(out, -1, 1) if channels_last else out
    except (MemoryError, RuntimeError, ValueError) as error:
        raise MemoryError(f"out of shape {tuple(shape)} does not fit in memory") from error


def finish(like: Described, out: Any) -> Any:
    """The array that `empty` made, as the caller wants it."""
    if like.kind != "jax":
        return out
    return sys.modules["jax"].numpy.asarray(out)


def check_out(out: Any, name: str = "out") -> None:
    """Raise unless `out` can be written to."""
    kind = kind_of(out, name)
    if kind == "jax":
        raise TypeError(f"{name} is a JAX array, which cannot be written to; use a NumPy array or leave {name} away")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError(f"{name} is read-only; it must be writable")
    if isinstance(out, np.ndarray) and (not out.dtype.isnative or any(s % out.itemsize for s in out.strides)):
        raise ValueError(f"{name} has a byte order or strides that cannot be written to in place")
    if kind == "torch" and out.requires_grad:
        raise ValueError(f"{name} requires grad; it must be a plain tensor")


def permuted(array: Any) -> Any:
    """A view [N, *spatial, C] of [N, C, *spatial]."""
    axes = (0, *range(2, array.ndim), 1)
    return array.permute(axes) if hasattr(array, "permute") else array.transpose(axes)
