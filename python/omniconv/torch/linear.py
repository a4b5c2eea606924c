"""A piecewise linear network as the linear map that it is around one input.

Navarrete Michelini, Liu, Lu, Jiang, "A Tour of Convolutional Networks Guided by Linear Interpreters", arXiv:1908.05168:
with the choices of its ReLUs and max-pools frozen, a network is ``A x + r``; rows and columns of A, and its singular
vectors, show what it does to that input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Linearized"]


class Linearized:
    """The map ``A x + r`` of a function of tensors at x0: A is its Jacobian there, and ``r = f(x0) - A x0``.

    For networks of convolutions, norms with running statistics, ReLU, leaky ReLU and max-pools, A x is what the network
    makes of x with the masks and switches of x0 and without biases. Products with A and its transpose are each one
    backward pass through f, of any size; A itself is never made.

    Parameters
    ----------
    f : callable
        From a tensor to a tensor: a ``torch.nn.Module`` in evaluation mode, a function of this package's operations.
    x0 : Tensor
        Of the shape of f's argument.
    """

    def __init__(self, f: Callable[[Tensor], Any], x0: Tensor) -> None:
        with torch.enable_grad():
            self.x0 = x0.detach().clone().requires_grad_()
            self._result = f(self.x0)
            self.y0 = self._result.detach()
            # A^T u is linear in u, so its derivative with respect to u, along x, is A x.
            self._u = torch.zeros_like(self._result, requires_grad=True)
            (self._transposed,) = torch.autograd.grad(self._result, self.x0, self._u, create_graph=True)

    def __call__(self, x: Tensor) -> Tensor:
        """``A x + r``."""
        return self.apply(x) + self.bias

    def apply(self, x: Tensor) -> Tensor:
        """``A x``, for x of the shape of x0."""
        self._check(x, self.x0, "x")
        return torch.autograd.grad(self._transposed, self._u, x, retain_graph=True)[0]

    def apply_transposed(self, y: Tensor) -> Tensor:
        """``A^T y``, for y of the shape of f(x0)."""
        self._check(y, self.y0, "y")
        return torch.autograd.grad(self._result, self.x0, y, retain_graph=True)[0]

    @property
    def bias(self) -> Tensor:
        """``r``, what is left of f(x0) without the linear part."""
        return self.y0 - self.apply(self.x0.detach())

    def row(self, index: int) -> Tensor:
        """How output `index`, counted in a flat result, depends on every input: of the shape of x0."""
        return self.apply_transposed(_unit(self.y0, index))

    def column(self, index: int) -> Tensor:
        """What an impulse at input `index`, counted in a flat x0, becomes: of the shape of f(x0)."""
        return self.apply(_unit(self.x0, index))

    def svd(
        self, count: int = 1, *, steps: int | None = None, tolerance: float = 1e-10
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The largest singular values, and their vectors: (u [count, *f(x0)], values [count], v [count, *x0]).

        Lanczos bidiagonalisation, every vector kept orthogonal to all before: a product with A and one with its
        transpose per step. The sign of a pair is such that the entry of v with the largest magnitude is positive.

        Parameters
        ----------
        steps : int, optional
            At most; default is the smaller size of A, with which the result is exact but for rounding.
        tolerance : float
            It stops once the residual of every wanted pair is below this times the largest value.
        """
        rows, columns = self.y0.numel(), self.x0.numel()
        most = min(rows, columns)
        if not 1 <= count <= most:
            raise ValueError(f"count is {count}; allowed are 1 to {most}, the smaller size of the map")
        steps = most if steps is None else max(count, min(steps, most))

        def forth(x: Tensor) -> Tensor:
            return self.apply(x.view_as(self.x0)).flatten()

        def back(y: Tensor) -> Tensor:
            return self.apply_transposed(y.view_as(self.y0)).flatten()

        if rows >= columns:
            u, values, v = _lanczos(forth, back, self.x0, count, steps, tolerance)
        else:  # from the smaller side: its vectors run out after as many steps
            v, values, u = _lanczos(back, forth, self.y0, count, steps, tolerance)
        largest = v.gather(1, v.abs().argmax(1, keepdim=True))
        signs = torch.where(largest < 0, -torch.ones_like(largest), torch.ones_like(largest))
        return (signs * u).view(count, *self.y0.shape), values, (signs * v).view(count, *self.x0.shape)

    @staticmethod
    def _check(value: Tensor, like: Tensor, name: str) -> None:
        if value.shape != like.shape or value.dtype != like.dtype:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} and dtype {value.dtype}; expected are {tuple(like.shape)} and "
                f"{like.dtype}"
            )


def _unit(like: Tensor, index: int) -> Tensor:
    found = torch.zeros_like(like)
    found.view(-1)[index] = 1
    return found.detach()


def _lanczos(
    forth: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], like: Tensor, count: int, steps: int,
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(left vectors, values, right vectors) of a map whose arguments have as many numbers as `like`."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(like.numel(), generator=generator, dtype=like.dtype).to(like.device)
    lefts: list[Tensor] = []
    rights = [v / v.norm()]
    diagonal: list[Tensor] = []
    beyond: list[Tensor] = []
    for step in range(1, steps + 1):
        u, alpha = _orthogonal(forth(rights[-1]), lefts)
        lefts.append(u)
        diagonal.append(alpha)
        v, beta = _orthogonal(back(u), rights)
        band = torch.diag(torch.stack(diagonal))
        band = band + torch.diag(torch.stack(beyond), 1) if beyond else band
        small_u, values, small_v = torch.linalg.svd(band)
        done = beta * small_u[-1, :count].abs() <= tolerance * values[0]
        if step == steps or (step >= count and bool(done.all())):
            break
        beyond.append(beta)
        rights.append(v)
    return small_u[:, :count].T @ torch.stack(lefts), values[:count], small_v[:count] @ torch.stack(rights)


def _orthogonal(v: Tensor, others: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(unit vector, length) of what is left of v without the others, subtracted twice: once is not exact enough."""
    if others:
        basis = torch.stack(others)
        for _ in range(2):
            v = v - (basis @ v) @ basis
    length = v.norm()
    return v / length.clamp_min(1e-300 if v.dtype == torch.float64 else 1e-30), length
