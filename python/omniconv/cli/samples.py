"""Files as samples for a model, and its results as files: images, sounds and arrays."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer

from omniconv.nn.images import from_pixels

__all__ = ["Sample", "read", "save"]


class Sample(NamedTuple):
    """What a file holds."""

    path: Path
    array: np.ndarray
    kind: str  #: "image", "sound" or "array"
    rate: int = 0  #: of a sound, in Hz


def read(path: Path, *, size: int | None, channels: int, standardise: bool) -> Sample:
    """The sample in a file.

    A sound is [channels, L] from -1 to 1; an array is as it is; an image is [C, H, W], of which a `size` takes the
    middle square, that many pixels wide.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return Sample(path, _array(path), "array")
    if suffix == ".wav":
        return Sample(path, *_sound(path))
    return Sample(path, _image(path, size, channels, standardise), "image")


def save(y: np.ndarray, source: Sample, folder: Path) -> str:
    """Write one result into a folder, of the kind of its source if its shape allows it, else as an array; the path."""
    folder.mkdir(parents=True, exist_ok=True)
    if source.kind == "image" and y.ndim == 3 and y.shape[0] in (1, 3):
        from PIL import Image

        pixels = np.clip(y.transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
        path = folder / f"{source.path.stem}.png"
        Image.fromarray(pixels[..., 0] if y.shape[0] == 1 else pixels).save(path)
    elif source.kind == "sound" and y.ndim == 2 and y.dtype.kind == "f" and y.shape[0] <= 16:
        path = folder / f"{source.path.stem}.wav"
        _write_sound(path, y, source.rate)
    else:
        path = folder / f"{source.path.stem}.npy"
        np.save(path, np.ascontiguousarray(y))
    return str(path)


def _array(path: Path) -> np.ndarray:
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read as an array: {error}") from None
    return x.astype(np.float32) if x.dtype.kind == "f" else x


def _image(path: Path, size: int | None, channels: int, standardise: bool) -> np.ndarray:
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(f"images need {missing.name}: pip install 'omniconv[models]'") from None
    try:
        with Image.open(path) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise typer.BadParameter(f"{path} cannot be read as an image: {error}") from None
    if size:
        factor = size / min(image.size)
        wide, high = (max(size, round(n * factor)) for n in image.size)
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = (wide - size) // 2, (high - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return from_pixels(np.asarray(image), standardise=standardise)


def _sound(path: Path) -> tuple[np.ndarray, str, int]:
    """([channels, L] float32 from -1 to 1, kind, rate) of integer PCM with 8, 16, 24 or 32 bits."""
    try:
        with wave.open(str(path), "rb") as file:
            count, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise typer.BadParameter(f"{path} cannot be read as a sound of integer PCM: {error}") from None
    raw = raw[: len(raw) // (count * width) * count * width]
    if width == 1:  # the one width without a sign
        samples = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    else:
        words = np.zeros((len(raw) // width, 4), np.uint8)  # little endian, so the sample becomes the high bytes
        words[:, 4 - width :] = np.frombuffer(raw, np.uint8).reshape(-1, width)
        samples = (words.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return np.ascontiguousarray(samples.reshape(-1, count).T), "sound", rate


def _write_sound(path: Path, y: np.ndarray, rate: int) -> None:
    """Write [channels, L] as 16-bit PCM; what exceeds -1 to 1 is clipped."""
    words = np.clip(np.rint(y.T.astype(np.float64) * 32768), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(y.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(words.tobytes())
