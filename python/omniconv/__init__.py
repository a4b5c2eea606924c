"""Every convolution research uses, in one small library."""

import os as _os

from omniconv import dfp16, sparse, special, tuning
from omniconv._core import __version__, array_device, available_isas, isa, set_isa, set_num_threads
from omniconv._core import num_threads as get_num_threads
from omniconv.conv import *  # noqa: F403
from omniconv.conv import __all__ as _conv_all
from omniconv.fft import *  # noqa: F403
from omniconv.fft import __all__ as _fft_all
from omniconv.fft2d import *  # noqa: F403
from omniconv.fft2d import __all__ as _fft2d_all
from omniconv.fft_stream import FFTConvStream
from omniconv.long_kernels import *  # noqa: F403
from omniconv.long_kernels import __all__ as _kernels_all
from omniconv.mlp import *  # noqa: F403
from omniconv.mlp import __all__ as _mlp_all

__all__ = [
    "FFTConvStream", "__version__", "array_device", "available_isas", "dfp16", "get_num_threads", "isa", "set_isa",
    "set_num_threads", "sparse", "special", "tuning", *_conv_all, *_fft2d_all, *_fft_all, *_kernels_all,
    *_mlp_all,
]  # fmt: skip

if _os.environ.get("OMNICONV_TUNING"):
    tuning.load()
