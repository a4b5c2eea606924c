"""omniconv inside JAX: functions for ``jax.jit``, ``jax.grad``, ``jax.jvp`` and ``jax.vmap``, of any order.

They compute on the CPU. The names and arguments are those of omniconv itself; activation, scale and residual are left
to XLA, which fuses them with what follows.
"""

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "jax":
        raise
    raise ImportError("omniconv.jax needs JAX, which is not installed: pip install 'omniconv[jax]'") from error

from omniconv.jax import special
from omniconv.jax.conv import (
    conv,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)  # fmt: skip
from omniconv.jax.fft import fft_conv, fft_conv2d

__all__ = [
    "conv", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "fft_conv", "fft_conv2d", "special",
]  # fmt: skip
