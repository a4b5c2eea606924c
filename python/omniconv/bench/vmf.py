"""Fits of von Mises-Fisher distributions to many rows in large dimensions, block by block.

    python -m omniconv.bench.vmf --dims 2048 8192 32768 --rows 50000

Rows are sampled in blocks of float32 and go into `VmfStatistics`, so memory is that of a block; the time of sampling is
told apart. SciPy, where installed, fits the first block.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from typing import NamedTuple

import numpy as np

from omniconv.vmf import VmfFit, VmfStatistics, VonMisesFisher

__all__ = ["Result", "main", "measure", "scipy_kappa"]


class Result(NamedTuple):
    """One dimension."""

    p: int
    rows: int
    kappa: float  #: of the distribution that was sampled
    fit: VmfFit
    sampling_seconds: float
    statistics_seconds: float
    statistics_cpu_seconds: float  #: of all threads; less than the time by the clock where others use the machine
    fit_seconds: float
    peak_bytes: int  #: resident memory of the process at its highest so far, libraries included
    data_bytes: int  #: what all rows together would take
    scipy: float | None  #: kappa by SciPy from the first block


def scipy_kappa(x: np.ndarray) -> float | None:
    """Concentration by scipy.stats.vonmises_fisher.fit; None without SciPy."""
    try:
        from scipy import stats
    except ImportError:
        return None
    with np.errstate(all="ignore"):
        return float(stats.vonmises_fisher.fit(x.astype(np.float64) / np.linalg.norm(x, axis=1)[:, None])[1])


def measure(p: int, rows: int, kappa: float, *, block_rows: int = 512, seed: int = 0, peer: bool = True) -> Result:
    """Sample `rows` rows of dimension p block by block, and fit them."""
    rng = np.random.default_rng(seed)
    mu = rng.standard_normal(p)
    distribution = VonMisesFisher(mu / np.linalg.norm(mu), kappa)
    whole, sampling, summing, cpu, theirs = None, 0.0, 0.0, 0.0, None
    for start in range(0, rows, block_rows):
        begun = time.perf_counter()
        x = distribution.sample(min(block_rows, rows - start), rng, dtype=np.float32)
        sampled, used = time.perf_counter(), time.process_time()
        part = VmfStatistics.from_data(x)
        whole = part if whole is None else whole + part
        sampling += sampled - begun
        summing += time.perf_counter() - sampled
        cpu += time.process_time() - used
        if start == 0 and peer:
            theirs = scipy_kappa(x)
    begun = time.perf_counter()
    fit = VonMisesFisher.fit(whole)
    fitting = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Result(p, rows, kappa, fit, sampling, summing, cpu, fitting, peak, rows * p * 4, theirs)


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m omniconv.bench.vmf", description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="+", default=[2048, 8192, 32768])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--relative", type=float, default=1.0, help="kappa / p of the distribution that is sampled")
    parser.add_argument("--block-rows", type=int, default=512)
    options = parser.parse_args(arguments)
    names = "p rows kappa kappa^ error/se sample_s sums_s sums_CPU_s fit_ms peak_MB data_MB SciPy(block)".split()
    print("".join(f"{name:>13}" for name in names))
    for p in options.dims:
        r = measure(p, options.rows, options.relative * p, block_rows=options.block_rows)
        values = [r.p, r.rows, r.kappa, r.fit.kappa, (r.fit.kappa - r.kappa) / r.fit.se, r.sampling_seconds]
        values += [r.statistics_seconds, r.statistics_cpu_seconds, r.fit_seconds * 1e3, r.peak_bytes / 1e6]
        values += [r.data_bytes / 1e6, float("nan") if r.scipy is None else r.scipy]
        print("".join(f"{value:13d}" if isinstance(value, int) else f"{value:13.6g}" for value in values), flush=True)


if __name__ == "__main__":
    main()
