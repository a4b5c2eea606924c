"""The golden rows of analyses: what networks are examined with, rather than networks. Loaded by cases.py."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import omniconv.models

__all__ = ["ROWS"]

seeded = sys.modules["omniconv_golden_seeded"]  # by the name that cases.py gave it
ROWS: dict[str, Callable[..., dict[str, np.ndarray]]] = {}


def row(function: Callable[..., dict[str, np.ndarray]]) -> Callable[..., dict[str, np.ndarray]]:
    """Register the function under its own name."""
    ROWS[function.__name__] = function
    return function


def state(case: Any) -> dict[str, np.ndarray]:
    """The parameters of a case."""
    found = seeded.state(case.meta["state"], case.meta["seed"])
    return found | {n: np.broadcast_to(v, case.meta["state"][n]) for n, v in case.meta["overrides"].items()}


def given(case: Any, name: str) -> np.ndarray:
    """An input of a case."""
    about = case.meta["inputs"][name]
    return seeded.array(name, about["shape"], about["seed"], about["kind"], about.get("high", 2))


@row
def ntk(case: Any) -> dict[str, np.ndarray]:
    """Kernels of several networks between two sets of rows; or one of them with its spectrum and regression."""
    from omniconv import ntk

    how, (x, y) = case.meta["kwargs"], (given(case, name) for name in ("x", "y"))
    if "coarse" in how:
        outputs = {f"dntk_{depth}": ntk.dense_ntk(x, y, depth) for depth in how["depths"]}
        for sizes in how["filtersizes"]:
            word, d = "_".join(map(str, sizes)), how["coarse"] * math.prod(sizes)
            outputs[f"dcntk_{word}"] = ntk.conv_ntk(x[:, :d], y[:, :d], sizes)
            outputs[f"dcrfk_{word}"] = ntk.conv_rfk(x[:, :d], y[:, :d], sizes)
        return outputs
    gram, cross = ntk.conv_ntk(x, x, how["filtersizes"]), ntk.conv_ntk(y, x, how["filtersizes"])
    return {
        "gram": gram,
        "spectrum": ntk.spectrum(gram),
        "prediction": ntk.regress(gram, given(case, "targets"), cross, how["ridge"]),
        "power_ntk": cross ** how["power"],
    }


@row
def l_orth(case: Any, *, dtype: str = "float32") -> dict[str, np.ndarray]:
    """The regulariser of several kernels, its gradient, the products of filters, extreme singular values."""
    from omniconv import nn

    outputs = {}
    for t, about in enumerate(case.meta["kwargs"]["configs"]):
        kernel = (case.meta["kwargs"]["scale"] * given(case, f"K{t}")).astype(dtype)
        values = nn.conv_singular_values(kernel, about["n"], about["S"])
        outputs |= {
            f"loss{t}": np.asarray(nn.l_orth(kernel, about["S"])), f"grad{t}": nn.l_orth_grad(kernel, about["S"]),
            f"self_conv{t}": nn.self_conv(kernel, about["S"]), f"singular{t}": values[[0, -1]],
        }  # fmt: skip
    return outputs


@row
def expedit(case: Any, *, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Tokens clustered, and reconstructed from refined clusters and from the clusters themselves."""
    from omniconv import nn

    how = case.meta["kwargs"]
    x = (how["token_scale"] * given(case, "tokens")).astype(dtype)
    words = {"temperature": how["temperature"], "window": how["window_size"]}
    once, _ = nn.cluster_tokens(x, how["clusters"], iterations=1, **words)
    centres, _ = nn.cluster_tokens(x, how["clusters"], iterations=how["n_iters"], **words)
    exact = how["token_scale"] * given(case, "tokens")  # for in float32 a token may be as near to two centres
    _, labels = nn.cluster_tokens(exact, how["clusters"], iterations=how["n_iters"], **words)
    before, after = (a.reshape(a.shape[0], -1, a.shape[-1]) for a in (x, centres))
    words = {"k": how["k"], "temperature": how["temperature"]}
    refined = given(case, "refined").astype(dtype)
    return {
        "centroids_1": once, "centroids": centres, "hard_labels": labels,
        "reconstructed": nn.reconstruct_tokens(before, after, refined, **words),
        "reconstructed_self": nn.reconstruct_tokens(before, after, after, **words),
    }  # fmt: skip


@row
def attribution(case: Any, *, dtype: str = "float64") -> dict[str, np.ndarray]:
    """Maps of one image; those by gradients in float64, for in float32 they jump with single ReLUs."""
    import torch

    from omniconv import attribution, nn

    how = case.meta["kwargs"]
    target, layer = how["target"], how["layer"]
    plain = omniconv.models.create(how["network"], num_classes=how["num_classes"])
    plain.load_state_dict(state(case))
    if plain.num_parameters != case.meta["params"]:
        raise ValueError(f"the model has {plain.num_parameters} parameters, the case tells {case.meta['params']}")
    image = given(case, "x")
    masks = attribution.rise_masks(
        given(case, "rise_grid"), given(case, "rise_dy"), given(case, "rise_dx"), image.shape[2:], p=how["rise_p"]
    )
    rise, scores = attribution.rise(plain, image.astype(np.float32), target, masks, p=how["rise_p"])
    assert len(scores) == how["rise_masks"]
    logits = plain(image.astype(np.float32))
    model, x = plain.to(dtype).to("torch"), torch.tensor(image.astype(dtype))
    cam, weights = attribution.grad_cam(model, x, target, layer)
    gradient = attribution.gradient(model, x, target)
    integrated = attribution.integrated_gradients(model, x, target, steps=how["ig_steps"])
    return {
        "logits": logits, "gradient": gradient.numpy(), "input_x_gradient": (x * gradient).numpy(),
        "cam_weights": weights.numpy(), "gradcam": cam.numpy(), "gradcam_up": nn.resize(cam, image.shape[2:]).numpy(),
        "integrated_gradients": integrated.numpy(), "rise_scores": scores, "rise": rise, "rise_mask0": masks[:1],
    }  # fmt: skip


def _scope_network(case: Any, dtype: str) -> Callable[[Any], Any]:
    """The network that a case tells in words, one after another by commas, of tensors."""
    import torch

    from omniconv import nn

    p = {n: torch.tensor(np.broadcast_to(v, case.meta["state"][n]).astype(dtype)) for n, v in state(case).items()}

    def conv(x: Any, name: str, words: str) -> Any:
        found = {
            "stride": re.search(r"\bs(\d+)\b", words), "padding": re.search(r"\bp(\d+)\b", words),
            "dilation": re.search(r"\bd(?:ilation )?(\d+)\b", words), "groups": re.search(r"\bgroups (\d+)", words),
        }  # fmt: skip
        how = {key: int(number[1]) for key, number in found.items() if number}
        return nn.functional.conv(x, p[f"{name}.weight"], p.get(f"{name}.bias"), **how)

    def norm(x: Any, name: str) -> Any:
        return nn.functional.batch_norm(
            x, *(p[f"{name}.{q}"] for q in ("running_mean", "running_var", "weight", "bias"))
        )

    def step(x: Any, words: str) -> Any:
        name = words.split()[0]
        if words.startswith("conv"):
            return conv(x, name, words)
        if words.startswith("bn"):
            return norm(x, name)
        if words.startswith("fc"):
            return nn.functional.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))
        if words.startswith("max pool"):
            kernel, stride, *padding = map(int, words.split()[2].split("/"))
            return nn.max_pool(x, kernel, stride, *padding)
        if words.startswith("avg pool"):
            kernel, stride, *padding = map(int, words.split()[2].split("/"))
            return nn.avg_pool(x, kernel, stride, *padding)
        if words.startswith("flatten"):
            return x.flatten(1)
        if words.startswith("LeakyReLU"):
            return nn.functional.activation(x, "leaky_relu", negative_slope=float(words.split()[1]))
        if words == "ReLU":
            return nn.functional.activation(x, "relu")
        if words.startswith("global av"):
            return nn.functional.global_avg_pool(x)
        residual = re.match(r"x = (ReLU\()?x \+ (?:(bn\d+)\()?(conv\d+)\(x\)+(?: with (.*))?", words)
        if residual:
            relu, bn, name, about = residual.groups()
            y = conv(x, name, about or "")
            y = x + (norm(y, bn) if bn else y)
            return nn.functional.activation(y, "relu") if relu else y
        raise NotImplementedError(f"a network has the step {words!r}")

    words = re.sub(r"\(([^()]*)\)", lambda m: f"({m[1].replace(',', ';')})", case.meta["kwargs"]["net"].rstrip("."))
    steps = [w.strip() for w in words.split(",")]

    def network(x: Any) -> Any:
        for words in steps:
            x = step(x, words)
        return x

    return network


@row
def linear_scope(case: Any, *, dtype: str = "float64") -> dict[str, np.ndarray]:
    """A network frozen at x0: its linear map, the transpose of that, its rows, columns and singular vectors."""
    import torch

    from omniconv.torch.linear import Linearized

    x0, x1, y = (torch.tensor(given(case, name).astype(dtype)) for name in ("x0", "x1", "y"))
    frozen = Linearized(_scope_network(case, dtype), x0)
    _, values, v = frozen.svd(5)
    outputs = {
        "y0": frozen.y0, "A_x1": frozen.apply(x1), "interp_x1": frozen(x1), "bias": frozen.bias,
        "AT_y": frozen.apply_transposed(y), "row0": frozen.row(0), "column0": frozen.column(0),
        "singular_values": values, "v1": v[0],
    }  # fmt: skip
    return {name: value.numpy() for name, value in outputs.items()}
