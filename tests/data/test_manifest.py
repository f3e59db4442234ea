"""Manifests and excerpts: the same content has the same identity, other content another, wherever it lies."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.data.manifest import SILENT_DB, DatasetManifest, Excerpt, Stem, Track, describe_stem, excerpts
from benchmarks.identity import digest
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError

Noise = Callable[..., audio.Samples]


@pytest.fixture
def manifest(noise: Noise) -> DatasetManifest:
    """Two tracks; the first has no guitar and no piano, the second only a piano."""
    first = {
        "bass": describe_stem(noise(0), SAMPLE_RATE),
        "drums": describe_stem(noise(1), SAMPLE_RATE, ("Drums", "Kit")),
    }
    second = {"piano": describe_stem(noise(2, 2 * SAMPLE_RATE + 7), SAMPLE_RATE, ("Grand\u2028Piano\x85 „é“",))}
    tracks = (Track("Track00001", SAMPLE_RATE // 2, first), Track("Träck\u2028 2", 2 * SAMPLE_RATE + 7, second))
    return DatasetManifest("Songs", "test", SAMPLE_RATE, tracks)


def with_stem(manifest: DatasetManifest, stem: Stem) -> DatasetManifest:
    """The same manifest with another bass in its first track."""
    first, *others = manifest.tracks
    changed = replace(first, stems={**first.stems, "bass": stem})
    return replace(manifest, tracks=(changed, *others))


# On disk


def test_what_is_written_is_read(tmp_path: Path, manifest: DatasetManifest) -> None:
    manifest.write(tmp_path / "a.jsonl")
    assert DatasetManifest.read(tmp_path / "a.jsonl") == manifest
    assert list(tmp_path.iterdir()) == [tmp_path / "a.jsonl"]


def test_equal_manifests_are_equal_bytes(tmp_path: Path, manifest: DatasetManifest) -> None:
    manifest.write(tmp_path / "a.jsonl")
    DatasetManifest.read(tmp_path / "a.jsonl").write(tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [],
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: [*lines[:-1], lines[-1][:-30]],
        lambda lines: [lines[0], *lines[:0:-1]],
        lambda lines: [lines[0], lines[1].replace('"frames":11025', '"frames":11026'), lines[2]],
        lambda lines: [lines[0], lines[1].replace("Track00001", "Track00003"), lines[2]],
        lambda lines: [*lines, "[]"],
        lambda lines: [*lines, '{"name":"a","frames":1,"stems":[]}'],
        lambda lines: ["\udcff", *lines],
    ],
    ids=["empty", "header", "last", "cut", "order", "frames", "name", "list", "stems", "bytes"],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, manifest: DatasetManifest, damage) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.jsonl"
    manifest.write(path)
    whole = path.read_text().rstrip("\n").split("\n")
    damaged = damage(whole)
    assert damaged != whole
    path.write_text("".join(line + "\n" for line in damaged), errors="surrogateescape")
    with pytest.raises(BadInputError, match=r"a\.jsonl: .* prepare the dataset again"):
        DatasetManifest.read(path)


def test_a_line_of_the_manifest_is_json(tmp_path: Path, manifest: DatasetManifest) -> None:
    manifest.write(tmp_path / "a.jsonl")
    header, first, _ = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text().rstrip("\n").split("\n"))
    assert header.pop("lines") == digest((tmp_path / "a.jsonl").read_text().split("\n")[1:-1])
    told = {"title": "Songs", "split": "test", "rate": SAMPLE_RATE, "digest": manifest.digest}
    assert header == {**told, "origin": "", "source": ""}
    assert (first["name"], first["frames"], sorted(first["stems"])) == (
        "Track00001",
        SAMPLE_RATE // 2,
        ["bass", "drums"],
    )


# Identity


def test_the_digest_changes_with_one_sample(manifest: DatasetManifest, noise: Noise) -> None:
    samples = noise(0)
    assert with_stem(manifest, describe_stem(samples, SAMPLE_RATE)).digest == manifest.digest
    samples[0, 5000] = np.nextafter(samples[0, 5000], np.float32(1))
    assert with_stem(manifest, describe_stem(samples, SAMPLE_RATE)).digest != manifest.digest


def test_the_digest_changes_with_a_name_a_length_a_rate_and_the_stem(manifest: DatasetManifest) -> None:
    first, second = manifest.tracks
    piano_as_guitar = replace(second, stems={"guitar": second.stems["piano"]})
    others = [
        replace(manifest, tracks=(replace(first, name="Track00002"), second)),
        replace(manifest, tracks=(replace(first, frames=first.frames - 1), second)),
        replace(manifest, tracks=(first, piano_as_guitar)),
        replace(manifest, tracks=(first,)),
        replace(manifest, rate=44_100),
    ]
    assert len({other.digest for other in [manifest, *others]}) == 1 + len(others)


def test_the_digest_does_not_change_with_tags_and_titles(manifest: DatasetManifest) -> None:
    tagged = with_stem(manifest, replace(manifest.tracks[0].stems["bass"], tags=("Slap Bass 1",)))
    assert tagged != manifest
    assert replace(tagged, title="Other", split="train").digest == manifest.digest


def test_a_stem_that_is_not_there_is_silence(manifest: DatasetManifest) -> None:
    stems = manifest.tracks[0].stems
    expected = (stems["bass"].sha256, stems["drums"].sha256, "silence", "silence")
    assert STEMS == ("bass", "drums", "guitar", "piano")
    assert manifest.tracks[0].identity == expected


# Levels


def test_levels_are_those_of_each_second() -> None:
    seconds = [np.full(SAMPLE_RATE, 1), np.full(SAMPLE_RATE, 0.1), np.zeros(SAMPLE_RATE), np.full(100, -0.5)]
    stem = describe_stem(np.concatenate(seconds).astype(np.float32)[None], SAMPLE_RATE)
    assert stem.levels == (0, -20, SILENT_DB, -6)


def test_a_stem_is_known_by_its_samples(noise: Noise) -> None:
    assert describe_stem(noise(0), SAMPLE_RATE).sha256 == audio.sha256(noise(0))


# Excerpts


def track_of(frames: int, name: str = "a", sha256: str = "0" * 64) -> Track:
    return Track(name, frames, {"bass": Stem(sha256, ())})


@given(frames=st.integers(0, 3000), length=st.integers(1, 1000))
def test_excerpts_are_whole_adjacent_chunks(frames: int, length: int) -> None:
    expected = []
    start = 0
    while start + length <= frames:
        expected.append((start, length))
        start = start + length
    assert [(excerpt.start, excerpt.length) for excerpt in excerpts(track_of(frames), length)] == expected


@pytest.mark.parametrize(("frames", "count"), [(99, 0), (100, 1), (101, 1), (199, 1), (200, 2)])
def test_the_remainder_is_dropped(frames: int, count: int) -> None:
    assert len(list(excerpts(track_of(frames), 100))) == count


def test_an_excerpt_is_known_by_its_content_and_not_by_its_name() -> None:
    (first, second), (renamed, _) = excerpts(track_of(200), 100), excerpts(track_of(200, name="b"), 100)
    assert (first.track, renamed.track) == ("a", "b")
    assert first.id == renamed.id
    others = [
        second,
        Excerpt("a", 0, 99, first.stems),
        next(excerpts(track_of(200, sha256="1" * 64), 100)),
        Excerpt("a", 0, 100, first.stems[::-1]),
    ]
    assert len({excerpt.id for excerpt in [first, *others]}) == 1 + len(others)


def test_levels_and_tags_cannot_be_edited_unnoticed(tmp_path: Path, manifest: DatasetManifest) -> None:
    """They are no part of the digest, but decide which excerpts are generated, and what prompts say."""
    path = tmp_path / "a.jsonl"
    manifest.write(path)
    assert DatasetManifest.read(path) == manifest
    edited = re.sub(r'"levels":\[-?\d+', '"levels":[-99', path.read_text(), count=1)
    assert edited != path.read_text()
    path.write_text(edited)
    with pytest.raises(BadInputError, match="does not match its lines"):
        DatasetManifest.read(path)


def test_copies_are_the_later_ones_of_equal_tracks(manifest: DatasetManifest) -> None:
    first, second = manifest.tracks
    copies = [replace(first, name=f"Track{n:05d}") for n in range(10, 13)]
    assert replace(manifest, tracks=(first, second, *copies)).copies == {"Track00010", "Track00011", "Track00012"}
    assert manifest.copies == frozenset()
