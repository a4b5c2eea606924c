"""Interpolation: SciPy's on the dense grid; what lies outside; bad input."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv import sparse
from tests.sparse.oracle import error, sites


@pytest.mark.parametrize("dims", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_is_that_of_the_dense_grid(dims, mode):
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(dims)
    grid = ((50,), (9, 8), (7, 6, 5), (4, 5, 4, 3))[dims - 1]
    st = sparse.SparseTensor(sites(rng, grid, int(np.prod(grid)), 2), rng.standard_normal((2 * np.prod(grid), 3))
                             .astype(np.float32)[: np.prod(grid)], grid, 2)  # fmt: skip
    dense, size, origin = st.dense(), 0.25 * (1 + np.arange(dims)), rng.standard_normal(dims)
    places = rng.uniform(-1, np.array(grid) + 1, (200, dims))
    batch = rng.integers(0, 2, 200)
    found = sparse.interpolate(st, origin + places * size, size, origin=origin, batch=batch, mode=mode)
    at = places - 0.5 if mode == "linear" else np.floor(places)
    want = np.zeros((200, 3))
    for b, c in np.ndindex(2, 3):
        values = np.pad(dense[b, c].astype(np.float64), 2)
        here = batch == b
        want[here, c] = map_coordinates(values, at[here].T + 2, order=1)
    assert error(found, want) < 1e-6


def test_weights_of_what_is_there():
    st = sparse.SparseTensor([[0, -1, 0], [0, 0, 0]], np.array([[2], [4]], np.float32))
    points = np.array([[0.0, 0.5], [0.25, 1.0], [-0.75, 0.5], [9.0, 9.0]])
    assert np.allclose(sparse.interpolate(st, points)[:, 0], [3, 0.5 * (0.75 * 4 + 0.25 * 2), 0.75 * 2 + 0.25 * 0, 0])
    assert np.allclose(sparse.interpolate(st, points, normalize=True)[:, 0], [3, 3.5, 2, 0])
    assert sparse.interpolate(st, points, mode="nearest")[:, 0].tolist() == [4, 0, 2, 0]
    assert sparse.interpolate(st, points[:0]).shape == (0, 1)
    empty = sparse.SparseTensor(np.zeros((0, 3), np.int32), np.zeros((0, 1), np.float32))
    assert sparse.interpolate(empty, points).tolist() == [[0]] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": np.zeros((2, 3))}, "points"),
        ({"points": np.full((2, 2), np.nan)}, "points"),
        ({"voxel_size": 0.0}, "voxel_size"),
        ({"voxel_size": 1e-12, "points": np.ones((2, 2))}, "voxel_size"),
        ({"batch": [0]}, "batch"),
        ({"mode": "cubic"}, "mode"),
    ],
)
def test_errors_name_the_argument(change, words):
    st = sparse.SparseTensor([[0, 0, 0]], np.ones((1, 1), np.float32))
    with pytest.raises(ValueError, match=words):
        sparse.interpolate(**({"st": st, "points": np.zeros((2, 2))} | change))
