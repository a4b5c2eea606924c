"""The peers of dense convolution: PyTorch in its three layouts. PyTorch is imported when a peer is made, not before."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from omniconv.bench.layers import Layer

__all__ = ["TORCH_NCHW", "Contestant", "choose", "conv_peers", "names", "set_threads"]

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
            return torch.conv2d(x, w, None, layer.stride, layer.padding, layer.dilation, layer.groups)

    return call


def _torch_blocked(layer: Layer, x: np.ndarray, w: np.ndarray) -> Contestant:
    """The layout that oneDNN likes best, weights prepacked, nothing converted in the timed call: the hardest peer."""
    import torch
    from torch.utils import mkldnn

    conv = torch.nn.Conv2d(
        layer.ci,
        layer.co,
        (layer.kh, layer.kw),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        bias=False,
    ).eval()
    conv.weight.data.copy_(torch.from_numpy(w))
    blocked, xb = mkldnn.to_mkldnn(conv), torch.from_numpy(x).to_mkldnn()

    def call() -> Any:
        with torch.no_grad():
            return blocked(xb)

    return Contestant("torch-blocked", "peer", call, lambda y: y.to_dense().numpy())


_PEERS = {TORCH_NCHW: _torch_nchw, "torch-nhwc": _torch_nhwc, "torch-blocked": _torch_blocked}


def names() -> list[str]:
    """Every peer there is code for."""
    return list(_PEERS)


def choose(wish: str | None) -> list[str]:
    """The peers named: "all", "none", or names with commas between; None: all where PyTorch is installed.

    ValueError for an unknown name, and for PyTorch missing where a peer was named.
    """
    installed = importlib.util.find_spec("torch") is not None
    if wish == "none" or (wish is None and not installed):
        return []
    chosen = names() if wish in (None, "all") else [name.strip() for name in wish.split(",")]
    for name in chosen:
        if name not in _PEERS:
            raise ValueError(f"peers is {name!r}; allowed are all, none, {', '.join(_PEERS)}")
    if not installed:
        raise ValueError("peers need PyTorch, which is not installed: pip install 'omniconv[bench]', or --peers none")
    return chosen


def set_threads(chosen: list[str], threads: int) -> None:
    """Give the peers as many threads as omniconv has."""
    if chosen:
        import torch

        torch.set_num_threads(threads)


def conv_peers(chosen: list[str], layer: Layer, x: np.ndarray, w: np.ndarray) -> list[Contestant]:
    """The peers, ready to run a layer on x [N, Ci, h, w] and w, both contiguous."""
    return [_PEERS[name](layer, x, w) for name in chosen]
