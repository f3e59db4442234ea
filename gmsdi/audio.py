"""Read, write, resample and hash audio. Samples are float32 ``[channels, samples]`` everywhere.

FLAC and the like go through ``soundfile`` (torchaudio 2.11 has no codecs of its own). Float32 WAV, the format of prepared data
and of outputs, is written by SciPy: its bytes depend on the samples alone (libsndfile stamps a PEAK chunk with the time).
"""

import hashlib
import io
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from scipy.io import wavfile

from gmsdi import files
from gmsdi.errors import BadInputError

Samples = npt.NDArray[np.float32]

STREAMED = 0xFFFFFFFF
"""The number of bytes in a WAV's header if its writer did not know the number, as in a pipe."""

IEEE_FLOAT = 3
"""The format tag of a WAV of floating-point samples."""


def read(path: Path | str) -> tuple[Samples, int]:
    """The samples ``[channels, samples]`` of a whole file and its rate in Hz.

    Raises ``BadInputError`` when the file is missing, empty, truncated, no audio, or holds NaN or infinite samples.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInputError(f"{path}: no such audio file")
    return decode(path, files.read(path)[0])


def decode(path: Path, data: bytes) -> tuple[Samples, int]:
    """As ``read``, of the bytes ``data`` that were read from ``path``: so they can be hashed before, whatever happens to the file."""
    samples, rate = _as_float32(path, data) or _decode(path, data)
    require_finite(samples, rate, str(path))
    return samples, rate


def read_stretch(path: Path, start: int, length: int) -> Samples:
    """``length`` samples ``[channels, length]`` from ``start`` of a file that is known to be intact and long enough."""
    samples: Samples = soundfile.read(path, length, start, dtype="float32", always_2d=True)[0].T
    return samples


def _as_float32(path: Path, data: bytes) -> tuple[Samples, int] | None:
    """Take a float32 WAV's ``data`` as they are; None for any other file, ``BadInputError`` for a truncated WAV of any kind.

    libsndfile takes a truncated WAV for a shorter one, and SciPy's reader cannot be used in threads (it reports damage by
    warnings, whose filters are global), so the header is read here.
    """
    header = _wav_header(data)
    if header is None:
        return None
    form, start, size = header
    if size == STREAMED:
        return None
    missing = start + size - len(data)
    if missing > 0:
        raise BadInputError(f"{path}: truncated, {missing} of {size} bytes of samples are missing; copy it again")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form)
    if (kind, bits) != (IEEE_FLOAT, 32) or channels == 0 or size < 4 * channels:
        return None
    samples = np.frombuffer(data, "<f4", size // (4 * channels) * channels, start).copy()
    return samples.reshape(-1, channels).T, rate


def _wav_header(data: bytes) -> tuple[bytes, int, int] | None:
    """The first 16 bytes of a WAV's format chunk, and the first byte and number of bytes of its samples; None if it has none."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    form, place = b"", 12
    while len(head := data[place : place + 8]) == 8:
        name, size = struct.unpack("<4sI", head)
        start = place + 8
        if name == b"fmt ":
            form = data[start : start + 16]
        if name == b"data" and len(form) == 16:
            return form, start, size
        place = start + size + size % 2  # chunks start at even bytes
    return None


def _decode(path: Path, data: bytes) -> tuple[Samples, int]:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            announced, rate = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True).T
    except soundfile.LibsndfileError as error:
        raise BadInputError(f"{path}: cannot be decoded ({error.error_string}); copy or render it again") from None
    if announced == 0:
        raise BadInputError(f"{path}: holds no samples; copy or render it again")
    if samples.shape[1] != announced:
        raise BadInputError(f"{path}: truncated, {samples.shape[1]} of {announced} frames decode; copy it again")
    return np.ascontiguousarray(samples), rate


def require_finite(samples: Samples, rate: int, where: str) -> None:
    """Raise ``BadInputError`` that names the first NaN or infinite sample of ``[channels, samples]``, if there is one."""
    if np.isfinite(samples).all():
        return
    first = int(np.argmax(~np.isfinite(samples).all(axis=0)))
    raise BadInputError(f"{where}: NaN or infinite samples, the first at {first / rate:.3f} s; mend it or leave it out")


def write(path: Path | str, samples: Samples, rate: int, subtype: str = "FLOAT") -> None:
    """Write ``[channels, samples]`` atomically; the format follows the suffix (``.wav``, ``.flac``)."""
    path = Path(path)
    with atomic(path) as temporary:
        if path.suffix == ".wav" and subtype == "FLOAT":
            channels = np.ascontiguousarray(samples.T, dtype="<f4")
            wavfile.write(temporary, rate, channels[:, 0] if channels.shape[1] == 1 else channels)
        else:
            encoded = io.BytesIO()  # libsndfile itself would report a full disk as an unspecific error
            soundfile.write(encoded, samples.T, rate, format=path.suffix[1:].upper(), subtype=subtype)
            temporary.write_bytes(encoded.getbuffer())


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file to write: at the end it replaces ``path``, complete and on disk. After an error ``path`` is as it was."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """Resample ``[channels, samples]`` from ``rate`` to ``target`` Hz (soxr, very high quality)."""
    if rate == target:
        return samples
    return np.ascontiguousarray(soxr.resample(samples.T, rate, target, quality="VHQ").T, dtype=np.float32)


def mono(samples: Samples) -> Samples:
    """The mean of the channels, ``[1, samples]``."""
    return samples if samples.shape[0] == 1 else samples.mean(axis=0, keepdims=True, dtype=np.float32)


def mixture(stems: Samples) -> Samples:
    """The sum of stems ``[stems, samples]`` as ``[samples]``, added one after the other in float32.

    The order is part of the definition: the mixture that a separator was given and the one that SI-SDRi is measured against must
    be the same to the last bit, or the mixture itself would not score exactly 0 dB.
    """
    total = stems[0].copy()
    for stem in stems[1:]:
        total += stem
    return total


def sha256(samples: Samples) -> str:
    """The identity of samples: shape and little-endian float32 values, whatever file held them."""
    contiguous = np.ascontiguousarray(samples, dtype="<f4")
    digest = hashlib.sha256(repr(contiguous.shape).encode())
    digest.update(contiguous.view(np.uint8).data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
