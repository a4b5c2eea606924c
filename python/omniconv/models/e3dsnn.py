"""E-3DSNN: Qiu et al., "Efficient 3D Recognition with Event-driven Spike Sparse Convolution", arXiv:2412.07360.

Names are ours. A spiking network of submanifold convolutions on voxels: one time step, spikes from 0 to 4, active sites
that depend on the points alone. Written from the paper and from what is known of its sizes; there is no code of the
authors in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from omniconv import nn, sparse
from omniconv.models.registry import Model, register

VARIANTS = {
    "e3dsnn_t": {},
    "e3dsnn_s": {"stem": 24, "widths": (24, 48, 96, 160)},
    "e3dsnn_m": {"stem": 64, "widths": (64, 128, 128, 256), "blocks": (2, 2, 2, 2)},
    "e3dsnn_l": {"stem": 64, "widths": (96, 192, 288, 384), "blocks": (2, 2, 2, 2)},
}
SEGMENTERS = {"e3dsnn_seg": {}}
DETECTORS = {"e3dsnn_det": {}}
MOMENTUM = 0.01  # of the running statistics
EPS = 1e-3
HALVED = {"kernel": 2, "stride": 2}  # on the way into a stage


def voxelize(points: Any, features: Any, grid: float = 0.01, batch: Any = None) -> sparse.SparseTensor:
    """Spike voxel coding: the site of a point is ``floor(point / grid)`` less the smallest of its sample.

    The first point of each voxel stays; to draw one at random in training, shuffle the points. What turns its features
    into spikes is the network's stem.

    Parameters
    ----------
    points : array [N, 3]
    features : array [N, C]
        float32; of ModelNet40 coordinates and normals.
    grid : float
        Side of a voxel: 0.01 for ModelNet40, whose coordinates are normalised, 0.05 m for SemanticKITTI.
    batch : integers [N], optional
    """
    where = np.floor(np.asarray(points, dtype=np.float64) / grid)
    if where.ndim != 2 or not np.isfinite(where).all():
        raise ValueError(f"points have shape {where.shape}; expected are finite rows (N, D)")
    sample = np.zeros(len(where), np.int64) if batch is None else np.asarray(batch)
    if batch is None:
        where -= where.min(0, initial=np.inf) if len(where) else 0
    else:
        for b in np.unique(sample):
            where[sample == b] -= where[sample == b].min(0)
    if where.size and where.max() >= 2**31:
        raise ValueError(f"grid is {grid}: the points span more voxels than int32 counts")
    coords = np.empty((len(where), 1 + where.shape[1]), np.int32)
    coords[:, 0], coords[:, 1:] = sample, where
    return sparse.SparseTensor(coords, features, on_duplicate="first")


def sweep_voxels(
    points: Any,
    features: Any,
    voxel_size: Sequence[float] = (0.05, 0.05, 0.1),
    extent: Sequence[float] = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0),
    batch: Any = None,
    batch_size: int | None = None,
) -> sparse.SparseTensor:
    """The voxels of a LiDAR sweep that a detector takes: means of their points, axes z, y, x.

    Every point of a voxel counts, and no voxel is left out; common pipelines cap both numbers.

    Parameters
    ----------
    points : array [N, 3]
        x, y, z in metres.
    features : array [N, C]
        float32; of KITTI coordinates and strength.
    voxel_size : three floats
        Of x, y, z in metres.
    extent : six floats
        The least x, y, z, then the largest: points elsewhere are left out. The defaults are those usual for KITTI.
    batch : integers [N], optional
    batch_size : int, optional

    Returns
    -------
    SparseTensor
        Its spatial shape has one place more in z than voxels, (41, 1600, 1408) by default: with it the strides of a
        detector leave two.
    """
    for name, numbers, count in (("voxel_size", voxel_size, 3), ("extent", extent, 6)):
        if len(numbers) != count:
            raise ValueError(f"{name} is {numbers}; expected are {count} numbers")
    where = np.asarray(points)
    if where.ndim != 2 or where.shape[1] != 3:
        raise ValueError(f"points have shape {where.shape}; expected is (N, 3)")
    low, high = np.asarray(extent, dtype=np.float64).reshape(2, 3)[:, ::-1]
    sides = np.asarray(voxel_size, dtype=np.float64)[::-1]
    shape = tuple(int(n) for n in np.rint((high - low) / sides))
    st = sparse.from_points(where[:, ::-1], features, sides, batch=batch, origin=low, spatial_shape=shape)
    if batch_size is None and batch is not None:  # samples that are wholly outside count
        batch_size = int(np.max(batch, initial=0)) + 1
    return sparse.SparseTensor(st.coords, st.features, (shape[0] + 1, *shape[1:]), batch_size)


def _is_torch(array: Any) -> bool:
    return hasattr(array, "requires_grad")


class SiteConv(nn.Module):
    """A convolution over sites."""

    def __init__(self, ci: int, co: int, kernel: int | tuple[int, int, int], *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(co, ci, *((kernel,) * 3 if isinstance(kernel, int) else kernel))
        self.bias = nn.Parameter(co, fill=0.0) if bias else None

    def forward(self, st: Any, *, scale: Any = None, shift: Any = None, residual: Any = None, **how: Any) -> Any:
        """``scale * sums + shift + residual`` at the output's sites; the shift is the bias if left out."""
        shift = self.bias if shift is None else shift
        if not _is_torch(self.weight):
            return sparse.conv(st, self.weight, shift, scale=scale, residual=residual, **how)
        from omniconv.torch import sparse as bridge

        y = bridge.conv(st, self.weight, **how)
        rows = y.features if scale is None else y.features * scale
        rows = rows if shift is None else rows + shift
        return y.replace(rows if residual is None else rows + residual.features)


class Layer(nn.Module):
    """Convolution, batch norm, neuron: the membrane and its spikes."""

    def __init__(
        self, ci: int, co: int, levels: int, kernel: int | tuple[int, int, int] = 3, **window: Any
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv, self.bn, self.levels = SiteConv(ci, co, kernel), nn.BatchNorm(co, eps=EPS), levels
        self.window = {"kernel_size": kernel, **window}
        self.by_batch = False  # statistics of the sites at hand
        self.quantized: Any = None  # (SpikeWeight, scale, shift, whether its float twin runs)
        self.meet: Callable[[Layer, Any, Any], None] | None = None  # told of input and plan, before it is computed

    def quantize(self, twin: bool) -> None:
        """int8 weights from now on."""
        weight = sparse.SpikeWeight.quantize(self.conv.weight)
        scale, shift = (np.asarray(a, dtype=np.float32) for a in self.bn.affine())
        self.quantized = weight, scale, shift, twin

    def _spikes(self, u: Any) -> Any:
        if not _is_torch(u.features):
            return sparse.ilif(u, self.levels)
        from omniconv.torch import sparse as bridge

        return bridge.ilif(u, self.levels)

    def _normalised(self, st: Any, plan: Any, residual: Any) -> Any:
        """By the statistics of these sites; the running ones follow."""
        y = self.conv(st, plan=plan)
        rows = y.features
        mean, var = rows.mean(0), rows.var(0, correction=0)
        for name, found in (("running_mean", mean), ("running_var", var)):
            setattr(self.bn, name, (1 - MOMENTUM) * getattr(self.bn, name) + MOMENTUM * found.detach())
        rows = (rows - mean) * (self.bn.weight / (var + EPS).sqrt()) + self.bn.bias
        return y.replace(rows if residual is None else rows + residual.features)

    def forward(self, st: Any, residual: Any = None, membrane: bool = True, back: Any = None) -> tuple[Any, Any]:
        """(membrane, spikes) of real features or spikes; integers leave the membrane out where it is not asked for.

        back : SparsePlan, optional
            Go back from its outputs to its inputs.
        """
        plan = sparse.plan(st, **self.window) if back is None else sparse.plan(st, mode="inverse", of=back)
        if self.meet is not None:
            self.meet(self, st, plan)
        if self.quantized is not None and isinstance(st, sparse.SpikeTensor):
            weight, scale, shift, twin = self.quantized
            if not twin:
                how = {"scale": scale, "residual": residual, "levels": self.levels, "membrane": membrane}
                found = sparse.spike_conv(st, weight, shift, plan=plan, **how)
                return found if membrane else (None, found)
            values = weight.values.astype(np.float32)
            u = sparse.conv(st, values, shift, scale=weight.scale * scale, residual=residual, plan=plan)
        elif self.by_batch:
            u = self._normalised(st, plan, residual)
        else:
            scale, shift = self.bn.affine()
            u = self.conv(st, scale=scale, shift=shift, residual=residual, plan=plan)
        return u, self._spikes(u)


class Stage(nn.Module):
    """A coarser grid, then blocks: ``x1 = x + f(x)``, ``x1 + f(f(x1))``, f a neuron, a convolution and a norm.

    down : dict, optional
        The window that leads to the coarser grid; None stays on the grid at hand, whose channels are then `co`.
    """

    def __init__(self, ci: int, co: int, blocks: int, levels: int, down: dict[str, Any] | None = HALVED) -> None:
        super().__init__()
        self.down = None if down is None else Layer(ci, co, levels, mode="strided", **down)
        self.blocks = nn.ModuleList(nn.ModuleList(Layer(co, co, levels) for _ in range(3)) for _ in range(blocks))

    def forward(self, u: Any, s: Any) -> tuple[Any, Any]:
        """(membrane, spikes) of those before the stage."""
        if self.down is not None:
            u, s = self.down(s)
        for i in range(len(self.blocks)):
            first, second, third = self.blocks[i]
            u, s = first(s, u)
            _, inner = second(s, membrane=False)
            u, s = third(inner, u)
        return u, s


class _Network(Model):
    """Stem and stages, and what is done to all layers."""

    def __init__(
        self, in_channels: int, stem: int, widths: Sequence[int], blocks: Sequence[int], levels: int,
        downs: Sequence[dict[str, Any] | None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(widths) != len(blocks) or not len(widths):
            raise ValueError(f"widths are {widths} and blocks {blocks}; expected are as many of each")
        self.levels = levels
        self.head: Any = None  # a SiteConv of the last membrane, if there is one
        self.stem = nn.ModuleList(Layer(in_channels if i == 0 else stem, stem, levels) for i in range(3))
        before, downs = [stem, *widths[:-1]], [HALVED] * len(widths) if downs is None else downs
        self.stages = nn.ModuleList(
            Stage(a, b, n, levels, down) for a, b, n, down in zip(before, widths, blocks, downs, strict=True)
        )

    def _layers(self) -> list[tuple[str, Layer]]:
        return [(name, m) for name, m in self.named_modules() if isinstance(m, Layer)]

    def _encoded(self, st: Any) -> list[tuple[Any, Any]]:
        """(membrane, spikes) of the stem and of each stage."""
        s = st
        for i in range(3):
            u, s = self.stem[i](s, membrane=i == 2)
        found = [(u, s)]
        for stage in self.stages:
            found.append(stage(*found[-1]))
        return found

    def _last(self, st: Any) -> Any:
        """The membrane that the head takes."""
        return self._encoded(st)[-1][0]

    def _met(self, visit: Callable[[Layer, Any, Any], None], st: Any) -> Any:
        """The last membrane, every layer having been visited with its input and plan."""
        layers = self._layers()
        for _, layer in layers:
            layer.meet = visit
        try:
            return self._last(st)
        finally:
            for _, layer in layers:
                layer.meet = None

    def train(self, mode: bool = True) -> Any:
        """Normalise by the statistics of the batch, as PyTorch tensors alone can; or by the running ones again."""
        for _, layer in self._layers():
            layer.by_batch = mode
        return self

    def calibrate(self, st: Any, fire: float | None = None) -> Any:
        """Set the running statistics, layer by layer, to those of these sites; NumPy alone.

        fire : float, optional
            Instead shift the means, so that about this part of the counts is not zero if the membranes are normal: it
            makes a network of random weights live, before training or to measure speed.
        """
        from statistics import NormalDist

        shift = 0.0 if fire is None else 0.5 + NormalDist().inv_cdf(fire)

        def settled(layer: Layer, x: Any, plan: Any) -> None:
            rows = layer.conv(x, plan=plan).features.astype(np.float64)
            var = rows.var(0)
            layer.bn.running_mean, layer.bn.running_var = rows.mean(0) - shift * np.sqrt(var + EPS), var

        self._met(settled, st)
        return self

    def quantize(self, *, twin: bool = False) -> Any:
        """Weights of all layers that take spikes as int8, one scale per channel; in place, NumPy alone. Again: anew.

        twin : bool
            Compute with the same weights in float32 instead: whole numbers, so every result has the same bits.
        """
        for name, layer in self._layers():
            if name != "stem.0":  # it takes real features
                layer.quantize(twin)
        return self

    def operations(self, st: Any) -> dict[str, dict[str, float]]:
        """What each layer costs on these sites, and "total": see `omniconv.sparse.operations`. All layers are counted.

        NumPy alone.
        """
        names, found = {id(layer): name for name, layer in self._layers()}, {}

        def counted(layer: Layer, x: Any, plan: Any) -> None:
            found[names[id(layer)]] = sparse.operations(x, plan, layer.conv.weight.shape[0])

        u = self._met(counted, st)
        if self.head is not None:
            found["head"] = sparse.operations(u, sparse.plan(u, 1), self.head.weight.shape[0])
        keys = found["stem.0"]
        return found | {"total": {key: sum(each[key] for each in found.values()) for key in keys}}


@register(VARIANTS, paper="arXiv:2412.07360")
class E3DSNN(_Network):
    """A spiking classifier of point clouds; takes a `SparseTensor` such as `voxelize` makes.

    Parameters
    ----------
    in_channels : int
        Real features of a point.
    stem : int
        Channels of the three layers that turn features into spikes.
    widths, blocks : sequences of int
        Channels and blocks of the stages.
    classes : int
    levels : int
        The largest spike count, D.
    """

    def __init__(
        self, in_channels: int = 6, stem: int = 16, widths: Sequence[int] = (16, 32, 64, 128),
        blocks: Sequence[int] = (1, 1, 1, 1), classes: int = 40, levels: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, stem, widths, blocks, levels)
        self.head = SiteConv(widths[-1], classes, 1, bias=True)

    def _head(self, st: Any) -> Any:
        rows = self.head(st)
        if not _is_torch(rows.features):
            return sparse.global_pool(rows)
        sample = rows.features.new_tensor(rows.coords[:, 0]).long()
        sums = rows.features.new_zeros(st.batch_size, rows.features.shape[1]).index_add(0, sample, rows.features)
        return sums / sample.bincount(minlength=st.batch_size).clamp(min=1)[:, None]

    def forward(self, st: Any) -> Any:
        """Logits [batch, classes]: the mean over the last sites of a linear map of their membranes."""
        return self._head(self._last(st))

    def outputs(self, st: Any) -> dict[str, Any]:
        """Membranes stem, stage0 ... as rows of their sites, coords_stage0 ...; logits, and logits_spike_head, those of
        spikes instead: the paper leaves open which the head takes.
        """
        membranes = self._encoded(st)
        found = {"stem": membranes[0][0].features}
        for i, (u, _) in enumerate(membranes[1:]):
            found |= {f"stage{i}": u.features, f"coords_stage{i}": u.coords}
        u, s = membranes[-1]
        spikes = s.as_floats(str(u.features.dtype)) if isinstance(s, sparse.SpikeTensor) else s
        return found | {"logits": self._head(u), "logits_spike_head": self._head(spikes)}


class Up(nn.Module):
    """Back to the sites before a stage; beside what was there, two layers of one site each."""

    def __init__(self, ci: int, skip: int, co: int, levels: int) -> None:
        super().__init__()
        self.up = Layer(ci, co, levels, 2)
        self.mlp = nn.ModuleList([Layer(co + skip, co, levels, 1), Layer(co, co, levels, 1)])

    def forward(self, spikes: Any, beside: Any) -> tuple[Any, Any]:
        """(membrane, spikes) at the sites of `beside`, the spikes that the stage took."""
        _, s = self.up(spikes, membrane=False, back=sparse.plan(beside, 2, 2, "strided"))
        _, s = self.mlp[0](_joined(s, beside), membrane=False)
        return self.mlp[1](s)


def _joined(a: Any, b: Any) -> Any:
    """Channels of a, then those of b, of the same sites."""
    if isinstance(a, sparse.SpikeTensor):
        return sparse.SpikeTensor.at(a, np.concatenate([a.counts, b.counts], 1), a.levels)
    if not _is_torch(a.features):
        return sparse.cat([a, b])
    import torch

    return a.replace(torch.cat([a.features, b.features], 1))


@register(SEGMENTERS, paper="arXiv:2412.07360")
class E3DSNNSegmenter(_Network):
    """The U-Net of the same stages: a class for each site. Of the paper's decoder its size and outline are known alone.

    Parameters
    ----------
    in_channels : int
        Real features of a point; of SemanticKITTI coordinates and strength.
    stem, widths, blocks, levels
        As in `E3DSNN`.
    decoder : int
        Channels of the way back.
    classes : int
    """

    def __init__(
        self, in_channels: int = 4, stem: int = 64, widths: Sequence[int] = (64, 128, 128, 256),
        blocks: Sequence[int] = (2, 2, 2, 2), decoder: int = 256, classes: int = 19, levels: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, stem, widths, blocks, levels)
        skips = [stem, *widths[:-1]][::-1]
        self.decoder = nn.ModuleList(
            Up(widths[-1] if i == 0 else decoder, skip, decoder, levels) for i, skip in enumerate(skips)
        )
        self.head = SiteConv(decoder, classes, 1, bias=True)

    def _decoded(self, encoded: list[tuple[Any, Any]]) -> Any:
        u, s = encoded[-1]
        for up, (_, beside) in zip(self.decoder, encoded[-2::-1], strict=True):
            u, s = up(s, beside)
        return u

    def _last(self, st: Any) -> Any:
        return self._decoded(self._encoded(st))

    def forward(self, st: Any) -> Any:
        """Logits [N, classes], a row per site of `st`."""
        return self.head(self._last(st)).features

    def outputs(self, st: Any) -> dict[str, Any]:
        """Membranes stem, stage0 ..., decoded, as rows of their sites; logits."""
        encoded = self._encoded(st)
        names = ["stem", *(f"stage{i}" for i in range(len(self.stages)))]
        found = {name: u.features for name, (u, _) in zip(names, encoded, strict=True)}
        u = self._decoded(encoded)
        return found | {"decoded": u.features, "logits": self.head(u).features}


def _seen_from_above(st: Any) -> Any:
    """[batch, C * Z, Y, X] with innermost channels, those of a place the Z values of the first, of the second ...

    Zeros where no site is.
    """
    size, channels = (st.batch_size, *st.spatial_shape), st.features.shape[1]
    shape = (size[0], *size[2:], channels, size[1])
    rows, (b, z, y, x) = st.features, st.coords.T
    dense = rows.new_zeros(shape) if _is_torch(rows) else np.zeros(shape, rows.dtype)
    dense[b, y, x, :, z] = rows
    flat = dense.reshape(*shape[:3], channels * size[1])
    return flat.permute(0, 3, 1, 2) if _is_torch(rows) else np.moveaxis(flat, -1, 1)


@register(DETECTORS, paper="arXiv:2412.07360")
class E3DSNNDetector(_Network):
    """The backbone of the detector: a sweep of voxels to a dense map seen from above, an eighth as wide and long.

    Takes what `sweep_voxels` makes, or any `SparseTensor` with a spatial shape (Z, Y, X). The first stage stays on the
    grid of the voxels; each other one halves it by 3x3x3 taps, the last of them without a border in z; at last 3x1x1
    taps halve z again. Of the paper's network its widths and windows are known; that the first stage does not stride
    follows from its stride of 8, and the border of the last from the dense detectors it is made after. What follows
    the map, a spiking network in 2-D and the heads of Voxel R-CNN, is not here.

    Parameters
    ----------
    in_channels : int
        Real features of a voxel; of KITTI means of coordinates and strength.
    stem, widths, blocks, levels
        As in `E3DSNN`; the first width is the stem's.
    out : int
        Channels of a height of the map.
    """

    def __init__(
        self, in_channels: int = 4, stem: int = 16, widths: Sequence[int] = (16, 32, 64, 64),
        blocks: Sequence[int] = (2, 2, 2, 2), out: int = 128, levels: int = 4,
    ) -> None:  # fmt: skip
        if len(widths) < 2 or widths[0] != stem:
            raise ValueError(f"widths are {widths}; expected are two or more, and the first is the stem's, {stem}")
        pads = [1] * (len(widths) - 2) + [(0, 1, 1)]
        downs = [None, *({"kernel": 3, "stride": 2, "padding": pad} for pad in pads)]
        super().__init__(in_channels, stem, widths, blocks, levels, downs)
        self.out = Layer(widths[-1], out, levels, (3, 1, 1), stride=(2, 1, 1), mode="strided")

    def _encoded(self, st: Any) -> list[tuple[Any, Any]]:
        if st.spatial_shape is None:
            raise ValueError("st has no spatial_shape; the size of the map follows from it")
        found = super()._encoded(st)
        return [*found, self.out(found[-1][1])]

    def forward(self, st: Any) -> Any:
        """Membranes [batch, out * Z', Y', X'], channels innermost in memory; 256 x 200 x 176 of a KITTI sweep.

        Zero, which does not fire, where no site is.
        """
        return _seen_from_above(self._last(st))

    def outputs(self, st: Any) -> dict[str, Any]:
        """Membranes stem, stage0 ..., out as rows of their sites, coords_stem, coords_stage0 ...: what the heads pool
        from; bev, the map.
        """
        encoded = self._encoded(st)
        names = ["stem", *(f"stage{i}" for i in range(len(self.stages))), "out"]
        found = {}
        for name, (u, _) in zip(names, encoded, strict=True):
            found |= {name: u.features, f"coords_{name}": u.coords}
        return found | {"bev": _seen_from_above(encoded[-1][0])}
