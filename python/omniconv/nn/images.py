"""Pixels as networks want them."""

from __future__ import annotations

import numpy as np

from omniconv.array import said

__all__ = ["from_pixels"]

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # of ImageNet, which published classifiers expect
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def from_pixels(pixels: np.ndarray, *, standardise: bool = True) -> np.ndarray:
    """uint8 pixels [..., H, W] or [..., H, W, C] as float32 [..., C, H, W] from 0 to 1, C being 1, 3 or 4.

    Parameters
    ----------
    pixels : uint8 array
        An image, or a batch of one size.
    standardise : bool
        Whether three channels lose ImageNet's means and are divided by its deviations.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"pixels have dtype {pixels.dtype}; expected is uint8")
    if pixels.ndim < 2:
        raise ValueError(f"pixels have shape {said(pixels.shape)}; expected is [..., H, W] or [..., H, W, C]")
    pixels = pixels if pixels.ndim > 2 and pixels.shape[-1] in (1, 3, 4) else pixels[..., None]
    x = pixels.astype(np.float32) / np.float32(255)
    x = (x - MEAN) / DEVIATION if standardise and x.shape[-1] == 3 else x
    return np.ascontiguousarray(np.moveaxis(x, -1, -3))
