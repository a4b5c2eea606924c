"""Whole models beside PyTorch, eager in two layouts and compiled, and ONNX Runtime: the same weights in one run."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import omniconv
from omniconv import models
from omniconv.bench import machine
from omniconv.bench.race import LONG_SETTLE, geometric_mean, race

__all__ = ["DEFAULT", "PEERS", "choose", "measure", "problem"]

#: what is raced where no model is named
DEFAULT = ("resnet50", "convnext_tiny", "inception_next_tiny", "unireplknet_t", "hornet_tiny_7x7", "regnety_004")
#: name: the modules it needs
PEERS = {
    "torch-nchw": ("torch",),
    "torch-nhwc": ("torch",),
    "torch-compile": ("torch",),
    "onnxruntime": ("torch", "onnxruntime", "onnx", "onnxscript"),
}


def choose(wish: str | None) -> list[str]:
    """The peers named: "all" that are installed, "none", or names with commas between; None is "all".

    ValueError for an unknown name, and for one that is not installed.
    """
    missing = {name: [m for m in needs if importlib.util.find_spec(m) is None] for name, needs in PEERS.items()}
    if wish == "none":
        return []
    if wish in (None, "all"):
        return [name for name in PEERS if not missing[name]]
    chosen = [name.strip() for name in wish.split(",")]
    for name in chosen:
        if name not in PEERS:
            raise ValueError(f"peers is {name!r}; allowed are all, none, {', '.join(PEERS)}")
        if missing[name]:
            raise ValueError(f"peers is {name!r}, which needs {', '.join(missing[name])}: not installed")
    return chosen


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What compilers and exporters say on the way is of no use beside a table."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _torch_call(module: Any, x: Any) -> Callable[[], np.ndarray]:
    import torch

    def call() -> np.ndarray:
        with torch.inference_mode():
            return module(*x).numpy()

    return call


def _last(tensor: Any) -> Any:
    import torch

    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _compiled(program: Any, x: Any) -> Callable[[], np.ndarray]:
    """By inductor, weights frozen: it folds and packs them for oneDNN."""
    import torch
    import torch._inductor.config as inductor

    with _quietly(), inductor.patch(freezing=True), torch.no_grad():
        module = torch.compile(program.module())
        module(*x)

    def call() -> np.ndarray:
        with torch.no_grad():
            return module(*x).numpy()

    return call


def _onnx(program: Any, x: Sequence[np.ndarray], threads: int) -> Callable[[], np.ndarray]:
    import onnxruntime
    import torch

    with _quietly():
        exported = torch.onnx.export(program, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            exported.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    names = {place.name: array for place, array in zip(session.get_inputs(), x, strict=True)}
    return lambda: session.run(None, names)[0]


def _peers(chosen: Sequence[str], model: Any, x: Sequence[np.ndarray]) -> dict[str, Callable[[], np.ndarray]]:
    if not chosen:
        return {}
    import torch

    from omniconv.bench.torch_twin import torch_twin

    torch.set_num_threads(omniconv.get_num_threads())
    program, tensors = torch_twin(model, *x), [torch.from_numpy(v) for v in x]
    calls = {}
    for name in chosen:
        if name == "torch-nchw":
            calls[name] = _torch_call(program.module(), tensors)
        elif name == "torch-nhwc":
            module = program.module()
            for buffers in module.modules():
                for key, value in buffers._buffers.items():
                    buffers._buffers[key] = _last(value)
            calls[name] = _torch_call(module, [_last(v) for v in tensors])
        elif name == "torch-compile":
            calls[name] = _compiled(program, tensors)
        else:
            calls[name] = _onnx(program, x, omniconv.get_num_threads())
    return calls


def problem(
    name: str, batch: int, size: int, overrides: Mapping[str, Any] | None = None
) -> tuple[Any, tuple[Any, ...]]:
    """A model, folded, and normal input for it: images of size x size."""
    model = models.create(name, **(overrides or {})).fold()
    channels = (overrides or {}).get("in_channels", 3)
    return model, (np.random.default_rng(0).standard_normal((batch, channels, size, size), dtype=np.float32),)


def measure(
    names: Sequence[str],
    batches: Sequence[int],
    *,
    size: int = 224,
    peers: Sequence[str] = (),
    repeat: int | None = None,
    budget: float = 5.0,
    truth: bool = True,
    progress: Callable[[str, float], None] = lambda what, part: None,
) -> dict[str, Any]:
    """Race models; a report to print or write as JSON.

    All contestants have the same weights, folded as `fold` does: batch norms merged, branches too. The time is that of
    a call, from an array of NumPy or a tensor to one; errors are relative, L2, against the model in float64.
    """
    unknown = [name for name in names if name not in models.list()]
    if unknown:
        raise ValueError(f"models {', '.join(unknown)} are not known; see `omniconv models`")
    entries, total = [], len(names) * len(batches)
    for i, (name, batch) in enumerate((n, b) for n in names for b in batches):
        progress(f"{name}, batch {batch}", i / total)
        model, x = problem(name, batch, size)
        calls = {"omniconv": lambda model=model, x=x: model(*x)} | _peers(peers, model, x)
        # One image is enough, and float64 is slow: no result depends on the batch.
        found = {n: np.asarray(call())[:1].astype(np.float64) for n, call in calls.items()}
        exact = model.to("float64")(*(v[:1].astype(np.float64) for v in x)) if truth else None
        model.to("float32")
        timings = race(calls, repeat=repeat, budget=budget, warm=True, settle=LONG_SETTLE)
        seconds = {n: t.median for n, t in timings.items()}
        best = {
            "pytorch": min((s for n, s in seconds.items() if n.startswith("torch")), default=None),
            "onnxruntime": seconds.get("onnxruntime"),
        }
        entries.append(
            {
                "model": name,
                "batch": batch,
                "size": size,
                "results": [
                    {
                        "name": n,
                        "seconds": s,
                        "ratio": s / seconds["omniconv"],
                        "error": None
                        if exact is None
                        else float(np.linalg.norm(found[n] - exact) / np.linalg.norm(exact)),
                    }
                    for n, s in seconds.items()
                ],
                "ratios": {n: None if s is None else s / seconds["omniconv"] for n, s in best.items()},
            }
        )
    means = {
        peer: {
            batch: geometric_mean(
                [e["ratios"][peer] for e in entries if e["batch"] == batch and e["ratios"][peer] is not None]
            )
            for batch in batches
        }
        for peer in ("pytorch", "onnxruntime")
    }
    return {
        "schema": "omniconv-bench-models/1",
        "machine": machine.describe(),
        "entries": entries,
        "means": {peer: {str(b): m for b, m in by.items() if m == m} for peer, by in means.items()},
    }
