"""The concentration whose mean resultant length is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv.vmf import terms
from omniconv.vmf.checks import as_array, give_back

__all__ = ["kappa_from_r"]

_EPS = np.finfo(np.float64).eps
_FAR, _TERMS = 20, 16  # the first term left out is 16! / 80^16 at most, for p = 2
_STEPS = 12  # p = 2 needs 4, large p 2; the rest is room for the safeguard


def kappa_from_r(p: Any, r: Any = None, *, rc: Any = None) -> Any:
    """Concentration kappa >= 0 with A_p(kappa) = r, the maximum-likelihood estimate for mean resultant length r.

    Newton's method from the estimate of Banerjee et al. (JMLR 6, 2005, eq. 4.4), on A_p(kappa) = r below r = 1/2 and on
    1 - A_p(kappa) = 1 - r above, held inside r (p - 2) / (1 - r^2) <= kappa <= r p / (1 - r^2).

    Parameters
    ----------
    p : number or array
        Dimensions of the space, at least 2; broadcasts with `r`.
    r : number or array
        Mean resultant length, in [0, 1]. 0 gives 0, 1 gives inf.
    rc : number or array
        1 - r, instead of r. Concentrated data need it: 1 - r is what their kappa depends on.

    Returns
    -------
    number or array, float64
        Of the kind of `r` (or `rc`). It depends on r as strongly as the inverse function does, no more.

    Raises
    ------
    TypeError
        Unless exactly one of r and rc is given.
    ValueError
        If p < 2, or r is not in [0, 1], or the shapes do not broadcast; NaN counts as outside.
    """
    if (r is None) == (rc is None):
        raise TypeError("exactly one of r and rc must be given")
    name = "r" if rc is None else "rc"
    given, kind = as_array(r if rc is None else rc, name)
    dims, _ = as_array(p, "p")
    if not np.all((dims >= 2) & np.isfinite(dims)):
        raise ValueError(f"p is {dims[~((dims >= 2) & np.isfinite(dims))].flat[0]}; it must be finite and at least 2")
    inside = (given >= 0) & (given <= 1)
    if not inside.all():
        raise ValueError(f"{name} is {given[~inside].flat[0]}; it must be in [0, 1]")
    try:
        dims, given = np.broadcast_arrays(dims.astype(np.float64), given.astype(np.float64))
    except ValueError as error:
        raise ValueError(f"p has shape {dims.shape} and {name} has {given.shape}; they do not broadcast") from error
    # Above 1/2 the difference is exact. Below, it is the one that is not used to solve.
    both = (given, 1 - given) if rc is None else (1 - given, given)
    return give_back(kind, solve(dims.ravel(), both[0].ravel(), both[1].ravel()).reshape(given.shape))


def solve(p: np.ndarray, r: np.ndarray, rc: np.ndarray) -> np.ndarray:
    """Solve with r or with rc = 1 - r, whichever is smaller; [n] each, float64 inside their ranges."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        q = rc * (1 + r)
        kappa = r * (p - r * r) / q
        low, high = r * (p - 2) / q * (1 - 4 * _EPS), r * p / q * (1 + 4 * _EPS)
    kappa = np.where(rc == 0, np.inf, np.where(r == 0, 0.0, kappa))
    todo = np.flatnonzero((kappa > 0) & np.isfinite(kappa) & np.isfinite(high))
    for _ in range(_STEPS):
        if not todo.size:
            break
        k, d = kappa[todo], p[todo]
        above = r[todo] > 0.5
        excess = np.where(above, rc[todo] - terms.resultantc(d, k), terms.resultant(d, k) - r[todo])
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            new = k - excess / terms.resultant_dk(d, k)
        new = np.where(np.isfinite(new), new, k)  # the derivative underflows where kappa is near the largest number
        new = np.clip(new, low[todo], high[todo])
        kappa[todo] = new
        todo = todo[np.abs(new - k) > 2 * _EPS * k]
    far = np.flatnonzero((kappa > _FAR * p) & np.isfinite(kappa))
    kappa[far] = _far_out(p[far], kappa[far], rc[far])
    return kappa


def _far_out(p: np.ndarray, kappa: np.ndarray, rc: np.ndarray) -> np.ndarray:
    """The same kappa [n] to its last digit, where kappa > 20 p: the rounding of 1 - A alone would cost up to 5 ulp.

    Hankel's series 1 - A = sum of a_n / kappa^n inverts as kappa = (sum of a_n / kappa^(n-1)) / rc, whose right side
    hardly depends on kappa. The a_n follow from the Riccati equation A' = 1 - A^2 - (p - 1) A / kappa; here they are
    divided by p^n, which keeps them small.
    """
    a = [(p - 1) / p / 2]
    for n in range(1, _TERMS):
        products = sum(a[i] * a[n - 1 - i] for i in range(n))
        a.append(((n - (p - 1)) / p * a[-1] + products) / 2)
    total, z = 0.0, p / kappa
    for coefficient in reversed(a):
        total = total * z + coefficient
    with np.errstate(over="ignore"):
        return total * p / rc
