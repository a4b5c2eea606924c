"""Runs golden cases: ``run(path)`` computes every output that a case names, with omniconv's public functions.

A row is a function ``row(case, **options) -> {output name: array}``; it builds what ``case.meta`` describes and knows
nothing of single cases. ``@row("name")`` adds one.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from fractions import Fraction
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
    """Every output of the case, by name; exact integers ("int:NAME"), values rounded once ("f32:NAME") and values
    stored to 32 digits ("f64:NAME:hi") are outputs NAME as well.

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
    exact = [key[4:] for key in case.arrays if key.startswith(("int:", "f32:")) and key[4:] in outputs]
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


@row("long_conv")
def long_conv(case: Any, *, dtype: str = "float32") -> dict[str, np.ndarray | None]:
    """The model; or regularised kernels, and the envelope of their initialisation."""
    if case.meta["inputs"]:
        options = {k: v for k, v in case.meta["kwargs"].items() if k != "dropout"}
        return _built(case, "long_conv", dtype, **options).outputs(*_inputs(case, dtype))
    state, outputs = _state(case), {}
    for name, how in case.meta["kwargs"].items():
        k = state[f"{name}.kernel"]
        if how.get("use_ma_smoothing"):
            domain = "frequency" if how.get("smooth_freq") else "time"
            k = omniconv.smooth(k, how["ma_window_len"], domain=domain)
        outputs[name] = omniconv.squash(k, how["lam"])
    outputs["double_exp_envelope"] = omniconv.exp_decay(12, 256)
    return outputs


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


# ---- dfp16 ---------------------------------------------------------------------------------------------------------


def _mantissas(name: str, shape: tuple[int, ...], fill: str, seed: int) -> np.ndarray:
    """int16 of a shape by the rule `fill` of the golden files."""

    def drawn(high: int) -> np.ndarray:
        return seeded.array(name, shape, seed, "integer", high)

    size = math.prod(shape)
    place = np.arange(size).reshape(shape)
    values = {
        "random": lambda: drawn(65535) - 32767,
        "random13": lambda: drawn(16383) - 8191,
        "max": lambda: np.full(shape, 32767),
        "min": lambda: np.full(shape, -32767),
        "raw_min": lambda: np.full(shape, -32768),
        "alternate": lambda: 32767 * (1 - 2 * (place % 2)),
        "cancel": lambda: np.where(place < size // 2, 32767, -32767),
        "lo255": lambda: (drawn(255) - 128) * 256 + 255,
        "hi128lo255": lambda: np.full(shape, -32513),
        "zeros_one": lambda: np.where(place == size // 2, 32767, 0),
    }[fill]()
    return values.astype(np.int16)


def _exact_conv(name: str, about: dict[str, Any], seed: int, how: dict[str, Any]) -> dict[str, np.ndarray]:
    from omniconv import dfp16

    how = how | {key: about[key] for key in ("stride", "padding", "dilation", "groups")}
    x_shape, w_shape = tuple(about["x"]), tuple(about["w"])
    axes = zip(x_shape[2:], w_shape[2:], *(about[key] for key in ("stride", "padding", "dilation")), strict=True)
    y_shape = (x_shape[0], w_shape[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes))
    shapes = {"x": x_shape, "w": w_shape, "dy": y_shape}
    x, w, dy = (_mantissas(f"{name}:{q}", shape, about[f"fill_{q}"], seed) for q, shape in shapes.items())
    steps = {
        "y": lambda: dfp16.conv2d(x, w, out="int64", **how),
        "dx": lambda: dfp16.conv2d_grad_input(dy, w, x_shape, out="int64", **how),
        "dw": lambda: dfp16.conv2d_grad_weight(dy, x, w_shape, out="int64", **how),
    }
    found = {f"{name}:{op}": steps[op]() for op in about["ops"]}
    if "y" in about["ops"]:
        requantized = dfp16.requantize(found[f"{name}:y"])
        found[f"{name}:requant_m"], found[f"{name}:requant_shift"] = requantized.mantissa, requantized.exponent
        exponents = np.array(-15, np.int32), np.array(-16, np.int32)
        a, b = (dfp16.DfpTensor(*pair, 16) for pair in zip((x, w), exponents, strict=True))
        found[f"{name}:y_2^-31"] = dfp16.conv2d(a, b, **how)
    return found


@row("dfp16")
def dfp16(case: Any, *, algorithm: str = "auto", overflow: str = "certified") -> dict[str, np.ndarray | None]:
    """Exact convolutions of mantissas, float32 results of some, and arrays quantised to several numbers of bits."""
    from omniconv import dfp16

    outputs: dict[str, np.ndarray | None] = {}
    for name, about in case.meta["kwargs"]["convs"].items():
        outputs |= _exact_conv(name, about, case.meta["seed"], {"algorithm": algorithm, "overflow": overflow})
    for key, array in case.arrays.items():
        if not key.startswith("in:"):
            continue
        name = key[3:]
        for bits in range(2, 16):
            tensor = dfp16.quantize(array, bits)
            outputs[f"{name}:m{bits}"], outputs[f"{name}:e{bits}"] = tensor.mantissa, tensor.exponent
        if name.startswith("per_"):
            per = dfp16.quantize(array, 15, granularity=name.removeprefix("per_"))
            outputs[f"{name}:m15"], outputs[f"{name}:e15"] = per.mantissa, per.exponent
    for granularity in ("image", "channel"):  # the input of the second one is that of the first
        if f"int:per_{granularity}:m15" in case.arrays and "in:per_image" in case.arrays:
            per = dfp16.quantize(case.arrays["in:per_image"], 15, granularity=granularity)
            outputs[f"per_{granularity}:m15"], outputs[f"per_{granularity}:e15"] = per.mantissa, per.exponent
    return outputs


# ---- e3dsnn --------------------------------------------------------------------------------------------------------


def _sparse_operators(case: Any, dtype: str) -> dict[str, np.ndarray]:
    """Single sparse convolutions, and the gradients of sum(y * g)."""
    from omniconv import sparse

    state, outputs = _state(case), {}
    for name, about in case.meta["kwargs"]["ops"].items():
        w, x, g = (a.astype(dtype) for a in (state[f"{name}.weight"], *(_input(case, f"{name}:{q}") for q in "xg")))
        coords, kernel = case.arrays[f"in:{name}:coords"], about["kernel"]
        mode = {"conv": "strided"}.get(about["op"], about["op"])
        how = {key: about[key] for key in ("stride", "padding", "dilation")}
        grid = sparse.SparseTensor(coords, np.zeros((len(coords), 1), dtype), about["grid"], about["batch"])
        if mode == "inverse":
            there = sparse.plan(grid, kernel, mode="strided", **how)
            source = sparse.SparseTensor(there.out_coords, x)
            plan = sparse.plan(source, mode="inverse", of=there)
        else:
            source, plan = grid.replace(x), sparse.plan(grid, kernel, mode=mode, **how)
        if mode == "strided":
            assert np.array_equal(plan.out_coords, case.arrays[f"int:{name}:out_coords"])
        outputs[f"{name}:y"] = sparse.conv(source, w, mode=mode, plan=plan).features
        outputs[f"{name}:dx"] = sparse.conv_grad_input(g, w, plan)
        outputs[f"{name}:dw"] = sparse.conv_grad_weight(g, x, w.shape, plan)
    return outputs


@row("e3dsnn")
def e3dsnn(case: Any, *, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Single operators, or the classifier of E-3DSNN (arXiv 2412.07360), spikes as small whole numbers."""
    from omniconv import sparse

    how = case.meta["kwargs"]
    if "ops" in how:
        return _sparse_operators(case, dtype)
    options = {name: value for name, value in how.items() if name not in ("grid", "batch")}
    model = _built(case, "e3dsnn_t", dtype, **options)
    feats = _input(case, "feats").astype(dtype)
    return model.outputs(sparse.SparseTensor(case.arrays["in:coords"], feats, how["grid"], how["batch"]))


# ---- graphs --------------------------------------------------------------------------------------------------------


@row("dagnn")
def dagnn(case: Any) -> dict[str, np.ndarray]:
    """DAGNN: two dense layers, then propagation with a gate."""
    from omniconv import sparse

    how, state = case.meta["kwargs"], {n: v.astype(np.float32) for n, v in _state(case).items()}
    x = _input(case, "x").astype(np.float32)
    z = np.maximum(x @ state["lin1.weight"].T + state["lin1.bias"], 0) @ state["lin2.weight"].T + state["lin2.bias"]
    graph = sparse.gcn_norm(sparse.Graph.from_edges(case.arrays["in:edge_index"], how["num_nodes"]))
    gate = state["prop.proj.weight"], state["prop.proj.bias"]
    logits, gates = sparse.dagnn_propagate(graph, z, *gate, steps=how["K"], return_gates=True)
    h = z
    for _ in range(how["K"]):
        h = sparse.spmm(graph, h)
    top = logits - logits.max(1, keepdims=True)
    log_softmax = top - np.log(np.exp(top).sum(1, keepdims=True))
    return {"z": z, "logits": logits, "gates": gates, "h_last": h, "log_softmax": log_softmax}


@row("invgc")
def invgc(case: Any, *, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Messages of a gallery that keeps away from two banks, and its similarities with the queries."""
    from omniconv import sparse

    how = case.meta["kwargs"]

    def normalised(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    names = ("gallery", "query", "train_gallery", "train_query")
    gallery, query, *banks = (normalised(_input(case, name)).astype(dtype) for name in names)
    outputs = {}
    for kind in ("full", "local"):
        messages = []
        for name, bank, r in zip(("gallery", "query"), banks, (how["r_g"], how["r_q"]), strict=True):
            topk = int(how["pool_rate"] * len(bank)) if kind == "local" else None
            messages.append(sparse.inverse_graph_conv(gallery, bank, r, topk=topk))
            outputs[f"{kind}_{name}"] = messages[-1]
            if name == "gallery":
                outputs[f"raw_{kind}"] = sparse.inverse_graph_conv(gallery, bank, r, topk=topk, normalize=False)
        outputs[f"sim_{kind}"] = normalised(0.5 * messages[0] + 0.5 * messages[1]) @ query.T
    return outputs


@row("sguq")
def sguq(case: Any) -> dict[str, np.ndarray]:
    """SGUQ: graphs of patients per view, their encoders and the network that joins views; or the staged decision."""
    from omniconv import sparse

    how = case.meta["kwargs"]
    softmax = lambda v: np.exp(v) / np.exp(v).sum(-1, keepdims=True)  # noqa: E731
    if "trials" in how:
        stages = [softmax(_input(case, f"logits{i}")) for i in (1, 2, 3)]
        found = sparse.staged_decision(stages, (how["t1"], how["t2"]))
        for name, value in {"stage": found["stage"], "final": found["final"]}.items():
            assert np.array_equal(value, case.arrays[f"int:{name}"])
        for i, label in enumerate(found["label"], 1):
            assert np.array_equal(label, case.arrays[f"int:pred{i}"])
        return {f"std{i}": value for i, value in enumerate(found["std"], 1)}
    state, train, outputs = {n: v.astype(np.float32) for n, v in _state(case).items()}, how["n_train"], {}
    joint = None
    for i in range(1, len(how["dim_list"]) + 1):
        x = _input(case, f"view{i}")
        graphs = sparse.cosine_graph(x, train, edges_per_node=how["edges_per_node"])
        for name, graph in zip(("train", "test"), graphs, strict=True):
            h = x[: graph.rows].astype(np.float32)
            for layer in (1, 2, 3):
                w, b = (state[f"E{i}.gc{layer}.{q}"] for q in ("weight", "bias"))
                h = sparse.spmm(graph, h @ w, bias=b, activation="leaky_relu", negative_slope=0.25)
            outputs |= {f"encoder_{name}_view{i}": h, f"adj_{name}_view{i}": graph.dense()}
        logits = h @ state[f"C{i}.clf.0.weight"].T + state[f"C{i}.clf.0.bias"]
        outputs[f"logits_view{i}"] = logits
        gate = 1 / (1 + np.exp(-logits))
        joint = gate if joint is None else (joint[:, :, None] * gate[:, None]).reshape(len(gate), -1)
    h = joint @ state["C.model.0.weight"].T + state["C.model.0.bias"]
    logits = np.where(h > 0, h, 0.25 * h) @ state["C.model.2.weight"].T + state["C.model.2.bias"]
    return outputs | {"vcdn_logits": logits, "prob": softmax(logits[train:])}


# ---- analyses ------------------------------------------------------------------------------------------------------

ROWS.update(_beside("analyses").ROWS)

OPERATIONS = set(ROWS)  # the rows so far; those below are models, compared in float32 by the limits of their cases


# ---- models --------------------------------------------------------------------------------------------------------


def _built(case: Any, name: str, dtype: str = "float32", **options: Any) -> Any:
    """The model `name` with the case's parameters."""
    return _loaded(case, omniconv.models.create(name, **options).to(dtype))


def _loaded(case: Any, model: Any) -> Any:
    """A model with the case's parameters under their public names; an error unless the numbers of parameters agree."""
    state = _state(case)
    shapes = {n: s for n, s in case.meta["state"].items()}
    state = {n: np.broadcast_to(v, shapes[n]) if n in shapes else v for n, v in state.items()}
    model.load_state_dict(state)
    if model.num_parameters != case.meta["params"]:
        raise ValueError(f"the model has {model.num_parameters} parameters, the case tells {case.meta['params']}")
    return model


def _inputs(case: Any, dtype: str = "float32") -> list[np.ndarray]:
    given = [case.arrays[f"in:{n}"] if f"in:{n}" in case.arrays else _input(case, n) for n in case.meta["inputs"]]
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in given]


def _model_row(name: str, family: str, without: tuple[str, ...] = ("dropout",), **words: str) -> None:
    """A row whose kwargs are options of a family, but for those left away, and those under other `words`."""

    @row(name)
    def model(case: Any, *, dtype: str = "float32") -> dict[str, np.ndarray]:
        options = {words.get(k, k): v for k, v in case.meta["kwargs"].items() if k not in without}
        return _built(case, family, dtype, **options).outputs(*_inputs(case, dtype))


_model_row("resnet", "resnet18")
_model_row("vgg", "vgg16")
_model_row("alexnet", "alexnet")
_model_row("googlenet", "googlenet")
_model_row("regnet", "regnetx_002")
_model_row("convnext", "convnext_tiny", without=("conv_mlp",))
_model_row("inception_next", "inception_next_tiny")
_model_row("espcn", "espcn_x2")
_model_row("cct", "cct_7_3x1_32")
_model_row("convit", "convit_tiny")
_model_row("cvt", "cvt_13")


@row("hornet")
def hornet(case: Any) -> dict[str, np.ndarray]:
    """The network; its scale is a fraction in words."""
    options = case.meta["kwargs"] | {"scale": float(Fraction(str(case.meta["kwargs"]["scale"])))}
    return _built(case, "hornet_tiny_7x7", **options).outputs(*_inputs(case))


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
    outputs |= {f"merged_{n}": state.get(f"stages.1.0.{to}") for n, to in names.items()}  # None of a small kernel
    return outputs | {"merged_logits": model(*_inputs(case))}


_model_row("sgconv", "sgconv")
_model_row("hyena", "hyena", without=("dropout", "filter_dropout"))
_model_row("affnet", "affnet", without=("normalization",), activation="act", n_classes="num_classes")

_TVCONV = {
    "TVConv_k": "kernel_size", "TVConv_posi_chans": "posi_chans", "TVConv_inter_chans": "inter_chans",
    "TVConv_inter_layers": "inter_layers", "TVConv_Bias": "bias",
}  # fmt: skip


@row("tvconv")
def tvconv(case: Any) -> dict[str, np.ndarray]:
    """The operator alone, or the network with it in."""
    about = case.meta["kwargs"]
    options = {to: about[word] for word, to in _TVCONV.items() if word in about}
    if "name" not in about:
        options |= {"stride": about["stride"], "size": (about["h"], about["w"])}
        model = _loaded(case, omniconv.models.tvconv.TVConv(about["channels"], **options))
    else:
        options |= {"input_size": about["input_size"], "atom": about["atom"]}
        model = _built(case, f"tvconv_{about['name']}", **options)
    return model.outputs(*_inputs(case))


_model_row("mirnet", "mirnet", without=("stride",))
_model_row("spark", "spark_resnet50")


@row("base_conv")
def base_conv(case: Any) -> dict[str, np.ndarray]:
    """The mixer alone, or a language model of it and the sequences of its task."""
    options = dict(case.meta["kwargs"])
    if "vocab_size" not in options:
        return _built(case, "base_conv", **options).outputs(*_inputs(case))
    if options.pop("sequence_mixer") != "BaseConv" or options.pop("state_mixer") != "Identity":
        raise NotImplementedError("only BaseConv without a state mixer")
    outputs = _built(case, "base_conv_lm", **options).outputs(*_inputs(case))
    if "mqar" in case.meta:
        about = {k: v for k, v in case.meta["mqar"].items() if k != "random_non_queries"}
        ids, labels = omniconv.models.base_conv.multiquery_ar(**about)
        outputs |= {"mqar_inputs": ids, "mqar_labels": labels}
    return outputs


@row("dea_net")
def dea_net(case: Any) -> dict[str, np.ndarray]:
    """The network, or one block in its form of training, with what folding makes of it."""
    about = case.meta["kwargs"]
    if "block" not in about:
        return _built(case, "dea_net", **about).outputs(*_inputs(case))
    deploy = "training" not in about["block"]
    if about["block"].startswith("DEAB"):
        block = omniconv.models.dea_net.DEABlock(about["dim"], about["reduction"], deploy)
    else:
        block = omniconv.models.dea_net.DEBlock(about["dim"], deploy)
    (x,), block = _inputs(case), _loaded(case, block)
    outputs = {"conv1": block.conv1(x), "out": block(x)}
    conv = block.fold().conv1
    return outputs | {"folded_weight": conv.weight, "folded_bias": conv.bias}


_model_row("deeplab", "deeplab_v2_resnet101")
_model_row("dolg", "dolg_r50")
_model_row("gmm_vit", "gmm_vit_32")


@row("ensem_1dcnn")
def ensem_1dcnn(case: Any) -> dict[str, np.ndarray]:
    """The base network, or two of them, which the names of the parameters tell."""
    two = any(name.startswith("spatial.") for name in case.meta["state"])
    model = _built(case, "ensem_1dcnn_two_stream" if two else "ensem_1dcnn", **case.meta["kwargs"])
    return model.outputs(*_inputs(case))


@row("fourier_gan")
def fourier_gan(case: Any) -> dict[str, np.ndarray]:
    """A generator, or the measurement of spectra."""
    if case.meta["kwargs"].get("op") == "radial_profile":
        return omniconv.models.fourier_gan.radial_profile(_input(case, "image"))
    options = {k: v for k, v in case.meta["kwargs"].items() if k != "norm"}
    return _built(case, "fourier_gan_baseline", **options).outputs(*_inputs(case))


@row("cmoe")
def cmoe(case: Any) -> dict[str, np.ndarray]:
    """The network; its class tells whether there is a shared classifier."""
    options = dict(case.meta["kwargs"])
    residual = options.pop("cls").endswith("residual")
    return _built(case, "cmoe_resnet18", residual=residual, **options).outputs(*_inputs(case))


_model_row("glnet", "glnet_4g", without=("slot_init",))


def _halo_stage(about: Any) -> tuple[list[str], int, int]:
    """(kinds, channels, stride) of a stage; kinds in words, which take turns if there are more blocks."""
    if not isinstance(about, dict):
        kinds, channels, stride = about
        return kinds.split(","), channels, stride
    kinds = about["type"].removesuffix(" interleaved").split(",")
    return [kinds[j % len(kinds)] for j in range(about["d"])], about["c"], about["s"]


@row("halonet")
def halonet(case: Any) -> dict[str, np.ndarray]:
    """The network, whose stem may be told in one word or in several."""
    about = dict(case.meta["kwargs"])
    if "stem" in about:
        kind, width = about.pop("stem").split()[:2]
        about |= {"stem_type": kind, "stem_chs": int(width)}
    about["stages"] = [_halo_stage(stage) for stage in about["stages"]]
    options = {k: v for k, v in about.items() if k not in ("name", "stem_pool")}
    return _built(case, "halonet26t", **options).outputs(*_inputs(case))


@row("tunable_conv")
def tunable_conv(case: Any) -> dict[str, np.ndarray]:
    """The operator, or NAFNet made of it."""
    options = case.meta["kwargs"]
    name = "tunable_nafnet" if "enc" in options else "tunable_conv"
    return _built(case, name, **options).outputs(*_inputs(case))


_model_row("transnext", "transnext_micro")


@row("text_cnn")
def text_cnn(case: Any) -> dict[str, np.ndarray]:
    """The network, and what it finds salient."""
    model, (tokens,) = _built(case, "text_cnn", **case.meta["kwargs"]), _inputs(case)
    return model.outputs(tokens) | model.salient(tokens)


_model_row("yolov9", "yolov9_s", without=("auxiliary",))
_model_row("mossformer", "mossformer_l", without=("attn_dropout",))


def _complex_state(case: Any) -> dict[str, np.ndarray]:
    """Complex parameters by their own names, real ones beside them."""
    state = _state(case)
    state = {n: np.broadcast_to(v, case.meta["state"][n]) for n, v in state.items()}
    joined = {n[5:]: state[n] + 1j * state[f"imag.{n[5:]}"] for n in state if n.startswith("real.")}
    return joined | {n: v for n, v in state.items() if not n.startswith(("real.", "imag."))}


def _complex_operations(case: Any, x: np.ndarray, p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A convolution, and norms, activations and pools of its result."""
    from omniconv.nn import complex as C

    how = case.meta["kwargs"]
    if "ci" in how:
        words = {key: how[key] for key in ("stride", "padding", "dilation", "groups")}
        words |= {key: how[key] for key in ("output_padding",) if key in how}
        function = C.conv_transpose if how["transposed"] else C.conv
        return {"out": function(x, p["weight"], p.get("bias"), **words)}
    *_, stride, padding = how["conv"]
    b = p.get("conv.bias")
    b = None if b is None else C.join(b.real - b.imag, b.real + b.imag)  # which the package adds to all four products
    y = C.conv(x, p["conv.weight"], b, stride=stride, padding=padding)
    norm, naive = ([p[f"{n}.{q}"] for q in ("running_mean", "running_var", "weight", "bias")] for n in ("bn", "naive"))
    return {
        "conv": y, "bn": C.batch_norm(y, *norm), "bn_naive": C.naive_batch_norm(y, *naive), "crelu": C.crelu(y),
        "zrelu": C.zrelu(y), "maxpool": C.max_pool(y, 3, 2, 1), "avgpool": C.avg_pool(y, 2),
    } | ({"modrelu": C.modrelu(y, p["modrelu.b"])} if "modrelu.b" in p else {})  # fmt: skip


@row("complex_cnn")
def complex_cnn(case: Any) -> dict[str, np.ndarray]:
    """Single operations, or the network; complex results as NAME_re and NAME_im."""
    x = (_input(case, "x_re") + 1j * _input(case, "x_im")).astype(np.complex64)
    state = {
        n: np.asarray(v).astype(np.complex64 if np.iscomplexobj(v) else np.float32)
        for n, v in _complex_state(case).items()
    }
    if "act" in case.meta["kwargs"]:
        options = dict(case.meta["kwargs"])
        model = omniconv.models.create("complex_cnn", in_channels=x.shape[1], **options)
        model.load_state_dict(state)
        if model.num_parameters != case.meta["params"]:
            raise ValueError(f"the model has {model.num_parameters} parameters, the case {case.meta['params']}")
        found = model.outputs(x)
    else:
        found = _complex_operations(case, x, state)
    split = {n: v for n, v in found.items() if not np.iscomplexobj(v)}
    for n, v in found.items():
        if np.iscomplexobj(v):
            split |= {f"{n}_re": v.real, f"{n}_im": v.imag}
    return split
