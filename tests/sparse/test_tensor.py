"""Sparse tensors: making them, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from omniconv import sparse
from tests.sparse.oracle import sites

X = np.arange(8, dtype=np.float32).reshape(4, 2)
COORDS = np.array([[0, 1, 2], [0, 0, 3], [1, 1, 2], [0, 2, 2]], np.int32)


def test_dense_and_back():
    tensor = sparse.SparseTensor(COORDS, X + 1, (4, 5))
    dense = tensor.dense()
    assert dense.shape == (2, 2, 4, 5) and dense[1, :, 1, 2].tolist() == [5, 6] and np.count_nonzero(dense) == 8
    again = sparse.from_dense(dense)
    assert np.array_equal(again.dense(), dense) and again.coords.tolist() == sorted(COORDS.tolist())
    kept = sparse.from_dense(dense, mask=np.ones((2, 4, 5), bool))
    assert len(kept) == 40 and np.array_equal(kept.dense(), dense)


@pytest.mark.parametrize(
    ("how", "row"),
    [("first", [0, 1]), ("last", [6, 7]), ("sum", [10, 13]), ("mean", [10 / 3, 13 / 3]), ("max", [6, 7])],
)
def test_duplicates(how, row):
    coords = np.array([[0, 9], [0, 1], [0, 9], [0, 9]])
    tensor = sparse.SparseTensor(coords, X, on_duplicate=how)
    assert tensor.coords.tolist() == [[0, 1], [0, 9]]
    assert np.allclose(tensor.features, [[2, 3], row])


def test_out_of_range():
    kept = sparse.SparseTensor(COORDS, X, (4, 3), 1, on_out_of_range="drop")
    assert kept.coords.tolist() == [[0, 1, 2], [0, 2, 2]] and kept.features.tolist() == X[[0, 3]].tolist()
    with pytest.raises(ValueError, match=r"coords row 1 is \[0, 0, 3\]"):
        sparse.SparseTensor(COORDS, X, (4, 3))


def test_voxels():
    rng = np.random.default_rng(0)
    points, features = rng.uniform(-2, 2, (500, 3)), rng.standard_normal((500, 4))
    batch = rng.integers(0, 2, 500)
    voxels, inverse = sparse.from_points(points, features, [0.5, 1, 0.25], batch=batch, return_inverse=True)
    want = np.concatenate([batch[:, None], np.floor(points / [0.5, 1, 0.25])], 1)
    assert np.array_equal(voxels.coords[inverse], want)
    for voxel in range(len(voxels)):
        assert np.allclose(voxels.features[voxel], features[inverse == voxel].mean(0))
    inside, inverse = sparse.from_points(points, features, 1.0, spatial_shape=(2, 2, 2), return_inverse=True)
    assert np.array_equal(inverse < 0, (points < 0).any(1)) and len(inside) == 8


@pytest.mark.parametrize("bits", [31, 32])
def test_width_of_keys(bits):
    """Two columns of 32 bits fit 64 with a batch of one, and nothing wider. Maps may be wider by what a window adds."""
    far = 2 ** (bits - 1) - 1
    coords = np.array([[0, -far, -far], [0, far, far], [0, far, -far], [0, far - 1, far]])
    w = np.ones((1, 1, 3, 3), np.float32)
    tensor = sparse.SparseTensor(coords, np.ones((4, 1), np.float32))
    assert sparse.conv(tensor, w).features.ravel().tolist() == [1, 2, 1, 2]
    if bits == 31:
        return
    strided = sparse.conv(tensor, w, mode="strided", stride=2, padding=1)  # an odd place meets 2 windows, an even one 1
    assert strided.features.sum() == 4 + 4 + 4 + 2 and strided.features.max() == 2
    with pytest.raises(NotImplementedError, match="coords span 65 bits"):
        sparse.SparseTensor(coords + [[1], [0], [0], [0]] * np.int64([1, 0, 0]), np.ones((4, 1), np.float32))
    two = sparse.SparseTensor(np.array([[0] * 5, [1] + [2**14] * 4]), np.ones((2, 1), np.float32))
    with pytest.raises(NotImplementedError, match="coords span 129 bits, with what the window adds; at most 126"):
        sparse.plan(two, kernel_size=3, dilation=2**30 - 1, mode="subm")


def tensor(**how):
    return sparse.SparseTensor(COORDS, X, **how)


W = np.ones((3, 2, 3, 3), np.float32)
BAD = {
    "coords .* more than once": lambda: sparse.SparseTensor(COORDS[[0, 0]], X[:2]),
    r"coords has shape \(4,\)": lambda: sparse.SparseTensor(COORDS[:, 0], X),
    r"coords has shape \(4, 6\)": lambda: sparse.SparseTensor(np.zeros((4, 6), int), X),
    "coords holds .* no int32": lambda: sparse.SparseTensor(COORDS.astype(np.int64) + 2**40, X),
    "coords name the batch -1": lambda: sparse.SparseTensor(COORDS - 1, X),
    r"features have shape \(3, 2\)": lambda: sparse.SparseTensor(COORDS, X[:3]),
    "spatial_shape is": lambda: tensor(spatial_shape=(3,)),
    "batch_size is 0": lambda: tensor(batch_size=0),
    "on_duplicate is 'no'": lambda: tensor(on_duplicate="no"),
    "on_out_of_range is": lambda: tensor(on_out_of_range="clip"),
    "mode is 'full'": lambda: sparse.plan(tensor(), mode="full"),
    "kernel_size is 0": lambda: sparse.plan(tensor(), 0),
    "stride is 2; a submanifold": lambda: sparse.plan(tensor(), stride=2),
    r"dilation is \[1\]": lambda: sparse.plan(tensor(), dilation=[1]),
    "mode 'inverse' needs": lambda: sparse.plan(tensor(), mode="inverse"),
    "smaller than the kernel": lambda: sparse.plan(tensor(spatial_shape=(3, 4)), 5, mode="strided"),
    "weight has shape": lambda: sparse.conv(tensor(), W[0]),
    "weight_layout is": lambda: sparse.conv(tensor(), W, weight_layout="hwio"),
    "weight has a kernel": lambda: sparse.conv(tensor(), W, plan=sparse.plan(tensor(), 5)),
    "plan is for other sites": lambda: sparse.conv(
        tensor(), W, plan=sparse.plan(sparse.SparseTensor(COORDS[:2], X[:2]))
    ),
    "groups is 2": lambda: sparse.conv(tensor(), W, groups=2),
    "features has shape": lambda: sparse.conv(tensor(), np.ones((3, 5, 3, 3), np.float32)),
    r"bias has shape \(2,\)": lambda: sparse.conv(tensor(), W, np.ones(2, np.float32)),
    "residual has shape": lambda: sparse.conv(tensor(), W, residual=np.ones((4, 2), np.float32)),
    "out has shape": lambda: sparse.conv(tensor(), W, out=np.ones((4, 2), np.float32)),
    "activation is": lambda: sparse.conv(tensor(), W, activation="step"),
    "negative in places": lambda: sparse.SparseTensor(COORDS - [[0, 5, 0]], X).dense(),
    "voxel_size is 0": lambda: sparse.from_points(X, X, 0),
    "points hold values": lambda: sparse.from_points(X * np.nan, X, 1.0),
    "reduce is": lambda: sparse.from_points(X, X, 1.0, reduce="median"),
    "mask has shape": lambda: sparse.from_dense(np.ones((1, 2, 3), np.float32), mask=np.ones((1, 2))),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("coords", lambda: sparse.SparseTensor(COORDS * 1.0, X)),
        ("features", lambda: sparse.SparseTensor(COORDS, X.astype(np.int32))),
        ("weight", lambda: sparse.conv(tensor(), W.astype(np.float64))),
        ("plan", lambda: sparse.conv(tensor(), W, plan=3)),
    ],
)
def test_bad_types(argument, call):
    with pytest.raises(TypeError, match=argument):
        call()


def test_sites_of_any_order_are_sorted():
    coords = sites(np.random.default_rng(1), (50, 60, 70), 3000, 3) - np.int32([0, 20, 30, 40])
    order = sparse.SparseTensor(coords, np.zeros((3000, 1), np.float32)).sites.order()
    assert coords[order].tolist() == sorted(coords.tolist())


def test_limits_of_keys_and_int32():
    low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    ones = np.ones((2, 1), np.float32)
    corners = sparse.SparseTensor([[0, low, low], [0, high, high]], ones)  # 64 bits, and the ends do not meet
    assert sparse.conv(corners, np.ones((1, 1, 3, 3), np.float32)).features.tolist() == [[1], [1]]
    with pytest.raises(NotImplementedError, match="65 bits"):
        sparse.SparseTensor([[0, low, low], [1, high, high]], ones)
    last = sparse.SparseTensor([[0, high]], ones[:1])
    with pytest.raises(NotImplementedError, match="int32"):
        sparse.plan(last, 3, mode="strided", padding=1)


def test_nothing_at_all():
    none = sparse.SparseTensor(np.zeros((0, 3), np.int32), np.zeros((0, 2), np.float32), (6, 4), 2)
    w = np.ones((5, 2, 3, 3), np.float32)
    assert sparse.conv(none, w).features.shape == (0, 5)
    assert sparse.conv(none, w, mode="strided", stride=2, padding=1).dense().shape == (2, 5, 3, 2)
    assert not sparse.conv_grad_weight(np.zeros((0, 5), np.float32), none.features, w.shape, sparse.plan(none)).any()
    assert sparse.spmm(sparse.Graph([0], np.zeros(0, int), columns=3), np.ones((3, 2), np.float32)).shape == (0, 2)
    with pytest.raises(ValueError, match="channels"):
        sparse.conv(sparse.SparseTensor([[0, 5]], np.ones((1, 0), np.float32)), np.ones((1, 0, 3), np.float32))
