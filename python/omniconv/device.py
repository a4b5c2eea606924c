"""Arrays on a GPU: which device and stream they are on, and how they reach the bindings.

The current stream of the caller's framework is where kernels are put; results and scratch memory come from that
framework's allocator, so nothing here waits for the device. Frameworks are found through ``sys.modules``.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["CPU", "OnStream", "current_stream", "handed_over", "name_of", "scratch"]

CPU = "cpu"


class OnStream:
    """An array as a DLPack exporter for one stream: the exporter orders its own work before what is put there."""

    __slots__ = ("_array", "_stream")

    def __init__(self, array: Any, stream: int) -> None:
        self._array, self._stream = array, stream

    def __dlpack__(self, **how: Any) -> Any:
        return self._array.__dlpack__(**{**how, "stream": self._stream})

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


def name_of(kind: str, array: Any, argument: str) -> str:
    """``"cpu"`` or ``"cuda:<index>"``; NotImplementedError for any other place, and for JAX arrays on a GPU."""
    if kind == "torch":
        device = array.device
        if device.type == "cpu":
            return CPU
        if device.type == "cuda" and not getattr(sys.modules["torch"].version, "hip", None):
            return f"cuda:{device.index or 0}"
        raise NotImplementedError(f"{argument} is on device {device}; supported are the CPU and CUDA")
    if kind == "cupy":
        return f"cuda:{array.device.id}"
    if kind == "jax":
        platforms = {device.platform for device in array.devices()}
        if platforms != {"cpu"}:
            raise NotImplementedError(
                f"{argument} is a JAX array on {', '.join(sorted(platforms))}; supported are JAX arrays on the CPU"
            )
    return CPU


def current_stream(kind: str, device: str) -> int:
    """The framework's current stream on a device, as DLPack and CUDA number it: 1 is the legacy default stream."""
    if device == CPU:
        return 0
    if kind == "cupy":
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
            return cupy.cuda.get_current_stream().ptr or 1
    return sys.modules["torch"].cuda.current_stream(device).cuda_stream or 1


def handed_over(kind: str, array: Any, device: str) -> Any:
    """What the bindings take of an array on a GPU."""
    return OnStream(array, current_stream(kind, device))


def scratch(kind: str, device: str, count: int) -> Any:
    """`count` bytes of the framework's memory for one run, or None on the CPU, which has an arena of its own."""
    if device == CPU or count == 0:
        return None
    floats = (count + 3) // 4
    if kind == "cupy":
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
            return handed_over(kind, cupy.empty(floats, dtype="float32"), device)
    torch = sys.modules["torch"]
    return handed_over(kind, torch.empty(floats, dtype=torch.float32, device=device), device)
