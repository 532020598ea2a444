"""Waveforms as pictures of time and pitch: short-time Fourier transform, mel bands, logarithms."""

from __future__ import annotations

import math
import sys
import wave
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chainrule.errors import ArgumentError, DataError, DtypeError, ShapeError
from chainrule.ops.origin import here

Scale = Literal["slaney", "htk"]

#: refuse larger WAV files: an hour of stereo at 44,100 Hz takes 635 MB
MAX_WAV_BYTES = 1 << 30
#: bounds of Slaney's scale: below, 200 hertz are 3 mel; above, a factor of 6.4 is 27 mel
_BREAK_HERTZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27.0


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Read an uncompressed WAV file of 8, 16, 24 or 32 bits.

    Args:
        path: The file.

    Returns:
        The waveform, float32 (channels, samples) in [−1, 1), and the samples a second.

    Raises:
        DataError: The file is missing, damaged, compressed, too large, or claims more than it has.
    """
    path = Path(path)
    try:
        n_bytes = path.stat().st_size
        with wave.open(str(path), "rb") as file:
            width, n_channels, n = file.getsampwidth(), file.getnchannels(), file.getnframes()
            rate = file.getframerate()
            # what the header claims is compared before anything is allocated
            if not 1 <= width <= 4 or n * width * n_channels > min(n_bytes, MAX_WAV_BYTES):
                raise wave.Error(f"{n:,} samples of {8 * width} bits in {n_bytes:,} bytes")
            content = file.readframes(n)
    except Exception as error:  # damaged headers make the module wave raise RuntimeError too
        raise DataError(
            f"{path} can not be read",
            expected="an intact WAV file of whole numbers, 8 to 32 bits",
            got=str(error) or "a damaged header",
            where=str(here()),
        ) from None
    if sys.byteorder == "big":  # wave gives the machine's order
        content = np.frombuffer(content, f">i{width}").astype(f"<i{width}").tobytes()
    usable = len(content) - len(content) % (width * n_channels)
    raw = np.frombuffer(content[:usable], np.uint8).reshape(-1, width)
    if width == 1:  # alone without a sign
        values = (raw[:, 0].astype(np.float32) - 128) / 128
    else:
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 4 - width :] = raw  # the highest bytes of 32 bits
        values = (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return np.ascontiguousarray(values.reshape(-1, n_channels).T), rate


def hann(length: int) -> np.ndarray:
    """Hann's window ½ − ½ cos(2πk / length), k = 0 .. length − 1, float64: periodic, for spectra.

    >>> hann(4).round(6).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def stft(
    waveform: Any,
    *,
    fft_length: int = 512,
    hop_length: int | None = None,
    window: np.ndarray | None = None,
    centered: bool = True,
) -> np.ndarray:
    """Short-time Fourier transform: X[f, t] = Σₖ w[k] x[t·hop + k] e^(−2πi f k / fft_length).

    Args:
        waveform: Floating, (..., samples).
        fft_length: Samples of a frame, ≥ 2.
        hop_length: Samples from one frame to the next, ≥ 1; None: a quarter of a frame.
        window: Weights of a frame's samples, at most ``fft_length``; a shorter window lies in the
            middle of the frame. None: Hann's.
        centered: Frame t lies around sample t·hop; the waveform is mirrored at its ends. False:
            it begins there, and no frame reaches over the end.

    Shape: (..., samples) → complex (..., fft_length // 2 + 1, frames); with ``centered`` there are
    samples // hop + 1 frames.

    Raises:
        ArgumentError: A length is out of range.
        DtypeError: The waveform is not floating.
        ShapeError: The waveform is shorter than a frame, or the window longer.

    >>> tone = np.sin(2 * np.pi * 100 * np.arange(800) / 800).astype(np.float32)
    >>> spectrum = np.abs(stft(tone, fft_length=80))
    >>> spectrum.shape, int(spectrum[:, 20].argmax())  # 100 of 800 hertz: band 80 · 100 / 800
    ((41, 41), 10)
    """
    x = _waveform(waveform)
    hop = fft_length // 4 if hop_length is None else hop_length
    if fft_length < 2 or hop < 1:
        raise ArgumentError(
            "stft: a length is out of range",
            expected="fft_length ≥ 2 and hop_length ≥ 1",
            got=f"fft_length {fft_length}, hop_length {hop}",
            where=str(here()),
        )
    weights = _window(window, fft_length)
    half = fft_length // 2
    needed = half + 1 if centered else fft_length
    if x.shape[-1] < needed:
        raise ShapeError(
            "stft: the waveform is shorter than a frame",
            expected=f"at least {needed} samples for frames of {fft_length}",
            got=str(x.shape[-1]),
            fix="a smaller fft_length, or zeros at the end",
            where=str(here()),
        )
    if centered:
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(x, fft_length, axis=-1)[..., ::hop, :]
    spectrum = np.fft.rfft(frames * weights.astype(x.dtype))
    return np.ascontiguousarray(np.swapaxes(spectrum, -1, -2))


def spectrogram(
    waveform: Any,
    *,
    fft_length: int = 512,
    hop_length: int | None = None,
    window: np.ndarray | None = None,
    centered: bool = True,
    power: float = 2.0,
) -> np.ndarray:
    """How strong each frequency is at each time: |X|ᵖ of the short-time Fourier transform.

    Args:
        waveform: Floating, (..., samples).
        fft_length: As for ``stft``.
        hop_length: As for ``stft``.
        window: As for ``stft``.
        centered: As for ``stft``.
        power: 2: energy; 1: amplitude; > 0.

    Shape: (..., samples) → floating (..., fft_length // 2 + 1, frames).
    """
    if not power > 0:
        raise ArgumentError("spectrogram: power is out of range", expected="> 0", got=str(power))
    found = stft(
        waveform,
        fft_length=fft_length,
        hop_length=hop_length,
        window=window,
        centered=centered,
    )
    energy = found.real**2 + found.imag**2
    return energy if power == 2.0 else energy ** (power / 2)


def hertz_to_mel(hertz: Any, scale: Scale = "slaney") -> np.ndarray:
    """Pitch as it is heard: equal steps in mel sound equally far.

    Args:
        hertz: Frequencies, ≥ 0.
        scale: ``"slaney"``: linear up to 1000 hertz, logarithmic above (Slaney 1998, "Auditory
            toolbox"); ``"htk"``: 2595 log₁₀(1 + f / 700) (O'Shaughnessy 1987).

    >>> hertz_to_mel([200, 1000, 6400]).tolist(), round(float(hertz_to_mel(1000, "htk")))
    ([3.0, 15.0, 42.0], 1000)
    """
    f = np.asarray(hertz, np.float64)
    if _checked(scale) == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + f / 700.0))
    above = _BREAK_MEL + np.log(np.maximum(f, _BREAK_HERTZ) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(f < _BREAK_HERTZ, f * (_BREAK_MEL / _BREAK_HERTZ), above)


def mel_to_hertz(mel: Any, scale: Scale = "slaney") -> np.ndarray:
    """The inverse of ``hertz_to_mel``.

    Args:
        mel: Pitches, ≥ 0.
        scale: As there.
    """
    m = np.asarray(mel, np.float64)
    if _checked(scale) == "htk":
        return np.asarray(700.0 * (10.0 ** (m / 2595.0) - 1.0))
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * np.maximum(m - _BREAK_MEL, 0.0))
    return np.where(m < _BREAK_MEL, m * (_BREAK_HERTZ / _BREAK_MEL), above)


def mel_filters(
    n_mels: int,
    *,
    fft_length: int,
    sample_rate: float,
    low: float = 0.0,
    high: float | None = None,
    scale: Scale = "slaney",
    normalize: bool = True,
) -> np.ndarray:
    """Bands of pitch: triangles over frequency whose peaks are evenly spaced in mel.

    Each reaches from its left neighbour's peak to the right one's.

    Args:
        n_mels: Triangles, ≥ 1.
        fft_length: As for ``stft``.
        sample_rate: Samples a second.
        low: Where the first one begins, in hertz.
        high: Where the last one ends, in hertz; None: half the sample rate.
        scale: As for ``hertz_to_mel``.
        normalize: Give each the area 1 in hertz (Slaney), so that white noise is even; False: the
            height 1.

    Shape: float32 (n_mels, fft_length // 2 + 1).

    Raises:
        ArgumentError: A number is out of range, or triangles are so narrow that one lies between
            two frequencies of the transform and would always be 0.
    """
    end = sample_rate / 2 if high is None else high
    if n_mels < 1 or fft_length < 2 or not 0 <= low < end <= sample_rate / 2:
        raise ArgumentError(
            "mel_filters: a number is out of range",
            expected="n_mels ≥ 1, fft_length ≥ 2, 0 ≤ low < high ≤ sample_rate / 2",
            got=f"{n_mels}, {fft_length}, low {low:g}, high {end:g} at {sample_rate:g}",
            where=str(here()),
        )
    edges = np.linspace(hertz_to_mel(low, scale), hertz_to_mel(end, scale), n_mels + 2)
    left, peak, right = (mel_to_hertz(edges, scale)[k : k + n_mels, None] for k in range(3))
    f = np.arange(fft_length // 2 + 1) * (sample_rate / fft_length)
    filters = np.maximum(0.0, np.minimum((f - left) / (peak - left), (right - f) / (right - peak)))
    empty = ~filters.any(axis=1)
    if empty.any():
        raise ArgumentError(
            f"mel_filters: triangle {int(empty.argmax())} lies between two frequencies",
            expected=f"triangles wider than {sample_rate / fft_length:g} hertz",
            got=f"{int(empty.sum())} of {n_mels} that are always 0",
            fix="fewer n_mels, or a larger fft_length",
            where=str(here()),
        )
    if normalize:
        filters *= 2.0 / (right - left)
    return filters.astype(np.float32)


def log_mel(
    waveform: Any,
    sample_rate: float,
    *,
    n_mels: int = 64,
    fft_length: int = 512,
    hop_length: int | None = None,
    low: float = 0.0,
    high: float | None = None,
    scale: Scale = "slaney",
    floor: float = 1e-10,
) -> np.ndarray:
    """What networks listen to: the natural logarithm of the energy in mel bands over time.

    Args:
        waveform: Floating, (..., samples).
        sample_rate: Samples a second.
        n_mels: Bands, ≥ 1.
        fft_length: As for ``stft``.
        hop_length: As for ``stft``.
        low: Lowest frequency, in hertz.
        high: Highest frequency, in hertz; None: half the sample rate.
        scale: As for ``hertz_to_mel``.
        floor: Energies below it count as it, > 0: silence has no logarithm.

    Shape: (..., samples) → floating (..., n_mels, frames).

    >>> log_mel(np.zeros((3, 16_000), np.float32), 16_000).shape
    (3, 64, 126)
    """
    if not floor > 0:
        raise ArgumentError("log_mel: floor is out of range", expected="> 0", got=str(floor))
    energy = spectrogram(waveform, fft_length=fft_length, hop_length=hop_length)
    filters = mel_filters(
        n_mels, fft_length=fft_length, sample_rate=sample_rate, low=low, high=high, scale=scale
    )
    bands = np.matmul(filters.astype(energy.dtype), energy)
    return np.log(np.maximum(bands, floor))


def _waveform(given: Any) -> np.ndarray:
    x = np.asarray(given)
    if x.dtype.kind != "f":
        raise DtypeError(
            "a waveform must be floating",
            expected="float32 or float64, usually in [−1, 1]",
            got=str(x.dtype),
            fix="divide whole numbers by their largest: x / 32768 for 16 bits",
            where=str(here()),
        )
    if not x.ndim:
        raise ShapeError("a waveform has samples", expected="(..., samples)", got="()")
    return x


def _window(given: np.ndarray | None, fft_length: int) -> np.ndarray:
    weights = hann(fft_length) if given is None else np.asarray(given, np.float64)
    missing = fft_length - weights.size
    if weights.ndim != 1 or missing < 0:
        raise ShapeError(
            "stft: the window does not fit a frame",
            expected=f"at most {fft_length} weights",
            got=str(weights.shape),
            where=str(here()),
        )
    return np.pad(weights, (missing // 2, missing - missing // 2))


def _checked(scale: str) -> str:
    if scale not in ("slaney", "htk"):
        raise ArgumentError(
            f"there is no mel scale {scale!r}", expected="'slaney' or 'htk'", got=repr(scale)
        )
    return scale
