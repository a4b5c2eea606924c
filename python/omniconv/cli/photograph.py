"""The photograph of ``omniconv demo``, and the contact sheet that it becomes. Needs Pillow.

The photograph is ``grace_hopper.jpg``: Commodore Grace Hopper, taken for the US Navy, in the public domain, and part of
every matplotlib wheel. It is read from there, so that this package carries no picture and needs no network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

__all__ = ["check_target", "contact_sheet", "find_default", "load", "to_grey"]

_MARGIN, _CAPTION = 8, 26
_PAPER, _INK = (250, 249, 246), (32, 32, 36)


def find_default() -> Path:
    """Where matplotlib keeps the photograph. FileNotFoundError tells what to install or to give instead."""
    try:
        from matplotlib.cbook import get_sample_data
    except ModuleNotFoundError:
        raise FileNotFoundError(
            "the example photograph is part of matplotlib, which is not installed: pip install 'omniconv[plot]', "
            "or name an image"
        ) from None
    path = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
    if not path.is_file():  # some distributions package the sample data apart
        raise FileNotFoundError(f"this matplotlib comes without its sample image {path}; name an image")
    return path


def load(path: Path, longest: int) -> np.ndarray:
    """Pixels of an image file as float32 [1, h, w, 3] in 0 to 1, made smaller until no side exceeds `longest`.

    ValueError when the file is no image that Pillow reads.
    """
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from None
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32)[None] / np.float32(255)


def check_target(path: Path) -> None:
    """ValueError unless a picture can be written there: better now than after the work."""
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path} cannot be written: no known picture format has the ending {path.suffix!r}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path} cannot be written: its folder does not exist")


def to_grey(response: np.ndarray) -> np.ndarray:
    """A filter response [h, w] of any sign as grey RGB: 0 is mid-grey, the largest half percent is cut off."""
    scale = max(float(np.quantile(np.abs(response), 0.995)), 1e-12)
    return np.repeat((0.5 + 0.5 * response / scale)[..., None], 3, axis=-1)


def contact_sheet(tiles: list[tuple[str, np.ndarray]], title: str, columns: int = 4) -> Image.Image:
    """Pictures of one size, [h, w, 3] in 0 to 1, in a grid with a caption under each and a title on top."""
    height, width = tiles[0][1].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + _MARGIN) + _MARGIN, rows * (height + _CAPTION + _MARGIN) + _CAPTION + 2 * _MARGIN),
        _PAPER,
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    draw.text((_MARGIN, _MARGIN), title, _INK, ImageFont.load_default(18))
    for i, (caption, picture) in enumerate(tiles):
        left = _MARGIN + i % columns * (width + _MARGIN)
        top = _CAPTION + 2 * _MARGIN + i // columns * (height + _CAPTION + _MARGIN)
        pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
        sheet.paste(Image.fromarray(pixels), (left, top))
        draw.text((left, top + height + 3), caption, _INK, font)
    return sheet
