"""Runs golden cases: ``run(path)`` computes every output that a case names, with omniconv's public functions.

A row is a function ``row(case, **options) -> {output name: array}``; it builds what ``case.meta`` describes and knows
nothing of single cases. ``@row("name")`` adds one.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import omniconv
import omniconv.models

__all__ = ["ROWS", "row", "run"]


def _beside(name: str) -> Any:
    """The module `name` of this folder, however this file itself was imported."""
    key = f"omniconv_golden_{name}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[key] = module
        spec.loader.exec_module(module)
    return sys.modules[key]


seeded = _beside("seeded")

Row = Callable[..., dict[str, np.ndarray]]
ROWS: dict[str, Row] = {}


def row(name: str) -> Callable[[Row], Row]:
    """Register the function that computes the cases of a row."""

    def register(function: Row) -> Row:
        ROWS[name] = function
        return function

    return register


def run(path: str | Path, **options: Any) -> dict[str, np.ndarray]:
    """Every output of the case, by name; values stored to 32 digits ("f64:NAME:hi") are outputs NAME as well.

    `options` are those of the row's function; each has a default.

    An output that an algorithm named in `options` declines to compute is left out. KeyError if no row has the name
    that the case gives, or if an output that the case names was not computed.
    """
    case = seeded.load(path)
    name = case.meta["row"]
    if name not in ROWS:
        raise KeyError(f"{path} is of row {name!r}; there are {sorted(ROWS)}")
    outputs = ROWS[name](case, **options)
    precise = [key[4:-3] for key in case.arrays if key.startswith("f64:") and key.endswith(":hi")]
    exact = [key[4:] for key in case.arrays if key.startswith("int:")]
    return {name: outputs[name] for name in (*case.outputs, *precise, *exact) if outputs[name] is not None}


# ---- conv ----------------------------------------------------------------------------------------------------------

Steps = dict[str, Callable[[], Any]]


def _channels_inside(array: np.ndarray) -> np.ndarray:
    """The same [N, C, *spatial] with C innermost in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def _function(name: str, about: dict[str, Any]) -> Callable[..., Any]:
    return getattr(omniconv, name.format(about["nd"]))


def _forward(about: dict[str, Any], x: Any, w: Any, b: Any, g: Any, how: dict[str, Any]) -> Steps:
    how = how | {"padding": about["padding"], "padding_mode": about["mode"]}
    return {
        "y": lambda: _function("conv{}d", about)(x, w, b, **how),
        "dx": lambda: _function("conv{}d_grad_input", about)(g, w, x.shape, **how),
        "dw": lambda: _function("conv{}d_grad_weight", about)(g, x, w.shape, **how),
    }


def _transposed(about: dict[str, Any], x: Any, w: Any, b: Any, g: Any, how: dict[str, Any]) -> Steps:
    padding, extra = about["padding"], about["output_padding"]
    ends = [high - e for (_, high), e in zip(padding, extra, strict=True)]
    # Backward runs the convolution that was transposed: over g, with outputs of the shape of x. Output padding takes
    # back what `padding` removed at the high end; what it adds beyond that no window of that convolution reaches.
    seen = g[(..., *(slice(0, n + min(end, 0)) for n, end in zip(g.shape[2:], ends, strict=True)))]
    back = how | {"padding": [(low, max(end, 0)) for (low, _), end in zip(padding, ends, strict=True)]}
    return {
        "y": lambda: _function("conv_transpose{}d", about)(x, w, b, padding=padding, output_padding=extra, **how),
        "dx": lambda: _function("conv{}d", about)(seen, w, **back),
        "dw": lambda: _function("conv{}d_grad_weight", about)(x, seen, w.shape, **back),
    }


def _or_declined(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except NotImplementedError:
        return None


@row("conv")
def conv(
    case: Any,
    *,
    dtype: str = "float32",
    algorithm: str = "auto",
    precision: str = "highest",
    channels_last: bool = False,
) -> dict[str, np.ndarray | None]:
    """Convolutions in ``kwargs["convs"]``: result y, and gradients dx, dw, db of sum(y * g), of every one.

    None stands for an output that `algorithm` declines. `channels_last` lays x and g out with channels innermost.
    """
    place = _channels_inside if channels_last else np.ascontiguousarray
    outputs: dict[str, np.ndarray | None] = {}
    for name, about in case.meta["kwargs"]["convs"].items():
        ci, co, groups = about["cin"], about["cout"], about["groups"]
        first, second = (ci, co) if about["transposed"] else (co, ci)
        shapes = {
            "x": (about["N"], ci, *about["spatial"]),
            "w": (first, second // groups, *about["kernel"]),
            "b": (co,),
            "g": (about["N"], co, *about["out"]),
        }
        a = {k: seeded.array(f"{name}:{k}", shape, case.meta["seed"]).astype(dtype) for k, shape in shapes.items()}
        x, w, b, g = place(a["x"]), a["w"], a["b"] if about["bias"] else None, place(a["g"])
        how = {key: about[key] for key in ("stride", "dilation", "groups")}
        how |= {"algorithm": algorithm, "precision": precision}
        steps = (_transposed if about["transposed"] else _forward)(about, x, w, b, g, how)
        outputs |= {f"{name}:{part}": _or_declined(step) for part, step in steps.items()}
        if b is not None:
            outputs[f"{name}:db"] = omniconv.conv_grad_bias(g)
    return outputs


# ---- fft_conv ------------------------------------------------------------------------------------------------------


def _signal(array: np.ndarray, kind: str) -> np.ndarray:
    """What ``u_sig`` and ``k_sig`` make of white noise, along the last axis."""
    n, t = array.shape[-1], np.arange(array.shape[-1])
    return {
        "white": lambda: array,
        "dc": lambda: array + 1,
        "decay": lambda: array * np.exp(-8 * t / n),
        "impulse": lambda: np.broadcast_to((t == n // 3) * 1.0, array.shape).copy(),
        "alternating": lambda: np.broadcast_to(1.0 - 2 * (t % 2), array.shape).copy(),
        "small": lambda: array * 1e-4,
        "big": lambda: array * 1e2,
    }[kind]()


_LONG = {"pre": "pre_gate", "post": "post_gate", "D": "skip", "bias": "bias", "k_rev": "k_rev"}  # by their names here
_LONG_ROWS = {"u", "pre", "post", "g"}


def _long_arrays(name: str, about: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    batch, h, length, taps = (about[key] for key in "BHLK")
    kernels = (about["C"],) if "C" in about else (batch,) if about.get("per_sample") else ()
    per = (about["C"], h) if "C" in about else (h,)
    outs = {"full": length + taps - 1, "valid": length - taps + 1}.get(about["mode"], length)
    u, y, k = (batch, h, length), (batch, *per, outs), (*kernels, h, taps)
    shapes = {"u": u, "pre": u, "k": k, "k_rev": k, "D": per, "bias": per, "post": y, "g": y}
    arrays = {q: seeded.array(f"{name}:{q}", shape, seed) for q, shape in shapes.items()}
    return {q: _signal(v, about.get(f"{q}_sig", "white")) for q, v in arrays.items()}


def _long_conv(about: dict[str, Any], a: dict[str, np.ndarray], how: dict[str, Any]) -> dict[str, Any]:
    """y, and where asked for the gradients, by the names of the golden file."""
    turned = how["layout"] == "BLH"
    a = {q: np.ascontiguousarray(v.swapaxes(-1, -2)) if turned and q in _LONG_ROWS else v for q, v in a.items()}
    how = how | {to: a[q] for q, to in _LONG.items() if about.get(q)}
    how |= {"mode": about["mode"], "activation": about.get("act"), "per_sample": about.get("per_sample", False)}
    found = {"y": _or_declined(lambda: omniconv.fft_conv(a["u"], a["k"], **how))}
    if about.get("grad"):
        grads = _or_declined(lambda: omniconv.fft_conv_grad(a["g"], a["u"], a["k"], **how))
        asked = {"u": "u", "k": "k"} | {q: to for q, to in _LONG.items() if about.get(q)}
        found |= {f"d{q}": grads and getattr(grads, to) for q, to in asked.items()}
    rows = {"y", *(f"d{q}" for q in _LONG_ROWS)}
    return {q: v.swapaxes(-1, -2) if turned and q in rows and v is not None else v for q, v in found.items()}


@row("fft_conv")
def fft_conv(
    case: Any, *, dtype: str = "float32", algorithm: str = "auto", layout: str = "BHL"
) -> dict[str, np.ndarray | None]:
    """Long convolutions in ``kwargs["convs"]``: y, and of some the gradients of sum(y * g).

    None stands for an output that `algorithm` declines.
    """
    outputs: dict[str, np.ndarray | None] = {}
    for name, about in case.meta["kwargs"]["convs"].items():
        arrays = {q: v.astype(dtype) for q, v in _long_arrays(name, about, case.meta["seed"]).items()}
        found = _long_conv(about, arrays, {"layout": layout, "algorithm": algorithm})
        outputs |= {f"{name}:{part}": value for part, value in found.items()}
    return outputs


# ---- kernels of long convolutions ----------------------------------------------------------------------------------


def _state(case: Any) -> dict[str, np.ndarray]:
    state = seeded.state(case.meta["state"], case.meta["seed"])
    return state | {n: np.array(v) for n, v in case.meta["overrides"].items()}


def _input(case: Any, name: str) -> np.ndarray:
    about = case.meta["inputs"][name]
    return seeded.array(name, about["shape"], about["seed"], about["kind"], about.get("high", 2))


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@row("long_conv")
def long_conv(case: Any) -> dict[str, np.ndarray | None]:
    """Regularised kernels, and the envelope of their initialisation."""
    state, outputs = _state(case), {}
    for name, how in case.meta["kwargs"].items():
        k = state[f"{name}.kernel"]
        if how.get("use_ma_smoothing"):
            domain = "frequency" if how.get("smooth_freq") else "time"
            k = omniconv.smooth(k, how["ma_window_len"], domain=domain)
        outputs[name] = omniconv.squash(k, how["lam"])
    outputs["double_exp_envelope"] = omniconv.exp_decay(12, 256)
    return outputs


@row("sgconv")
def sgconv(case: Any) -> dict[str, np.ndarray | None]:
    """The layer of SGConv: its kernel, and what it makes of u."""
    how, state, u = case.meta["kwargs"], _state(case), _input(case, "u")
    bidirectional, glu = how.get("bidirectional", False), how.get("postact") == "glu"
    u = u if how.get("transposed", True) else u.swapaxes(1, 2)
    length = u.shape[-1]
    scales = [state[f"kernel_list.{i}"] for i in range(sum(n.startswith("kernel_list") for n in state))]
    k, norm = omniconv.sgconv_kernel(scales, length, decay=state["multiplier"].reshape(-1))
    back = None
    if bidirectional:  # the first tap of the other half multiplies the next sample
        k, after = np.split(k, 2)
        back = np.concatenate([np.zeros_like(after[..., :1]), after], -1)
    y = omniconv.fft_conv(u, k, k_rev=back, skip=state["D"])
    y = _gelu(y.reshape(len(u), -1, length)).swapaxes(1, 2)
    name = "output_linear.0" if glu else "output_linear"
    y = y @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    if glu:
        a, b = np.split(y, 2, -1)
        y = a / (1 + np.exp(-b))
    if back is not None:
        k = np.concatenate([k, back[..., :0:-1]], -1)
    return {"y": y if not how.get("transposed", True) else y.swapaxes(1, 2), "kernel": k, "kernel_norm": norm}


@row("hyena")
def hyena(case: Any) -> dict[str, np.ndarray | None]:
    """The operator of Hyena, on gated long convolutions, and its implicit filter."""
    how, state, u = case.meta["kwargs"], _state(case), _input(case, "u")
    order, width, longest = how["order"], how["d_model"], how["l_max"]
    length = min(u.shape[1], longest)
    x = (u @ state["in_proj.weight"].T + state["in_proj.bias"]).swapaxes(1, 2)
    x = omniconv.fft_conv(x, omniconv.flip_taps(state["short_filter.weight"]), bias=state["short_filter.bias"])
    *gates, v = np.split(x[..., :length], order + 1, 1)
    t, z = omniconv.hyena_positions(longest, how.get("emb_dim", 3))
    prefix, layers = "filter_fn.implicit_filter", []
    for i in sorted({int(n.split(".")[2]) for n in state if n.startswith(prefix) and n.endswith("weight")}):
        layers.append((state[f"{prefix}.{i}.weight"], state.get(f"{prefix}.{i}.bias")))
    deltas = np.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, width * (order - 1))
    filters = omniconv.hyena_filter(
        z[:length], layers, state[f"{prefix}.1.freq"], t[:length], deltas, shift=how.get("shift", 0.0)
    )
    kernels = filters.reshape(order - 1, width, length)
    bias = state["filter_fn.bias"].reshape(order - 1, width)
    for k, skip, gate in zip(kernels, bias, gates[:0:-1], strict=True):
        v = omniconv.fft_conv(v, k, pre_gate=np.ascontiguousarray(gate), skip=skip)
    y = (v * gates[0]).swapaxes(1, 2) @ state["out_proj.weight"].T + state["out_proj.bias"]
    return {"y": y, "filter": filters.T[None]}


# ---- log_bessel ----------------------------------------------------------------------------------------------------


@row("log_bessel")
def log_bessel(case: Any) -> dict[str, np.ndarray]:
    """Logarithms, ratios and derivatives of I and K at single points."""
    from omniconv import special

    v, x = case.arrays["in:v"], case.arrays["in:x"]
    iv_grad, kv_grad = special.log_iv_grad(v, x), special.log_kv_grad(v, x)
    return {
        "log_iv": special.log_iv(v, x),
        "log_kv": special.log_kv(v, x),
        "ratio_i": special.iv_ratio(v, x),
        "ratio_k": special.kv_ratio(v, x),
        "dlog_iv_dv": iv_grad[0],
        "dlog_iv_dx": iv_grad[1],
        "dlog_kv_dv": kv_grad[0],
        "dlog_kv_dx": kv_grad[1],
    }


# ---- vmf -----------------------------------------------------------------------------------------------------------


def _pole(p: float) -> np.ndarray:
    return np.eye(1, int(p))[0]


def _tilted(p: float, cos: float) -> np.ndarray:
    """A unit vector at this cosine to the pole."""
    vector = np.zeros(int(p))
    vector[:2] = cos, np.sqrt((1 - cos) * (1 + cos))
    return vector


@row("vmf")
def vmf(case: Any) -> dict[str, np.ndarray]:
    """The von Mises-Fisher distribution: single distributions, divergences of two, concentrations of resultants."""
    from omniconv.vmf import VonMisesFisher, kappa_from_r, terms

    a = {key[3:]: array for key, array in case.arrays.items() if key.startswith("in:")}
    each = [VonMisesFisher(_pole(p), kappa) for p, kappa in zip(a["dist:p"], a["dist:kappa"], strict=True)]
    pairs = zip(a["kl:p"], a["kl:kappa1"], a["kl:kappa2"], a["kl:cos"], strict=True)
    kl = [VonMisesFisher(_pole(p), k1).kl(VonMisesFisher(_tilted(p, cos), k2)) for p, k1, k2, cos in pairs]
    return {
        "dist:log_c": np.array([d.log_normalizer for d in each]),
        "dist:mean_resultant": np.array([d.mean_resultant for d in each]),
        "dist:one_minus_mean_resultant": np.array([d.mean_resultantc for d in each]),
        "dist:mean_resultant_derivative": terms.resultant_dk(a["dist:p"], a["dist:kappa"]),
        "dist:entropy": np.array([d.entropy() for d in each]),
        "dist:kl_uniform": np.array([d.kl_uniform() for d in each]),
        "kl:kl": np.array(kl),
        "mle:kappa": kappa_from_r(a["mle:p"], a["mle:R"]),
    }


# ---- models --------------------------------------------------------------------------------------------------------


def _float32(values: dict[str, Any]) -> dict[str, Any]:
    return {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in values.items()}


def _built(case: Any, name: str, **options: Any) -> Any:
    """The model, with the case's parameters under their public names; an error unless the numbers of parameters agree."""
    model = omniconv.models.create(name, **options)
    state = _state(case)
    shapes = {n: s for n, s in case.meta["state"].items()}
    state = {n: np.broadcast_to(v, shapes[n]) if n in shapes else v for n, v in state.items()}
    model.load_state_dict(state)
    if model.num_parameters != case.meta["params"]:
        raise ValueError(f"{name} has {model.num_parameters} parameters, the case tells {case.meta['params']}")
    return model


def _inputs(case: Any) -> list[np.ndarray]:
    given = {n: case.arrays[f"in:{n}"] if f"in:{n}" in case.arrays else _input(case, n) for n in case.meta["inputs"]}
    return list(_float32(given).values())


def _model_row(name: str, family: str, without: tuple[str, ...] = (), **words: str) -> None:
    """A row whose kwargs are options of a family, but for those left away, and those under other `words`."""

    @row(name)
    def model(case: Any) -> dict[str, np.ndarray]:
        options = {words.get(k, k): v for k, v in case.meta["kwargs"].items() if k not in without}
        return _built(case, family, **options).outputs(*_inputs(case))


_model_row("resnet", "resnet18")
_model_row("vgg", "vgg16")
_model_row("alexnet", "alexnet")
_model_row("googlenet", "googlenet")
_model_row("regnet", "regnetx_002")
_model_row("convnext", "convnext_tiny", without=("conv_mlp",))
_model_row("inception_next", "inception_next_tiny")
_model_row("espcn", "espcn_x2")


@row("unireplknet")
def unireplknet(case: Any) -> dict[str, np.ndarray]:
    """The network, and of a training form what merging its branches makes of it."""
    model = _built(case, "unireplknet_t", **case.meta["kwargs"])
    outputs = model.outputs(*_inputs(case))
    if case.meta["kwargs"]["deploy"]:
        return outputs
    state = model.fold().state_dict()
    names = {"kernel": "dwconv.lk_origin.weight", "bias": "dwconv.lk_origin.bias"}
    names |= {"linear_weight": "pwconv2.0.weight", "linear_bias": "pwconv2.0.bias"}
    outputs |= {f"merged_{n}": state.get(f"stages.1.0.{to}") for n, to in names.items()}
    return outputs | {"merged_logits": model(*_inputs(case))}
