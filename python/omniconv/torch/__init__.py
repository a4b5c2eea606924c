"""omniconv inside PyTorch: functions with the arguments of ``torch.nn.functional``, and modules.

The operations are registered with ``torch.library``, so autograd (of any order), ``torch.compile``, autocast and
data-parallel training see them as they see PyTorch's own.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("omniconv.torch needs PyTorch, which is not installed: pip install 'omniconv[torch]'") from error

from omniconv.torch import dfp16, sparse, special
from omniconv.torch.fft import FlashDepthWiseConv1d, FlashFFTConv, fft_conv, fft_conv2d
from omniconv.torch.masked import masked_conv2d
from omniconv.torch.nn import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    replace,
)  # fmt: skip
from omniconv.torch.ops import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "FlashDepthWiseConv1d",
    "FlashFFTConv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "dfp16",
    "fft_conv",
    "fft_conv2d",
    "masked_conv2d",
    "replace",
    "sparse",
    "special",
]  # fmt: skip
