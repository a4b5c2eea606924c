"""Causal long convolutions of samples as they come, exact and without delay.

Where y[t] = sum_s k[t - s] u[s], the pairs s < t are cut into squares: after n samples, with U the largest power of two
that divides n, those of the last U samples and the next U outputs. Every pair lies in one square, U samples cost
O(U log U), and U is 2^q once in 2^(q + 1) steps: O(L log^2 L) for L samples (van der Hoeven, "Relax, but don't be too
lazy", 2002; Oncescu et al., "Flash Inference", arXiv:2410.12982).
"""

from __future__ import annotations

from typing import Any

from omniconv.array import Described, describe, export
from omniconv.fft import KernelSpectrum, _as, _length, fft_conv

__all__ = ["FFTConvStream"]


class FFTConvStream:
    """A causal convolution, one kernel per channel, of a stream of samples.

    Parameters
    ----------
    k : array, float32 or float64
        [H, K]; ``k[:, 0]`` multiplies the current sample.
    block : int, a power of two
        Squares of fewer samples are direct sums; larger ones are transforms.
    batch : int
        B, streams side by side.

    Every sample's output comes with it. The work of one step varies: the square that a sample completes has up to as
    many samples as the kernel has taps. Sums have another order than those of `omniconv.fft_conv`: results agree within
    error bounds, not bit by bit. Memory is O(B H K).
    """

    def __init__(self, k: Any, block: int = 32, *, batch: int = 1) -> None:
        import numpy as np

        found = describe(k, "k")
        if len(found.shape) != 2 or found.shape[1] < 1:
            raise ValueError(f"k has shape {found.shape}; expected is [H, K] with at least one tap")
        self._block, self._batch = _length(block, "block"), _length(batch, "batch")
        if block & (block - 1):
            raise ValueError(f"block is {block}; it must be a power of two")
        self._channels, self._taps = found.shape
        self._dtype = found.dtype
        self._period = max(self._block, 1 << (self._taps - 1).bit_length())  # the largest square
        self._k = np.zeros((self._channels, 2 * self._period), self._dtype)
        self._k[:, : self._taps] = np.asarray(export(k, "k"))
        self._squares: dict[int, Any] = {}
        self._chunks: dict[int, KernelSpectrum] = {}
        self.reset()

    position = property(lambda self: self._position, doc="Samples taken so far.")

    def reset(self) -> None:
        """Forget all samples."""
        import numpy as np

        shape = (self._batch, self._channels, self._period)
        self._inputs = np.zeros(shape, self._dtype)  # since the last multiple of the period
        self._pending = np.zeros(shape, self._dtype)  # what finished squares add to the outputs of the same positions
        self._position = 0

    def step(self, sample: Any) -> Any:
        """Output [B, H] of one more sample [B, H]."""
        import numpy as np

        like, x = self._checked(sample, "sample", ())
        at = self._position % self._period
        self._inputs[..., at] = x
        y = self._pending[..., at] + x * self._k[:, 0]
        self._advance(1)
        return _as(like, like, np.ascontiguousarray(y)) if like.kind != "numpy" else y

    def push(self, samples: Any) -> Any:
        """Outputs [B, H, T] of T more samples [B, H, T], T of any size: as T calls of `step`, at the cost of one."""
        import numpy as np

        like, x = self._checked(samples, "samples", (None,))
        y = np.empty(x.shape, self._dtype)
        done, count = 0, x.shape[-1]
        while done < count:
            at = self._position % self._period
            size = self._position & -self._position if at else self._period
            while size > count - done:
                size //= 2
            part = x[..., done : done + size]
            self._inputs[..., at : at + size] = part
            y[..., done : done + size] = self._pending[..., at : at + size] + self._within(part)
            self._advance(size)
            done += size
        return _as(like, like, y)

    def prefill(self, samples: Any) -> Any:
        """`push` after `reset`: outputs of a prompt."""
        self.reset()
        return self.push(samples)

    def state(self) -> dict[str, Any]:
        """All that the stream remembers, as copies: for `load_state` of a stream of the same kernels and block."""
        return {"position": self._position, "inputs": self._inputs.copy(), "pending": self._pending.copy()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; its number of streams becomes that of this one."""
        import numpy as np

        arrays = {}
        for name in ("inputs", "pending"):
            arrays[name] = array = np.array(state[name], self._dtype)
            if array.ndim != 3 or array.shape[1:] != (self._channels, self._period):
                raise ValueError(
                    f"state has {name} of shape {array.shape}; expected is [B, {self._channels}, {self._period}]"
                )
        if len(arrays["inputs"]) != len(arrays["pending"]):
            raise ValueError("state has inputs and pending of different numbers of streams")
        self._inputs, self._pending = arrays["inputs"], arrays["pending"]
        self._batch, self._position = len(self._inputs), int(state["position"])

    def reorder(self, order: Any) -> None:
        """Stream i becomes what stream ``order[i]`` was: for beam search."""
        import numpy as np

        order = np.asarray(order)
        if order.ndim != 1 or order.dtype.kind not in "iu" or ((order < 0) | (order >= self._batch)).any():
            raise ValueError(f"order is {order!r}; expected are numbers of streams, 0 to {self._batch - 1}")
        self._inputs, self._pending, self._batch = self._inputs[order], self._pending[order], len(order)

    def _checked(self, array: Any, name: str, time: tuple) -> tuple[Described, Any]:
        import numpy as np

        like = describe(array, name)
        expected = (self._batch, self._channels)
        if like.shape[:2] != expected or len(like.shape) != 2 + len(time):
            wanted = f"[{self._batch}, {self._channels}{', T' if time else ''}]"
            raise ValueError(f"{name} has shape {like.shape}; expected is {wanted}")
        if like.dtype != self._dtype:
            raise TypeError(f"{name} has dtype {like.dtype} and k has {self._dtype}; they must be the same")
        return like, np.asarray(export(array, name))

    def _within(self, part: Any) -> Any:
        """The causal convolution of these samples alone."""
        size = part.shape[-1]
        if size == 1:
            return part * self._k[:, :1]
        if size not in self._chunks:
            self._chunks[size] = KernelSpectrum(self._k[:, : min(size, self._taps)], length=size)
        return fft_conv(part, self._chunks[size])

    def _advance(self, count: int) -> None:
        """Take the position over samples that are stored, and add the square that they complete."""
        import numpy as np

        self._position += count
        at = self._position % self._period
        size = at & -at if at else self._period
        last = self._inputs[..., at - size : at] if at else self._inputs
        if size < self._block or size == 1:
            if size not in self._squares:
                lag = size + np.arange(size)[:, None] - np.arange(size)[None, :]
                self._squares[size] = np.ascontiguousarray(self._k[:, lag].swapaxes(1, 2))
            # [H, B, j] times [H, j, i]
            square = np.matmul(last.swapaxes(0, 1), self._squares[size]).swapaxes(0, 1)
        else:
            if (
                size not in self._squares
            ):  # output i of the square is output size + i of all: mode "same" of 2 size taps
                self._squares[size] = KernelSpectrum(self._k[:, : 2 * size], length=size, mode="same")
            square = fft_conv(last, self._squares[size], mode="same")
        if at:
            self._pending[..., at : at + size] += square
        else:
            self._pending[...] = square
