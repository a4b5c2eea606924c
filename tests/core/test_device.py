"""Devices: what is said where there is no plugin, no driver or no GPU, and how arrays of a GPU are handed over."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import numpy as np
import pytest

import omniconv
from omniconv import _core, array, device
from omniconv.conv_spec import spec_of


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )  # fmt: skip


ON_CUDA = (
    "from omniconv.conv_spec import spec_of; from omniconv import _core\n"
    "_core.ConvPlan(spec_of('forward', 'float32', (1, 1, 4), (1, 1, 1), device='cuda:0').desc())"
)


def test_without_the_plugin_the_error_names_its_file(tmp_path):
    result = run(ON_CUDA, OMNICONV_PLUGIN_PATH=str(tmp_path))
    assert "NotImplementedError: arrays on cuda:0 cannot be computed on" in result.stderr
    assert str(tmp_path / "libomniconv_cuda") in result.stderr


def test_a_plugin_of_another_kind_is_refused(tmp_path):
    (tmp_path / "libomniconv_cuda.so").symlink_to(_core.__file__)  # a library, but without the symbol of a plugin
    result = run(ON_CUDA, OMNICONV_PLUGIN_PATH=str(tmp_path))
    assert "was built for another version" in result.stderr or "cannot be opened" in result.stderr


def test_a_word_that_is_no_device():
    result = run("import omniconv; omniconv.array_device()", OMNICONV_DEVICE="gpu")
    assert "OMNICONV_DEVICE" in result.stderr and "'gpu'" in result.stderr and "'emu'" in result.stderr
    with pytest.raises(ValueError, match="device is 'cuda'; allowed"):
        spec_of("forward", "float32", (1, 1, 4), (1, 1, 1), device="cuda").desc()


def test_report_gives_devices_or_a_reason():
    plugin, reason, devices = _core.cuda_report()
    assert "libomniconv_cuda" in plugin
    assert bool(devices) != bool(reason)
    if reason:
        with pytest.raises(NotImplementedError, match="cuda:0") as error:
            omniconv.algorithms((1, 1, 4), (1, 1, 1), device="cuda:0")
        assert reason in str(error.value)


@pytest.fixture
def cupy(monkeypatch):
    """A module that passes for CuPy, with a current stream."""

    class Ndarray:
        shape, strides, itemsize, dtype = (2, 3, 4, 5), (240, 4, 60, 12), 4, np.dtype("float32")
        device = types.SimpleNamespace(id=1)
        asked: dict | None = None

        def __dlpack__(self, **how):
            type(self).asked = how
            raise BufferError("there is no GPU here")

        def __dlpack_device__(self):
            return 2, 1

    class Device:
        def __init__(self, index):
            self.index = index

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    module = types.ModuleType("cupy")
    module.ndarray = Ndarray
    module.cuda = types.SimpleNamespace(
        Device=Device, get_current_stream=lambda: types.SimpleNamespace(ptr=module.stream)
    )
    module.stream = 4096
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_an_array_of_cupy_is_described_where_it_is(cupy):
    described = array.describe(cupy.ndarray(), "x")
    assert described == ("cupy", (2, 3, 4, 5), "float32", True, "cuda:1")


@pytest.mark.parametrize(("stream", "handed"), [(4096, 4096), (0, 1)])
def test_an_array_is_handed_over_on_the_current_stream(cupy, stream, handed):
    """The legacy default stream, 0 in CUDA, is 1 in DLPack."""
    cupy.stream = stream
    x = cupy.ndarray()
    with pytest.raises(BufferError):
        array.export(x, "x").__dlpack__(max_version=(1, 0))
    assert cupy.ndarray.asked == {"max_version": (1, 0), "stream": handed}
    assert device.current_stream("cupy", "cuda:1") == handed


def test_jax_on_a_gpu_is_declined():
    x = types.SimpleNamespace(devices=lambda: [types.SimpleNamespace(platform="gpu")])
    with pytest.raises(NotImplementedError, match="x is a JAX array on gpu"):
        device.name_of("jax", x, "x")


def test_the_bindings_take_what_is_handed_over():
    """An exporter of another stream; host memory has none."""
    plan = _core.ConvPlan(spec_of("forward", "float32", (1, 1, 4), (1, 1, 1)).desc())
    x, w, out = np.arange(4, dtype="f").reshape(1, 1, 4), np.full((1, 1, 1), 2, "f"), np.empty((1, 1, 4), "f")
    plan.run(*(device.OnStream(a, None) for a in (x, w, out)))
    assert np.array_equal(out, 2 * x)


def test_a_run_in_memory_of_the_caller():
    plan = _core.ConvPlan(spec_of("forward", "float32", (1, 1, 4), (1, 1, 1)).desc())
    x, w, out = np.arange(4, dtype="f").reshape(1, 1, 4), np.full((1, 1, 1), 2, "f"), np.empty((1, 1, 4), "f")
    room = np.empty(plan.workspace_bytes // 4 + 64, "f")
    room = room[-room.ctypes.data % 64 // 4 :]
    plan.run(x, w, out, workspace=room)
    assert np.array_equal(out, 2 * x)
    with pytest.raises(ValueError, match="workspace"):
        plan.run(x, w, out, workspace=room[:1])
