"""Generators whose last upsampling differs: Chandrasegaran et al., "A Closer Look at Fourier Spectrum Discrepancies for
CNN-generated Images Detection", arXiv:2103.17195. Names are the repository's, with or without "G." before them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniconv import nn
from omniconv.models.registry import Model, register
from omniconv.nn.functional import activation, stack

SETUPS = ("BASELINE", *(f"{up}.{rest}" for up in "NZB" for rest in ("1.3", "1.5", "1.7", "3.5")))
VARIANTS = {f"fourier_gan_{name.lower().replace('.', '_')}": {"setup_name": name} for name in SETUPS}


def zero_insertion(x: Any) -> Any:
    """[N, C, H, W] to [N, C, 2 H, 2 W] with zeros between the pixels."""
    n, c, h, w = x.shape
    rows = stack([x, x * 0], axis=-1).reshape(n, c, h, 2 * w)
    return stack([rows, rows * 0], axis=3).reshape(n, c, 2 * h, 2 * w)


def upsampled(x: Any, kind: str) -> Any:
    """Twice the resolution: nearest pixels (N), zeros between (Z), bilinear with aligned corners (B)."""
    if kind == "Z":
        return zero_insertion(x)
    size = (2 * x.shape[2], 2 * x.shape[3])
    return nn.resize(x, size, mode="nearest") if kind == "N" else nn.resize(x, size, align_corners=True)


def radial_profile(image: Any) -> dict[str, np.ndarray]:
    """The spectrum of images [N, 3, H, W]: magnitude [N, H, W], and means over rings, profile of it and
    profile_db of its decibels [N, R].

    Rings are one wide, around the centre of the array, which for even sizes is not frequency zero; the first and
    the last are left away, as in the published measurements.
    """
    x = np.asarray(image, dtype=np.float64)
    grey = np.einsum("nchw,c->nhw", x, [0.299, 0.587, 0.114])
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(grey), axes=(1, 2)))
    h, w = grey.shape[1:]
    rings = np.hypot(np.arange(h)[:, None] - (h - 1) / 2, np.arange(w)[None] - (w - 1) / 2).astype(int).ravel()
    counts = np.bincount(rings)

    def means(maps: np.ndarray) -> np.ndarray:
        sums = np.stack([np.bincount(rings, m.ravel()) for m in maps])
        return (sums[:, counts > 0] / counts[counts > 0])[:, 1:-1]

    decibels = means(20 * np.log10(magnitude))
    return {"magnitude": magnitude, "profile": means(magnitude), "profile_db": decibels}


@register(VARIANTS, paper="arXiv:2103.17195")
class Generator(Model):
    """A generator of images from noise.

    Parameters
    ----------
    setup_name : str
        "BASELINE", a transposed convolution at the end; or UP.COUNT.TAPS: nearest (N), zero-inserting (Z) or
        bilinear (B) upsampling, then one or three convolutions of so many taps.
    input_dim, output_channels, dim : int
        Channels of the noise, of the image, and of the map before the last upsampling.
    n_upsamplings : int
        The last one included.
    """

    main = "image"
    renames = ((r"^G\.", ""),)
    ignored = (*Model.ignored, r"^net\.\d+\.w$", r"^D\.")

    def __init__(
        self, setup_name: str = "BASELINE", input_dim: int = 128, output_channels: int = 3, dim: int = 32,
        n_upsamplings: int = 5,
    ) -> None:  # fmt: skip
        super().__init__()
        if setup_name not in SETUPS:
            raise ValueError(f"setup_name is {setup_name!r}; allowed are {', '.join(SETUPS)}")
        self.depth, widths = n_upsamplings, [dim * 2**i for i in range(n_upsamplings - 1, -1, -1)]
        parts: dict[str, nn.Module] = {}
        ci = input_dim
        for i, co in enumerate(widths):
            how = (4, 2, 1) if i else (4, 1, 0)
            norm = nn.BatchNorm(co)
            parts[str(i)] = nn.Sequential(nn.ConvTranspose2d(ci, co, *how, bias=False), norm)
            ci = co
        self.kind, n = setup_name[0] if setup_name != "BASELINE" else "", len(widths)
        if not self.kind:
            parts[str(n)] = nn.ConvTranspose2d(ci, output_channels, 4, 2, 1)
        else:
            count, taps = map(int, setup_name[2:].split("."))
            for j in range(count):
                co = output_channels if j == count - 1 else ci
                parts[str(n + 1 + j)] = nn.Conv2d(ci, co, taps, 1, taps // 2)
        self.net = nn.ModuleDict(parts)

    def outputs(self, z: Any) -> dict[str, Any]:
        """net0, net1, ..., pre_tanh and image of noise [N, input_dim, 1, 1]."""
        x, found = z, {}
        for i in range(self.depth):
            x = found[f"net{i}"] = activation(self.net[str(i)](x), "relu")
        x = upsampled(x, self.kind) if self.kind else x
        for name in list(self.net._modules)[self.depth :]:
            x = self.net[name](x)
        return found | {"pre_tanh": x, "image": activation(x, "tanh")}
