"""A recording convolved with the response of a room: long convolution as audio engineers use it.

    python examples/room_response.py [SECONDS] [OUT.wav]

Both are synthesised: the dry recording is a melody of plucked strings (Karplus and Strong, 1983), the room is decaying
noise, darker as it fades, with a few early echoes, different for the two ears. The same is done once more in blocks of
10 ms, as they would come from a sound card, and checked. Needs omniconv alone. Writes 16 bit stereo at 48 kHz.
"""

from __future__ import annotations

import sys
import time
import wave

import numpy as np

import omniconv

RATE = 48_000


def string(frequency: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A plucked string: noise that goes around a loop and loses its edges."""
    period = round(RATE / frequency)
    rounds = int(seconds * RATE / period) + 1
    turns = [rng.uniform(-1, 1, period)]
    for _ in range(rounds):
        turns.append(0.996 * 0.5 * (turns[-1] + np.roll(turns[-1], 1)))
    return np.concatenate(turns)[: int(seconds * RATE)]


def melody(seconds: float) -> np.ndarray:
    """Notes of a pentatonic scale, float32 in [-1, 1]."""
    rng = np.random.default_rng(7)
    dry = np.zeros(int(seconds * RATE) + 2 * RATE)
    scale = 220 * 2 ** (np.array([0, 3, 5, 7, 10, 12]) / 12)
    for start in np.arange(0, seconds - 0.1, 0.35):
        note = string(rng.choice(scale), 1.5, rng)
        at = int(start * RATE)
        dry[at : at + note.size] += note
    dry = dry[: int(seconds * RATE)]
    return (dry / np.abs(dry).max()).astype(np.float32)


def room(decay: float = 1.8) -> np.ndarray:
    """Responses [2, K] of the two ears: -60 dB after `decay` seconds."""
    rng = np.random.default_rng(1)
    t = np.arange(int(decay * RATE)) / RATE
    noise = rng.standard_normal((2, t.size)) * 10 ** (-3 * t / decay)
    dark = omniconv.smooth(noise, 15)
    mix = t / decay
    response = 0.03 * ((1 - mix) * noise + 3 * mix * dark)
    response[:, : RATE // 50] = 0
    for ear in range(2):
        for delay, gain in ((0, 1.0), (0.011 + 0.002 * ear, 0.5), (0.019, -0.4), (0.027 - 0.003 * ear, 0.3)):
            response[ear, int(delay * RATE)] += gain
    return response.astype(np.float32)


def write(path: str, sound: np.ndarray) -> None:
    """[2, T] as a wav file."""
    scaled = np.round(sound.T / np.abs(sound).max() * 32000).astype("<i2")
    with wave.open(path, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(scaled.tobytes())


def main(seconds: float, path: str) -> None:
    """Synthesise, convolve at once and in blocks, compare, write."""
    dry, response = melody(seconds), room()
    start = time.perf_counter()
    wet = omniconv.fft_conv(np.broadcast_to(dry, (1, 2, dry.size)), response, mode="full")[0]
    spent = time.perf_counter() - start
    print(f"{dry.size} samples, a response of {response.shape[1]} taps, two ears: {spent * 1e3:.1f} ms, "
          f"{seconds / spent:.0f} times as fast as it plays")  # fmt: skip
    stream, block = omniconv.FFTConvStream(response, block=64), RATE // 100
    longest, parts = 0.0, []
    for at in range(0, dry.size, block):
        part = np.broadcast_to(dry[at : at + block], (1, 2, min(block, dry.size - at)))
        start = time.perf_counter()
        parts.append(stream.push(part)[0])
        longest = max(longest, time.perf_counter() - start)
    live = np.concatenate(parts, axis=1)
    error = np.linalg.norm(live - wet[:, : dry.size]) / np.linalg.norm(wet)
    print(f"in blocks of 10 ms: the longest took {longest * 1e3:.1f} ms, difference {error:.1e}")
    write(path, wet)
    print(f"written to {path}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0, sys.argv[2] if len(sys.argv) > 2 else "room.wav")
