"""The format in fractions and the convolutions in float64: below 2^53 its sums are exact integers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def quantize(x: np.ndarray, bits: int, rounding: str = "nearest_even") -> tuple[np.ndarray, int]:
    """Mantissas and the one exponent of finite float32, by exact fractions."""
    values = [Fraction(float(v)) for v in x.ravel()]
    most = max(map(abs, values), default=Fraction(0))
    if most == 0:
        return np.zeros(x.shape, np.int16), 0
    exponent = math.frexp(float(most))[1] - bits
    while True:
        unit = Fraction(2) ** exponent
        rounded = [math.trunc(v / unit) if rounding == "toward_zero" else round(v / unit) for v in values]
        if max(map(abs, rounded)) < 2**bits:
            return np.array(rounded, np.int16).reshape(x.shape), exponent
        exponent += 1


def windows(x: np.ndarray, kernel: tuple, stride: tuple, dilation: tuple, padding: tuple) -> np.ndarray:
    """[N, C, *out, *kernel] of x [N, C, *spatial], float64, zeros outside."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((p, p) for p in padding)])
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    n = len(kernel)
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, 2 + n)))
    places = tuple(slice(None, None, s) for s in stride)
    return view[(slice(None), slice(None), *places, *(slice(None, None, d) for d in dilation))]


class Conv:
    """y, dx and dw of one 2-D convolution, as int64."""

    def __init__(self, x_shape, w_shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1) -> None:
        self.x_shape, self.w_shape = tuple(x_shape), tuple(w_shape)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.how = (w_shape[2:], stride, dilation, padding)
        self.groups = groups
        self.y_shape = (x_shape[0], w_shape[0], *windows(np.zeros(x_shape), *self.how).shape[2:4])

    def _grouped(self, array: np.ndarray, axis: int) -> np.ndarray:
        shape = array.shape
        return array.reshape(*shape[:axis], self.groups, shape[axis] // self.groups, *shape[axis + 1 :])

    @staticmethod
    def _sum(subscripts: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        assert a.size + b.size < 2**22  # no sum of products below 2^30 reaches 2^53
        return np.einsum(subscripts, a, b, optimize=True).astype(np.int64)

    def y(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Sums of products of windows."""
        columns = self._grouped(windows(x, *self.how), 1)
        weights = self._grouped(w.astype(np.float64), 0)
        return self._sum("ngcoxkl,gdckl->ngdox", columns, weights).reshape(self.y_shape)

    def dw(self, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Sums over images and pixels."""
        columns, grad = self._grouped(windows(x, *self.how), 1), self._grouped(dy.astype(np.float64), 1)
        return self._sum("ngcoxkl,ngdox->gdckl", columns, grad).reshape(self.w_shape)

    def dx(self, dy: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Every gradient goes to the elements of its window."""
        (kernel, stride, dilation, padding), n = self.how, self.x_shape
        grown = np.zeros((n[0], n[1], n[2] + 2 * padding[0], n[3] + 2 * padding[1]), np.int64)
        grad, weights = self._grouped(dy.astype(np.float64), 1), self._grouped(w.astype(np.float64), 0)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                part = self._sum("ngdox,gdc->ngcox", grad, weights[..., i, j]).reshape(n[0], n[1], *dy.shape[2:])
                rows = slice(i * dilation[0], i * dilation[0] + (dy.shape[2] - 1) * stride[0] + 1, stride[0])
                columns = slice(j * dilation[1], j * dilation[1] + (dy.shape[3] - 1) * stride[1] + 1, stride[1])
                grown[:, :, rows, columns] += part
        return grown[:, :, padding[0] : padding[0] + n[2], padding[1] : padding[1] + n[3]]


def rounded(sums: np.ndarray, exponent: int) -> np.ndarray:
    """The float32 nearest to sums * 2**exponent, by exact fractions."""

    def nearest(value: int) -> np.float32:
        exact = Fraction(value) * Fraction(2) ** exponent
        guess = np.float32(float(exact))  # may have been rounded twice: its neighbours are asked as well
        around = (np.nextafter(guess, np.float32(s)) for s in (-np.inf, np.inf))
        even = lambda f: int(f.view(np.int32)) & 1  # noqa: E731
        return min((guess, *around), key=lambda f: (abs(Fraction(float(f)) - exact), even(f)))

    return np.array([nearest(int(v)) for v in sums.ravel()], np.float32).reshape(sums.shape)
