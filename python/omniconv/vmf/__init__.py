"""The von Mises-Fisher distribution: density, divergences, sampling, fits in any dimension, mixtures."""

from omniconv.vmf.concentration import kappa_from_r
from omniconv.vmf.distribution import VonMisesFisher
from omniconv.vmf.mixture import VmfMixture
from omniconv.vmf.statistics import VmfFit, VmfStatistics

__all__ = ["VmfFit", "VmfMixture", "VmfStatistics", "VonMisesFisher", "kappa_from_r"]
