"""A batch of no images is a batch."""

from __future__ import annotations

import numpy as np
import pytest

import omniconv


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_empty_batch(dtype: str, layout: str) -> None:
    x = np.zeros((0, 4, 8, 8) if layout == "NCHW" else (0, 8, 8, 4), dtype)
    weight = np.ones((6, 4, 3, 3), dtype)
    y = omniconv.conv2d(x, weight, layout=layout)
    assert y.shape == (0, 6, 6, 6)
    assert omniconv.conv2d_grad_input(y, weight, x.shape, layout=layout).shape == x.shape
    assert not omniconv.conv2d_grad_weight(y, x, weight.shape, layout=layout).any()
    assert not omniconv.conv_grad_bias(y, layout=layout).any()
