"""Post-training quantisation to 8 bits, and the search for its configuration.

`Affine` and `calibrate` are the number formats, `conv2d` the convolution in them, `SPACE` and `tune` the search of
Quantune, `search` that of FLIQS; `omniconv.torch.quant` applies what they find to a PyTorch model.
"""

from omniconv.quant.fliqs import Search, bit_operations, bits_of, search
from omniconv.quant.int8 import SCHEMES, Affine, Int8Conv2d, calibrate, conv2d, fit, kl_threshold
from omniconv.quant.quantune import METHODS, SPACE, Trial, configurations, tune

__all__ = [
    "METHODS", "SCHEMES", "SPACE", "Affine", "Int8Conv2d", "Search", "Trial", "bit_operations", "bits_of", "calibrate",
    "configurations", "conv2d", "fit", "kl_threshold", "search", "tune",
]  # fmt: skip
