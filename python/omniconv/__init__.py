"""Every convolution research uses, in one small library."""

from omniconv import special
from omniconv._core import __version__, array_device, available_isas, isa, set_isa, set_num_threads
from omniconv._core import num_threads as get_num_threads
from omniconv.conv import *  # noqa: F403
from omniconv.conv import __all__ as _conv_all
from omniconv.fft import *  # noqa: F403
from omniconv.fft import __all__ as _fft_all

__all__ = [
    "__version__", "array_device", "available_isas", "get_num_threads", "isa", "set_isa", "set_num_threads", "special",
    *_conv_all, *_fft_all,
]  # fmt: skip
