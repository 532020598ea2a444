"""Sound: transforms against their formulas, against SciPy and PyTorch, and WAV files."""

import struct
import wave

import numpy as np
import pytest

from chainrule import data
from chainrule.errors import ArgumentError, DataError, DtypeError, ShapeError

RNG_SHAPES = [(300,), (2, 3, 257)]


def noise(shape, dtype=np.float64):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("shape", RNG_SHAPES, ids=str)
@pytest.mark.parametrize(("length", "hop"), [(32, 8), (33, 10), (64, 64)])
def test_stft_is_its_formula(shape, length, hop):
    x = noise(shape)
    found = data.stft(x, fft_length=length, hop_length=hop, centered=False)
    assert found.shape == (*shape[:-1], length // 2 + 1, (shape[-1] - length) // hop + 1)
    k = np.arange(length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * k / length)
    for t in (0, found.shape[-1] - 1):
        for f in (0, 3, length // 2):
            wave_ = window * np.exp(-2j * np.pi * f * k / length)
            expected = (x[..., t * hop : t * hop + length] * wave_).sum(axis=-1)
            np.testing.assert_allclose(found[..., f, t], expected, atol=1e-12)


def test_centred_frames_lie_around_their_sample():
    x = noise(200)
    found = data.stft(x, fft_length=32, hop_length=8)
    assert found.shape == (17, 200 // 8 + 1)
    inner = data.stft(x, fft_length=32, hop_length=8, centered=False)
    np.testing.assert_allclose(found[:, 2 : 2 + inner.shape[1]], inner, atol=1e-12)
    mirrored = np.concatenate([x[16:0:-1], x, x[-2:-18:-1]])
    whole = data.stft(mirrored, fft_length=32, hop_length=8, centered=False)
    np.testing.assert_allclose(found, whole, atol=1e-12)


def test_types_powers_and_parseval():
    x = noise((2, 256), np.float32)
    spectrum = data.stft(x, fft_length=64)
    assert spectrum.dtype == np.complex64
    energy = data.spectrogram(x, fft_length=64)
    assert energy.dtype == np.float32
    np.testing.assert_allclose(energy, np.abs(spectrum) ** 2, rtol=1e-5)
    amplitude = data.spectrogram(x, fft_length=64, power=1.0)
    np.testing.assert_allclose(amplitude, np.abs(spectrum), rtol=1e-5)
    # Parseval: the energy of a frame is that of its spectrum, both halves of it
    y = noise(64)
    both = data.spectrogram(y, fft_length=64, window=np.ones(64), centered=False)[:, 0]
    both[1:-1] *= 2
    np.testing.assert_allclose(both.sum() / 64, (y**2).sum(), rtol=1e-12)


def test_mel_scales_are_their_formulas():
    f = np.array([0.0, 100.0, 999.0, 1000.0, 1001.0, 8000.0])
    np.testing.assert_allclose(data.hertz_to_mel(f[:4]), f[:4] * 3 / 200, atol=1e-12)
    np.testing.assert_allclose(data.hertz_to_mel(6400.0), 42.0)
    np.testing.assert_allclose(data.hertz_to_mel(700.0, "htk"), 2595 * np.log10(2))
    for scale in ("slaney", "htk"):
        np.testing.assert_allclose(data.mel_to_hertz(data.hertz_to_mel(f, scale), scale), f)
    with pytest.raises(ArgumentError, match="no mel scale"):
        data.hertz_to_mel(1.0, "bark")


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_triangles_share_every_frequency(scale):
    filters = data.mel_filters(
        20, fft_length=1024, sample_rate=16_000, scale=scale, normalize=False
    )
    assert filters.shape == (20, 513)
    assert filters.dtype == np.float32
    f = np.arange(513) * 16_000 / 1024
    edges = np.linspace(0, data.hertz_to_mel(8000.0, scale), 22)
    peaks = data.mel_to_hertz(edges, scale)[1:-1]
    between = (f >= peaks[0]) & (f <= peaks[-1])
    np.testing.assert_allclose(filters.sum(axis=0)[between], 1, atol=1e-5)
    assert np.abs(f[filters.argmax(axis=1)] - peaks).max() <= 16_000 / 1024
    even = data.mel_filters(20, fft_length=4096, sample_rate=16_000, scale=scale)
    np.testing.assert_allclose(even.sum(axis=1) * 16_000 / 4096, 1, rtol=0.02)


def test_log_mel_finds_a_tone():
    t = np.arange(8000) / 8000
    tones = np.stack([np.sin(2 * np.pi * f * t) for f in (300, 1000, 3000)]).astype(np.float32)
    features = data.log_mel(tones, 8000, n_mels=32, fft_length=512)
    assert features.shape == (3, 32, 8000 // 128 + 1)
    peaks = data.mel_to_hertz(np.linspace(0, data.hertz_to_mel(4000.0), 34))[1:-1]
    loudest = features[:, :, 5:-5].mean(axis=2).argmax(axis=1)
    assert loudest.tolist() == [int(np.abs(peaks - f).argmin()) for f in (300, 1000, 3000)]
    energy = data.spectrogram(tones, fft_length=512)
    by_hand = data.mel_filters(32, fft_length=512, sample_rate=8000) @ energy
    np.testing.assert_allclose(features, np.log(np.maximum(by_hand, 1e-10)), rtol=1e-5)
    silence = data.log_mel(np.zeros(600), 8000, floor=1e-3)
    np.testing.assert_allclose(silence, np.log(1e-3))


def test_features_of_a_data_set():
    waves = data.ArrayDataset(noise((5, 2000), np.float32), np.arange(5) % 2)
    pictures = waves.map_inputs(lambda x: data.log_mel(x, 8000, n_mels=16, fft_length=256))
    assert pictures.inputs.shape == (5, 16, 32)


WRONG = {
    "whole numbers": (lambda: data.stft(np.zeros(900, np.int16)), DtypeError, "x / 32768"),
    "too short": (lambda: data.stft(np.zeros(200)), ShapeError, "at least 257 samples"),
    "a number": (lambda: data.stft(1.0), ShapeError, "samples"),
    "window": (lambda: data.stft(noise(900), window=np.ones(513)), ShapeError, "at most 512"),
    "hop": (lambda: data.stft(noise(900), hop_length=0), ArgumentError, "hop_length ≥ 1"),
    "power": (lambda: data.spectrogram(noise(900), power=0), ArgumentError, "power"),
    "floor": (lambda: data.log_mel(noise(900), 8000, floor=0), ArgumentError, "floor"),
    "high": (lambda: data.log_mel(noise(900), 8000, high=4001), ArgumentError, "sample_rate / 2"),
    "narrow": (lambda: data.log_mel(noise(900), 8000, n_mels=400), ArgumentError, "always 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_answered(name):
    call, error, told = WRONG[name]
    with pytest.raises(error, match=told):
        call()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_files_of_every_width(tmp_path, width):
    levels = np.array([[0.0, 0.5, -0.5], [-1.0, 0.25, 0.75]])
    whole = (levels * 2 ** (8 * width - 1)).astype(np.int64).T.ravel() + 128 * (width == 1)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(
            b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in whole)
        )
    found, rate = data.read_wav(tmp_path / "a.wav")
    assert rate == 8000
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, levels)


def test_damaged_wav_files_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    for content in (b"", b"RIFF", b"no sound at all, only text", None):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match="can not be read"):
            data.read_wav(path if content is not None else tmp_path / "nowhere.wav")
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0xFFFFFFF0, b"WAVE", b"fmt ", 16, 1, 1, 8000,
                         16000, 2, 16)  # fmt: skip
    path.write_bytes(header + struct.pack("<4sI", b"junk", 1 << 30) + bytes(100))
    with pytest.raises(DataError, match="can not be read"):
        data.read_wav(path)
    path.write_bytes(header + struct.pack("<4sI", b"data", 0xFFFFFF00) + bytes(100))
    with pytest.raises(DataError, match=r"2,147,483,520 samples of 16 bits in 144 bytes"):
        data.read_wav(path)


@pytest.mark.peer
@pytest.mark.parametrize(("length", "hop"), [(64, 16), (50, 20), (31, 7)])
def test_stft_is_scipys(length, hop):
    signal = pytest.importorskip("scipy.signal")
    x = noise((2, 400))
    found = data.stft(x, fft_length=length, hop_length=hop, centered=False)
    window = signal.get_window("hann", length, fftbins=True)
    np.testing.assert_allclose(data.sound.hann(length), window, atol=1e-15)
    transform = signal.ShortTimeFFT(window, hop, fs=1.0, mfft=length, phase_shift=None)
    # SciPy's slices are centred: zeros in front move the first one that lies inside to a hop
    first = -(-transform.m_num_mid // hop)
    x_moved = np.pad(x, ((0, 0), (first * hop - transform.m_num_mid, 0)))
    expected = transform.stft(x_moved)[..., first - transform.p_min :]
    np.testing.assert_allclose(found, expected[..., : found.shape[-1]], atol=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("window_length", [64, 40])
def test_stft_is_torchs(window_length):
    torch = pytest.importorskip("torch")
    x = noise((2, 400), np.float32)
    window = torch.hann_window(window_length)
    expected = torch.stft(
        torch.from_numpy(x), 64, 16, window_length, window, return_complex=True
    ).numpy()
    found = data.stft(x, fft_length=64, hop_length=16, window=window.numpy())
    np.testing.assert_allclose(found, expected, atol=2e-5)
