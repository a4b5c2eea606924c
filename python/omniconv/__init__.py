"""Every convolution research uses, in one small library."""

from omniconv._core import __version__

__all__ = ["__version__"]
