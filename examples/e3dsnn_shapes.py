"""E-3DSNN on generated shapes: trained in PyTorch on omniconv's kernels, then run in int8.

    python examples/e3dsnn_shapes.py [--steps 40]

Spheres, boxes, cylinders and cones, turned and scaled at random, 600 points of each with their normals. A small network
of the text of E-3DSNN-T learns to tell them apart; then its weights become int8. Printed are the accuracy of both on
shapes not seen, operations, and energy by the usual convention. About a minute of one core. Needs PyTorch.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

from omniconv import models, sparse
from omniconv.models.e3dsnn import voxelize

SHAPES = ("sphere", "box", "cylinder", "cone")
GRID = 0.08


def surface(kind: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points and unit normals [count, 3] of a shape of about unit size."""
    turn, height = rng.uniform(0, 2 * np.pi, count), rng.uniform(-1, 1, count)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    if kind == "sphere":
        points = np.concatenate([ring * np.sqrt(1 - height**2)[:, None], height[:, None]], 1)
        return points, points
    if kind == "box":
        points, axis = rng.uniform(-1, 1, (count, 3)), rng.integers(0, 3, count)
        side = rng.choice([-1.0, 1.0], count)
        points[np.arange(count), axis] = side
        normals = np.zeros((count, 3))
        normals[np.arange(count), axis] = side
        return points, normals
    cap = rng.random(count) < 0.3
    inside = np.sqrt(rng.random(count))[:, None]
    if kind == "cylinder":
        points = np.concatenate([ring, height[:, None]], 1)
        normals = np.concatenate([ring, np.zeros((count, 1))], 1)
        end = np.sign(height)
    else:
        points = np.concatenate([ring * (1 - height[:, None]) / 2, height[:, None]], 1)
        normals = np.concatenate([ring * 2, np.ones((count, 1))], 1) / np.sqrt(5)
        end = -np.ones(count)
    points[cap] = np.concatenate([ring * inside, end[:, None]], 1)[cap]
    normals[cap] = (end[:, None] * np.array([0, 0, 1.0]))[cap]
    return points, normals


def clouds(count: int, rng: np.random.Generator) -> tuple[sparse.SparseTensor, np.ndarray]:
    """Voxels of `count` shapes in one batch, features coordinates and normals; and what each is."""
    labels = rng.integers(0, len(SHAPES), count)
    rows, features = [], []
    for label in labels:
        points, normals = surface(SHAPES[label], 600, rng)
        rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        points = (points * rng.uniform(0.7, 1.0, 3)) @ rotation + rng.normal(0, 0.01, points.shape)
        points /= np.linalg.norm(points, axis=1).max()
        rows.append(points)
        features.append(np.concatenate([points, normals @ rotation], 1))
    batch = np.repeat(np.arange(count), 600)
    return voxelize(np.concatenate(rows), np.concatenate(features).astype(np.float32), GRID, batch), labels


def main() -> None:
    """Train, quantise, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    steps = parser.parse_args().steps
    rng = np.random.default_rng(0)
    small = {"stem": 8, "widths": (8, 16, 32), "blocks": (1, 1, 1), "classes": len(SHAPES)}
    model = models.create("e3dsnn_t", **small)
    model.calibrate(clouds(16, rng)[0], fire=0.3).to("torch").train()
    weights = [t.requires_grad_() for name, t in model.state_dict().items() if "running" not in name]
    optimiser, start = torch.optim.Adam(weights, 5e-3), time.perf_counter()
    for step in range(steps):
        st, labels = clouds(16, rng)
        logits = model(st.replace(torch.from_numpy(st.features)))
        loss = F.cross_entropy(logits, torch.from_numpy(labels), label_smoothing=0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 10 == 0 or step + 1 == steps:
            hits, seconds = (logits.argmax(1).numpy() == labels).mean(), time.perf_counter() - start
            print(f"step {step:3d}  loss {loss.item():.3f}  accuracy {hits:.2f}  {seconds:.0f} s")
    with torch.no_grad():
        model.train(False).to("numpy")
    model.calibrate(clouds(64, rng)[0])  # the running statistics of so few steps lag behind
    st, labels = clouds(200, np.random.default_rng(1))
    print(f"float32: {(model(st).argmax(1) == labels).mean():.3f} of 200 shapes not seen")
    total = model.operations(st)["total"]
    print(f"int8:    {(model.quantize()(st).argmax(1) == labels).mean():.3f}")
    print(
        f"{total['macs'] / 200 / 1e6:.2f} M multiply-adds a shape, {total['synaptic_operations'] / 200 / 1e6:.2f} M "
        f"additions by spikes: {total['picojoules_dense'] / 200 / 1e6:.2f} and {total['picojoules'] / 200 / 1e6:.2f} uJ"
    )


if __name__ == "__main__":
    main()
