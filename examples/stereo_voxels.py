"""A real point cloud: the surface of a motorcycle from a pair of photographs, its normals and edges by one convolution.

    python examples/stereo_voxels.py [VOXEL_MM] [OUT.png]

The stereo pair and its disparities are those of the Middlebury benchmark of 2014, as scikit-image carries them
(pip install scikit-image). Pixels become points, points voxels. A sparse convolution of 1 with fixed weights, the
monomials 1, x, .., zz of a 7 x 7 x 7 window, gives the moments of every voxel's surroundings: the axes of their
covariance are the normal and, by the part of the smallest in all, how far the surface is from flat (Pauly, Gross and
Kobbelt, 2002). The picture shows colours, normals and edges from a side that no camera saw.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from omniconv import sparse

FOCAL, CENTRE, SHIFT, BASELINE = 994.978, (311.193, 254.877), 31.086, 0.193001  # pixels, and metres
RADIUS = 3


def cloud() -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] in metres, right, down and away from the camera, and their colours [N, 3] in [0, 1]."""
    from skimage.data import stereo_motorcycle

    left, _, disparity = stereo_motorcycle()
    row, column = np.nonzero(np.isfinite(disparity) & (disparity > 0))
    z = FOCAL * BASELINE / (disparity[row, column].astype(np.float64) + SHIFT)
    points = np.stack([(column - CENTRE[0]) * z / FOCAL, (row - CENTRE[1]) * z / FOCAL, z], 1)
    return points, left[row, column, :3].astype(np.float32) / 255


def monomials() -> np.ndarray:
    """Weights [10, 1, k, k, k] of the moments 1, x, y, z, xx, xy, xz, yy, yz, zz about the centre of the window."""
    side = np.arange(-RADIUS, RADIUS + 1)
    axes = np.meshgrid(side, side, side, indexing="ij")
    pairs = [axes[i] * axes[j] for i in range(3) for j in range(i, 3)]
    return np.stack([np.ones_like(axes[0]), *axes, *pairs])[:, None].astype(np.float32)


def surface(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals [N, 3], towards the camera, and the part [N] of the smallest variance: 0 on a plane, 1/3 at most."""
    moments = moments.astype(np.float64) / moments[:, :1]
    mean, covariance = moments[:, 1:4], np.empty((len(moments), 3, 3))
    for at, (i, j) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))):
        covariance[:, i, j] = covariance[:, j, i] = moments[:, 4 + at] - mean[:, i] * mean[:, j]
    variances, directions = np.linalg.eigh(covariance)
    normals = directions[:, :, 0]
    normals *= np.where(normals[:, 2:] > 0, -1.0, 1.0)
    return normals, variances[:, 0] / np.maximum(variances.sum(1), 1e-12)


def rendered(voxels: np.ndarray, colours: np.ndarray, height: int = 420) -> np.ndarray:
    """uint8 [height, width, 3]: the voxels from 25 degrees to the left, the nearest of a pixel in front."""
    angle = np.deg2rad(25)
    turned = voxels @ np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]).T
    low, high = np.percentile(turned, [0.5, 99.5], axis=0)
    scale = height / (high[1] - low[1])
    at = np.floor((turned[:, :2] - low[:2]) * scale).astype(int)
    width = int((high[0] - low[0]) * scale)
    picture = np.full((height, width, 3), 255, np.uint8)
    dot = max(1, int(np.ceil(scale)))
    for i in np.argsort(-turned[:, 2]):
        x, y = at[i]
        picture[max(y, 0) : max(y + dot, 0), max(x, 0) : max(x + dot, 0)] = colours[i]
    return picture


def main(voxel_mm: float, path: str) -> None:
    """Voxelise, convolve, look."""
    from PIL import Image

    points, colours = cloud()
    start = time.perf_counter()
    st = sparse.from_points(points, colours, voxel_mm / 1000)
    voxelised = time.perf_counter()
    ones = st.replace(np.ones((len(st), 1), np.float32))
    plan = sparse.plan(ones, 2 * RADIUS + 1)
    planned = time.perf_counter()
    moments = sparse.conv(ones, monomials(), plan=plan).features
    done = time.perf_counter()
    normals, edge = surface(moments)
    found = plan.stats()
    print(f"{len(points)} points, {len(st)} voxels of {voxel_mm:g} mm in {1e3 * (voxelised - start):.0f} ms; "
          f"{found['pairs']} pairs under {found['taps']} taps in {1e3 * (planned - voxelised):.0f} ms; "
          f"ten moments in {1e3 * (done - planned):.0f} ms")  # fmt: skip
    print(f"{(edge < 0.02).mean():.0%} of the surface is flat within {RADIUS} voxels")
    looks = (st.features, 0.5 + 0.5 * normals, np.repeat(1 - np.minimum(edge / 0.15, 1)[:, None], 3, 1))
    coords = st.coords[:, 1:].astype(np.float64)
    pictures = [rendered(coords, np.round(255 * np.asarray(c)).astype(np.uint8)) for c in looks]
    Image.fromarray(np.concatenate(pictures, 1)).save(path)
    print(f"Colours, normals, edges: {path}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 8.0, sys.argv[2] if len(sys.argv) > 2 else "stereo_voxels.png")
