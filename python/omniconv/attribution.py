"""Which pixels a classifier looks at: maps by gradients (PyTorch) and by masks (any framework).

Methods that "How explainable are adversarially-robust CNNs?" (arXiv:2205.13042) compares. A model is a function from
images to logits: a ``torch.nn.Module`` in evaluation mode, or one of `omniconv.models` after ``to("torch")``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from omniconv.nn import Module, resize
from omniconv.nn.functional import constant, softmax

__all__ = [
    "deletion", "grad_cam", "gradient", "input_x_gradient", "insertion", "integrated_gradients", "rise", "rise_masks",
]  # fmt: skip

Classifier = Callable[[Any], Any]


def _one_image(x: Any) -> None:
    if x.ndim != 4 or x.shape[0] != 1:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected is one image, [1, C, H, W]")


def gradient(model: Classifier, x: Any, target: int) -> Any:
    """The derivatives of a class's logit with respect to images, tensors [N, C, H, W]: [N, C, H, W]."""
    import torch

    x = x.detach().requires_grad_()
    return torch.autograd.grad(model(x)[:, target].sum(), x)[0]


def input_x_gradient(model: Classifier, x: Any, target: int) -> Any:
    """`gradient` times the images."""
    return x * gradient(model, x, target)


def integrated_gradients(model: Classifier, x: Any, target: int, *, steps: int = 32, batch: int = 16) -> Any:
    """X [1, C, H, W] times the mean gradient on the way to it from zero, at the middles of `steps` equal parts.

    arXiv:1703.01365. `batch` images are computed at a time.
    """
    import torch

    _one_image(x)
    places = (torch.arange(steps, dtype=x.dtype, device=x.device) + 0.5) / steps
    total = torch.zeros_like(x)
    for part in places.split(batch):
        total = total + gradient(model, x * part[:, None, None, None], target).sum(0, keepdim=True)
    return x * total / steps


@contextmanager
def _captured(model: Any, layer: str) -> Iterator[list[Any]]:
    """The list that gets the results of a layer, by its name in the model, while the block runs."""
    found: list[Any] = []
    if isinstance(model, Module):
        modules = dict(model.named_modules())
        if layer not in modules:
            raise ValueError(f"layer is {layer!r}; the model has {', '.join(n for n in modules if n and '.' not in n)}")
        module, plain = modules[layer], modules[layer].forward

        def forward(*inputs: Any, **options: Any) -> Any:
            found.append(plain(*inputs, **options))
            return found[-1]

        object.__setattr__(module, "forward", forward)
        try:
            yield found
        finally:
            object.__delattr__(module, "forward")
        return
    hook = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, result: found.append(result))
    try:
        yield found
    finally:
        hook.remove()


def grad_cam(model: Any, x: Any, target: int, layer: str) -> tuple[Any, Any]:
    """The map [1, 1, h, w] of a layer, and the weights [C] of its channels (Grad-CAM, arXiv:1610.02391).

    The weights are the means over the map of the logit's derivatives with respect to the layer's result A; the map is
    ``relu(sum_c weight_c A_c)``. ``omniconv.nn.resize(map, x.shape[2:])`` brings it to the size of the image.

    Parameters
    ----------
    layer : str
        Name of a module whose result is [1, C, h, w], such as "layer4" of a ResNet.
    """
    import torch

    _one_image(x)
    with _captured(model, layer) as found:
        logit = model(x.detach().requires_grad_())[0, target]
    weights = torch.autograd.grad(logit, found[-1])[0].mean((0, 2, 3))
    values = found[-1].detach()
    return torch.relu((weights[:, None, None] * values).sum(1, keepdim=True)), weights


def rise_masks(
    cells: np.ndarray, down: Sequence[int], across: Sequence[int], size: tuple[int, int], *, p: float = 0.5
) -> np.ndarray:
    """Random smooth masks [N, H, W] from 0 to 1 (RISE, arXiv:1806.07421).

    Parameters
    ----------
    cells : array
        [N, s, s], uniform in [0, 1): a cell is open where it is below p.
    down, across : sequence of int
        Shifts of each mask in pixels, counted modulo the size of a cell, ceil(H / s) and ceil(W / s).
    size : (int, int)
        H and W.
    """
    (n, s, _), (h, w) = cells.shape, size
    high, wide = -(-h // s), -(-w // s)
    smooth = resize((cells < p).astype(np.float64)[:, None], ((s + 1) * high, (s + 1) * wide))[:, 0]
    starts = [(int(y) % high, int(x) % wide) for y, x in zip(down, across, strict=True)]
    return np.stack([smooth[i, y : y + h, x : x + w] for i, (y, x) in zip(range(n), starts, strict=True)])


def rise(
    model: Classifier, x: Any, target: int, masks: np.ndarray, *, p: float = 0.5, batch: int = 16
) -> tuple[Any, Any]:
    """The mean of masks weighted by a class's probability under each, [1, H, W], and these probabilities [N].

    Only results of the model are used, so NumPy models serve as well.

    Parameters
    ----------
    x : array
        One image, [1, C, H, W].
    masks : array
        [N, H, W], by `rise_masks` with the same p.
    """
    _one_image(x)
    xp, scores = array_namespace(x), []
    for start in range(0, len(masks), batch):
        some = constant(masks[start : start + batch, None], x)
        scores.append(softmax(model(x * some))[:, target])
    found = xp.concat(scores)
    weighted = xp.tensordot(found, constant(masks, x), axes=((0,), (0,)))
    return weighted[None] / (len(masks) * p), found


def _changed(
    model: Classifier, start: Any, end: Any, heat: Any, target: int, steps: int, batch: int
) -> tuple[float, np.ndarray]:
    _one_image(start)
    if tuple(heat.shape) != tuple(start.shape[2:]):
        raise ValueError(f"heat has shape {tuple(heat.shape)}; expected is {tuple(start.shape[2:])}, that of the image")
    flat = np.asarray(heat, dtype=np.float64).ravel()
    place = np.empty(flat.size, dtype=np.int64)
    place[np.argsort(-flat, kind="stable")] = np.arange(flat.size)
    counts = np.rint(np.linspace(0, flat.size, steps + 1))
    taken = (place[None] < counts[:, None]).reshape(steps + 1, 1, *heat.shape).astype(np.float64)
    chances: list[float] = []
    for first in range(0, steps + 1, batch):
        some = constant(taken[first : first + batch], start)
        chances += np.asarray(softmax(model(start * (1 - some) + end * some))[:, target]).tolist()
    curve = np.array(chances)
    return float(np.mean((curve[1:] + curve[:-1]) / 2)), curve


def deletion(
    model: Classifier, x: Any, target: int, heat: Any, *, baseline: Any = 0.0, steps: int = 50, batch: int = 16
) -> tuple[float, np.ndarray]:
    """How fast a class's probability falls as pixels go, the hottest first: (area under the curve, curve [steps + 1]).

    Small areas are good (arXiv:1806.07421). The model is used without gradients.

    Parameters
    ----------
    x : array
        One image, [1, C, H, W].
    heat : array
        [H, W], a map to be judged; of equal pixels those in earlier rows go first.
    baseline : array or float
        What pixels become; it broadcasts to x.
    """
    return _changed(model, x, x * 0 + baseline, heat, target, steps, batch)


def insertion(
    model: Classifier, x: Any, target: int, heat: Any, *, baseline: Any = 0.0, steps: int = 50, batch: int = 16
) -> tuple[float, np.ndarray]:
    """How fast a class's probability rises as pixels come to a baseline: as `deletion`, but large areas are good."""
    return _changed(model, x * 0 + baseline, x, heat, target, steps, batch)
