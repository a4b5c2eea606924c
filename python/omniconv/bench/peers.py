"""The peers of dense convolution: PyTorch in its three layouts, ONNX Runtime and OpenVINO.

Each is imported when it is made, not before, and gets as many threads as omniconv has then.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import omniconv
from omniconv.bench.layers import Layer

__all__ = ["TORCH_NCHW", "Contestant", "choose", "conv_peers", "grad_weight_peers", "missing", "names", "set_threads"]

TORCH_NCHW = "torch-nchw"


class Contestant(NamedTuple):
    """One way to run a layer."""

    name: str
    kind: str  #: "algorithm" or "peer"
    call: Callable[[], Any]
    to_numpy: Callable[[Any], np.ndarray]  #: what `call` returned, as [N, Co, oh, ow]
    workspace_bytes: int | None = None  #: scratch memory of one call; None: not known
    packed_bytes: int | None = None  #: weights in a form of its own


def _torch_nchw(layer: Layer, x: np.ndarray, w: np.ndarray) -> Contestant:
    import torch

    xt, wt = torch.from_numpy(x), torch.from_numpy(w)
    return Contestant(TORCH_NCHW, "peer", _torch_call(layer, xt, wt), lambda y: y.numpy())


def _torch_nhwc(layer: Layer, x: np.ndarray, w: np.ndarray) -> Contestant:
    import torch

    xt, wt = (torch.from_numpy(a).contiguous(memory_format=torch.channels_last) for a in (x, w))
    return Contestant("torch-nhwc", "peer", _torch_call(layer, xt, wt), lambda y: y.numpy())


def _torch_call(layer: Layer, x: Any, w: Any) -> Callable[[], Any]:
    import torch

    def call() -> Any:
        with torch.inference_mode():
            return torch.conv2d(x, w, None, **layer.geometry)

    return call


def _torch_blocked(layer: Layer, x: np.ndarray, w: np.ndarray) -> Contestant:
    """The layout that oneDNN likes best, weights prepacked, nothing converted in the timed call: the hardest peer."""
    import torch
    from torch.utils import mkldnn

    conv = torch.nn.Conv2d(layer.ci, layer.co, (layer.kh, layer.kw), **layer.geometry, bias=False).eval()
    conv.weight.data.copy_(torch.from_numpy(w))
    blocked, xb = mkldnn.to_mkldnn(conv), torch.from_numpy(x).to_mkldnn()

    def call() -> Any:
        with torch.no_grad():
            return blocked(xb)

    return Contestant("torch-blocked", "peer", call, lambda y: y.to_dense().numpy())


def _onnx_model(layer: Layer, batch: int, w: np.ndarray) -> bytes:
    """A model of this one layer, its weights a constant."""
    from onnx import TensorProto, helper, numpy_helper

    p, q = layer.padding, layer.padding_w
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], strides=[layer.stride] * 2, pads=[p, q, p, q], dilations=[layer.dilation] * 2,
        group=layer.groups,
    )  # fmt: skip
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", layer.x_shape(batch)), ("y", layer.y_shape(batch)))
    )
    graph = helper.make_graph([node], "layer", [x], [y], [numpy_helper.from_array(w, "w")])
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def _onnxruntime(layer: Layer, x: np.ndarray, w: np.ndarray) -> Contestant:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = omniconv.get_num_threads(), 3
    model = _onnx_model(layer, len(x), w)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Contestant("onnxruntime", "peer", lambda: session.run(None, {"x": x}), lambda y: y[0])


def _openvino(layer: Layer, x: np.ndarray, w: np.ndarray) -> Contestant:
    import openvino

    how = {
        "INFERENCE_NUM_THREADS": omniconv.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(_onnx_model(layer, len(x), w)), "CPU", how).create_infer_request()
    # The result is a view that the next call overwrites.
    call = partial(request.infer, {0: x}, share_inputs=True, share_outputs=True)
    return Contestant("openvino", "peer", call, lambda y: np.array(y[0]))


def _torch_grad_weight(name: str, last: bool) -> Callable[[Layer, np.ndarray, np.ndarray], Contestant]:
    def make(layer: Layer, x: np.ndarray, grad: np.ndarray) -> Contestant:
        import torch

        memory = torch.channels_last if last else torch.contiguous_format
        xt, gt, wt = (
            torch.from_numpy(a).contiguous(memory_format=memory) for a in (x, grad, np.empty(layer.w_shape, np.float32))
        )
        stride, padding, dilation, groups = layer.geometry.values()
        how = [stride] * 2, list(padding), [dilation] * 2, False, [0, 0], groups, [False, True, False]

        def call() -> Any:
            return torch.ops.aten.convolution_backward(gt, xt, wt, None, *how)[1]

        return Contestant(name, "peer", call, lambda w: w.contiguous().numpy())

    return make


class _Peer(NamedTuple):
    needs: tuple[str, ...]  #: modules
    make: Callable[[Layer, np.ndarray, np.ndarray], Contestant]


_PEERS = {
    TORCH_NCHW: _Peer(("torch",), _torch_nchw),
    "torch-nhwc": _Peer(("torch",), _torch_nhwc),
    "torch-blocked": _Peer(("torch",), _torch_blocked),
    "onnxruntime": _Peer(("onnxruntime", "onnx"), _onnxruntime),
    "openvino": _Peer(("openvino", "onnx"), _openvino),
}
# The blocked layout has no gradients, the others no training.
_GRAD_WEIGHT = {TORCH_NCHW: _torch_grad_weight(TORCH_NCHW, False), "torch-nhwc": _torch_grad_weight("torch-nhwc", True)}


def names() -> list[str]:
    """Every peer there is code for."""
    return list(_PEERS)


def missing() -> dict[str, str]:
    """The peers that cannot run, and what is not installed."""
    absent = {name: [m for m in peer.needs if importlib.util.find_spec(m) is None] for name, peer in _PEERS.items()}
    return {name: f"{', '.join(modules)} not installed" for name, modules in absent.items() if modules}


def choose(wish: str | None) -> list[str]:
    """The peers named: "none", or names with commas between; "all", or None, are all that are installed.

    ValueError for an unknown name, and for one that is not installed.
    """
    absent = missing()
    if wish == "none":
        return []
    if wish in (None, "all"):
        return [name for name in _PEERS if name not in absent]
    chosen = [name.strip() for name in wish.split(",")]
    for name in chosen:
        if name not in _PEERS:
            raise ValueError(f"peers is {name!r}; allowed are all, none, {', '.join(_PEERS)}")
        if name in absent:
            raise ValueError(f"peers is {name!r}: {absent[name]}")
    return chosen


def set_threads(chosen: list[str], threads: int) -> None:
    """Give PyTorch as many threads as omniconv has."""
    if any(name.startswith("torch") for name in chosen):
        import torch

        torch.set_num_threads(threads)


def conv_peers(chosen: list[str], layer: Layer, x: np.ndarray, w: np.ndarray) -> list[Contestant]:
    """The peers, ready to run a layer on x [N, Ci, h, w] and w, both contiguous."""
    return [_PEERS[name].make(layer, x, w) for name in chosen]


def grad_weight_peers(chosen: list[str], layer: Layer, x: np.ndarray, grad: np.ndarray) -> list[Contestant]:
    """Those of the peers that have a gradient of the weights, ready for x and grad [N, Co, oh, ow]."""
    return [_GRAD_WEIGHT[name](layer, x, grad) for name in chosen if name in _GRAD_WEIGHT]
