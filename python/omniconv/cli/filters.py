"""The bank of filters of ``omniconv demo``: colour in, one grey or colour picture out of each."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Filter", "bank", "weights"]

SIZE = 11
# How bright the eye finds red, green and blue (Rec. 601).
_LUMA = np.array([0.299, 0.587, 0.114])


class Filter(NamedTuple):
    """One filter: [1 or 3, 3, SIZE, SIZE]; three outputs make a colour picture."""

    name: str
    weight: np.ndarray


def _centred(small: list[list[float]]) -> np.ndarray:
    """A small kernel in the middle of the window all filters share."""
    kernel = np.array(small, float)
    border = (SIZE - kernel.shape[0]) // 2
    return np.pad(kernel, border)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    offset = np.arange(SIZE) - SIZE // 2
    return np.meshgrid(offset, offset, indexing="ij")


def _gaussian(sigma: float) -> np.ndarray:
    y, x = _grid()
    bell = np.exp(-(x * x + y * y) / (2 * sigma * sigma))
    return bell / bell.sum()


def _laplacian_of_gaussian(sigma: float) -> np.ndarray:
    y, x = _grid()
    kernel = ((x * x + y * y) / (2 * sigma * sigma) - 1) * np.exp(-(x * x + y * y) / (2 * sigma * sigma))
    return kernel - kernel.mean()  # a flat wall answers with zero


def _gabor(degrees: float, wavelength: float = 5.0, sigma: float = 2.4) -> np.ndarray:
    """A wave inside a bell; answers to stripes and edges across `degrees`."""
    y, x = _grid()
    along = x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))
    kernel = np.exp(-(x * x + y * y) / (2 * sigma * sigma)) * np.cos(2 * math.pi * along / wavelength)
    return kernel - kernel.mean()


def _grey(name: str, kernel: np.ndarray, mix: np.ndarray = _LUMA) -> Filter:
    return Filter(name, (mix[:, None, None] * kernel)[None])


def _colour(name: str, kernel: np.ndarray) -> Filter:
    return Filter(name, np.eye(3)[:, :, None, None] * kernel)


def bank() -> list[Filter]:
    """The filters, in the order of the contact sheet."""
    identity = _centred([[1.0]])
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)
    return [
        _colour("Gaussian blur, sigma 2.5", _gaussian(2.5)),
        _colour("sharpen (unsharp mask)", identity + 1.5 * (identity - _gaussian(1.5))),
        _grey("emboss", _centred([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]])),
        _grey("Sobel x", _centred(sobel.tolist())),
        _grey("Sobel y", _centred(sobel.T.tolist())),
        _grey("Laplacian of Gaussian", _laplacian_of_gaussian(1.4)),
        _grey("red against green", _gaussian(1.5), np.array([1.0, -1.0, 0.0])),
        *(_grey(f"Gabor, {degrees} degrees", _gabor(degrees)) for degrees in (0, 45, 90, 135)),
    ]


def weights(filters: list[Filter]) -> np.ndarray:
    """All filters as the weight of one convolution, float32 [Co, 3, SIZE, SIZE]."""
    return np.concatenate([f.weight for f in filters]).astype(np.float32)
