"""What makes a unit another unit, and what does not."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from baselines.bounds import IdealRatioMask
from benchmarks.cells.notes import left_out
from benchmarks.data.manifest import Track
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.plan.systems import resolve, resolve_all
from benchmarks.plan.units import Protocol, make_plan, make_unit
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError
from gmsdi.system import Batch, Derived, Separator

CHUNK = SAMPLE_RATE // 2
PROTOCOL = Protocol("tiny", CHUNK)


class Weighted(Separator):
    """A system with weights in a file."""

    def __init__(self, checkpoint: Path, steps: int = 100) -> None:
        self.gain = float(Path(checkpoint).read_text())

    def separate(self, batch: Batch) -> torch.Tensor:
        return batch.mixtures[:, None].repeat(1, len(STEMS), 1) * self.gain


@dataclass(frozen=True)
class Curve:
    """An object that a system is made with."""

    levels: tuple[int, ...] = (3, 1)
    seed: int = field(default_factory=lambda: 4)


def ramp(top: float | Path, rho: float = 7.0) -> list[float]:
    """Another, which a function makes."""
    return [top, 0.0]


class Nested(Separator):
    """A system whose arguments are objects, of which one is made later with what is known then."""

    def __init__(
        self,
        curve=Curve(),
        make=partial(ramp, rho=5.0),  # noqa: B008
        levels=None,
        later=Curve,
        weights: dict[str, Path] | None = None,
    ) -> None:
        self.arguments = (curve, make, levels, later, weights)

    def separate(self, batch: Batch) -> torch.Tensor:
        raise NotImplementedError


@pytest.fixture
def songs(tmp_path, noise, write_track):
    """The folder of two tracks of two chunks and a remainder."""
    for t in range(2):
        stems = {stem: noise(10 * t + k, 2 * CHUNK + 100) for k, stem in enumerate(STEMS)}
        write_track(tmp_path / "data" / "test" / f"Track{t}", stems)
    return tmp_path / "data"


def system(name="weighted", target="test_units.Weighted", **arguments):
    return resolve(name, OmegaConf.create({"label": name, "separator": {"_target_": target, **arguments}}))


def nested(**arguments):
    return system("nested", "test_units.Nested", **arguments)


def plan_of(songs, *systems, seed=0, protocol=PROTOCOL):
    manifest = MsdmLayout("tiny", songs, songs.parent / "cache").split("test").manifest
    return make_plan(manifest, protocol, systems or [system(target="baselines.bounds.Mixture")], seed)


def ids(plan):
    return {unit.id for units in plan.units.values() for unit in units}


def seeds(plan, spec):
    return [unit.seed for unit in plan.of_system(spec)]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "weights"
    path.write_text("0.5")
    return path


def test_every_whole_chunk_of_every_track_is_a_unit(songs):
    (spec,) = (plan := plan_of(songs)).systems
    assert [(unit.excerpt.track, unit.excerpt.start) for unit in plan.of_system(spec)] == [
        ("Track0", 0),
        ("Track0", CHUNK),
        ("Track1", 0),
        ("Track1", CHUNK),
    ]


def test_the_same_config_makes_the_same_units(songs, checkpoint):
    assert ids(plan_of(songs, system(checkpoint=checkpoint))) == ids(plan_of(songs, system(checkpoint=checkpoint)))


def test_other_bytes_under_the_name_of_a_checkpoint_make_other_units(songs, checkpoint):
    before = ids(plan_of(songs, system(checkpoint=checkpoint)))
    checkpoint.write_text("0.6")
    assert ids(plan_of(songs, system(checkpoint=checkpoint))).isdisjoint(before)


def test_a_checkpoint_that_moved_makes_the_same_units(songs, checkpoint):
    before = ids(plan_of(songs, system(checkpoint=checkpoint)))
    moved = checkpoint.rename(checkpoint.with_name("moved"))
    assert ids(plan_of(songs, system(checkpoint=moved))) == before


def test_another_default_in_the_code_makes_other_units(songs, checkpoint, monkeypatch):
    before = ids(plan_of(songs, system(checkpoint=checkpoint)))
    monkeypatch.setattr(Weighted.__init__, "__defaults__", (200,))
    assert ids(plan_of(songs, system(checkpoint=checkpoint))).isdisjoint(before)


def test_a_default_that_is_written_out_makes_the_same_units(songs, checkpoint):
    assert ids(plan_of(songs, system(checkpoint=checkpoint))) == ids(
        plan_of(songs, system(checkpoint=checkpoint, steps=100))
    )


def test_another_value_in_the_config_makes_other_units(songs):
    oracle = f"{IdealRatioMask.__module__}.{IdealRatioMask.__name__}"
    before = ids(plan_of(songs, system(target=oracle)))
    assert ids(plan_of(songs, system(target=oracle, power=1.0))).isdisjoint(before)


@pytest.mark.parametrize("other", [{"seed": 1}, {"protocol": Protocol("", CHUNK - 1)}])
def test_another_seed_or_chunk_makes_other_units(songs, other):
    assert ids(plan_of(songs, **other)).isdisjoint(ids(plan_of(songs)))


def test_one_other_sample_makes_other_units_of_its_track_alone(songs):
    before = ids(plan_of(songs))
    path = songs / "test" / "Track1" / "piano.wav"
    samples = np.array(audio.read(path)[0])
    samples[0, 0] += 1e-3
    audio.write(path, samples, SAMPLE_RATE)
    assert len(ids(plan_of(songs)) & before) == 2


def test_another_name_of_a_track_or_a_system_makes_the_same_units(songs):
    before = ids(plan_of(songs))
    (songs / "test" / "Track0").rename(songs / "test" / "Renamed")
    assert ids(plan_of(songs, system("renamed", target="baselines.bounds.Mixture"))) == before


def test_seeds_are_shared_by_systems_and_differ_between_excerpts_and_replicates(songs):
    systems = [system(target=f"baselines.bounds.{name}") for name in ("Mixture", "Silence")]
    plan = plan_of(songs, *systems)
    assert seeds(plan, systems[0]) == seeds(plan, systems[1])
    replicates = [make_unit(systems[0], unit.excerpt, 0, n) for n in range(3) for unit in plan.of_system(systems[0])]
    assert replicates[:4] == list(plan.of_system(systems[0]))
    assert len({unit.seed for unit in replicates}) == len({unit.id for unit in replicates}) == 12


@pytest.mark.parametrize(
    ("count", "chunks"),
    [(1, [2]), (2, [1, 3]), (3, [0, 2, 4]), (4, [0, 1, 3, 4]), (5, range(5)), (9, range(5)), (None, range(5))],
)
def test_some_chunks_of_a_track_are_spread_evenly_over_it(count, chunks):
    excerpts = Protocol("few", CHUNK, count).excerpts(Track("Track0", 5 * CHUNK + 1, {}))
    assert [excerpt.start for excerpt in excerpts] == [n * CHUNK for n in chunks]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("length", [1, 2, 3, 10, 49])
def test_each_chunk_is_in_the_middle_of_its_part_of_the_track(count, length):
    excerpts = Protocol("few", CHUNK, count).excerpts(Track("Track0", length * CHUNK, {}))
    part = length / min(count, length)
    assert [excerpt.start // CHUNK for excerpt in excerpts] == [
        math.floor((i + 0.5) * part) for i in range(len(excerpts))
    ]
    assert len({excerpt.id for excerpt in excerpts}) == min(count, length)


@pytest.mark.parametrize(
    ("count", "said"),
    [(None, "all whole chunks of 0.50 s"), (1, "the middle one of the"), (3, "3 of the whole chunks, spread")],
)
def test_a_caption_says_which_chunks(count, said):
    assert said in Protocol("tiny", CHUNK, count).describe(SAMPLE_RATE)


def test_tracks_shorter_than_a_chunk_leave_nothing_to_do(songs):
    with pytest.raises(BadInputError, match="no track holds a chunk"):
        plan_of(songs, protocol=Protocol("long", 10 * CHUNK))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"target": "baselines.nowhere.X"}, "nowhere"), ({"checkpoint": "x", "stesp": 1}, "stesp"), ({}, "checkpoint")],
)
def test_a_system_that_cannot_be_made_is_bad_input(arguments, message):
    with pytest.raises(BadInputError, match=message):
        system(**arguments)


def test_a_folder_is_what_lies_in_it_and_a_word_is_a_word(tmp_path, monkeypatch):
    """A word is never taken for a path, even where a folder of that name happens to be."""
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "weights").write_text("1")
    assert Weighted.identify(checkpoint=tmp_path / "a") == Weighted.identify(checkpoint=tmp_path / "b")
    (tmp_path / "b" / "deep" / "weights").write_text("2")
    assert Weighted.identify(checkpoint=tmp_path / "a") != Weighted.identify(checkpoint=tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    assert Weighted.identify(mode="a", steps=3) == {"mode": "a", "steps": 3}


# Arguments that are objects


CURVE = {"_target_": "test_units.Curve"}
RAMP = {"_target_": "test_units.ramp", "_partial_": True}


def test_what_objects_are_made_of_is_part_of_what_a_system_is():
    variants = [
        nested(),
        nested(curve={**CURVE, "levels": [3, 2]}),
        nested(curve={**CURVE, "seed": 5}),
        nested(make={**RAMP, "rho": 6.0}),
        nested(make={**RAMP, "rho": 6.0, "top": 1.0}),
        nested(levels={"_target_": "test_units.ramp", "top": 2.0}),
        nested(levels=[{"a": {"_target_": "test_units.ramp", "top": 2.0}}]),
        nested(levels={"_target_": "test_units.ramp", "top": 1.0}),
        nested(later=RAMP),
    ]
    assert len({spec.id for spec in variants}) == len(variants)


def test_objects_that_are_spelled_out_are_those_that_are_the_default():
    spelled = nested(
        curve={**CURVE, "levels": [3, 1], "seed": 4}, make={**RAMP, "rho": 5.0}, later={**CURVE, "_partial_": True}
    )
    assert nested(curve=CURVE).id == spelled.id == nested().id


@pytest.mark.parametrize(
    ("where", "default", "other"),
    [
        (Curve.__init__, "__defaults__", ((4, 1), Curve.__init__.__defaults__[1])),
        (Curve.__dataclass_fields__["seed"], "default_factory", lambda: 5),
        (ramp, "__defaults__", (8.0,)),
    ],
)
def test_another_default_of_an_object_makes_another_system(monkeypatch, where, default, other):
    arguments = {"curve": CURVE, "make": RAMP, "levels": [{"_target_": "test_units.ramp", "top": 1.0}]}
    before = nested(**arguments).id
    monkeypatch.setattr(where, default, other)
    assert nested(**arguments).id != before


def test_a_file_that_an_object_is_made_of_counts_by_content(checkpoint):
    def found():
        return nested(weights={"bass": str(checkpoint)}).id, nested(
            levels={"_target_": "test_units.ramp", "top": str(checkpoint)}
        ).id

    before = found()
    checkpoint.write_text("0.6")
    assert not set(before) & set(found())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"curve": {**CURVE, "levls": 1}},
            "system nested: Curve got an unexpected keyword argument 'levls'; see configs/system/nested",
        ),
        ({"levels": {"_target_": "test_units.ramp"}}, "ramp missing a required argument: 'top'"),
        ({"levels": {"_target_": "test_units.nothing"}}, "system nested: .*test_units.nothing"),
        ({"levels": math.inf}, "Nested.levels: inf is no number"),
    ],
)
def test_an_object_that_cannot_be_made_is_bad_input(arguments, message):
    with pytest.raises(BadInputError, match=message) as raised:
        nested(**arguments)
    assert "\n" not in str(raised.value)


def test_a_default_that_nothing_can_be_told_of_is_refused(monkeypatch):
    monkeypatch.setattr(Nested.__init__, "__defaults__", (lambda: 0, ramp, None, Curve, None))
    with pytest.raises(BadInputError, match=r"Nested\.curve: nothing tells one function from another"):
        nested()


def test_a_class_that_is_no_system_is_bad_input():
    with pytest.raises(BadInputError, match="Curve is no separator"):
        system(target="test_units.Curve")


# What a system may look at


class Named(Separator):
    """A system that may look at names."""

    reads_places = True

    def separate(self, batch: Batch) -> torch.Tensor:
        raise NotImplementedError


def test_a_tracks_name_is_part_of_the_work_of_systems_that_are_told_it(songs):
    """Two songs whose names are swapped are other work for them, and for what is made of them, and the same for all others."""
    nodes = {
        "named": {"_target_": "test_units.Named"},
        "mean": {"_target_": "gmsdi.ensemble.Mean", "of": "named", "samples": 2},
        "mixture": {"_target_": "baselines.bounds.Mixture"},
    }
    systems = resolve_all({name: OmegaConf.create({"label": name, "separator": node}) for name, node in nodes.items()})

    def units():
        plan = plan_of(songs, *systems)
        return {system.name: {unit.id for unit in plan.of_system(system)} for system in systems}

    before = units()
    test = songs / "test"
    for old, new in (("Track0", "x"), ("Track1", "Track0"), ("x", "Track1")):
        (test / old).rename(test / new)
    after = units()
    assert after["mixture"] == before["mixture"] and len(before["mixture"]) == 4
    assert not after["named"] & before["named"] and not after["mean"] & before["mean"]


def test_copies_of_a_song_are_planned_once(songs):
    for n in range(2, 9):
        shutil.copytree(songs / "test" / "Track0", songs / "test" / f"Track{n}")
    plan = plan_of(songs)
    assert [track.name for track in plan.tracks] == ["Track0", "Track1"]
    assert list(left_out(plan)) == ["Left out, as copies of others: 7 of 9 songs."]
    (songs / "test" / "Track8" / "bass.wav").write_bytes((songs / "test" / "Track1" / "bass.wav").read_bytes())
    plan = plan_of(songs)  # one of them has another bass now: no copy, but not independent of either
    assert [track.name for track in plan.tracks] == ["Track0", "Track1", "Track8"]
    assert "Not independent: 3 songs have a stem that another song has, too." in list(left_out(plan))


# Paths by the declared type


class Pathy(Separator):
    """Arguments that are declared in many ways."""

    def __init__(
        self,
        one: Path | str,
        maybe: Path | None = None,
        some: list[Path] | None = None,
        named: Mapping[str, Path | str] | None = None,
        word: str = "",
    ) -> None:
        pass

    def separate(self, batch: Batch) -> torch.Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(
    "arguments",
    [
        {"one": "folder"},
        {"one": "~/folder"},
        {"one": "linked"},
        {"one": "weights", "maybe": "folder"},
        {"one": "weights", "some": ["weights", "folder"]},
        {"one": "weights", "named": {"bass": "folder"}},
    ],
    ids=str,
)
def test_a_path_is_hashed_whatever_it_looks_like(tmp_path, monkeypatch, arguments):
    """A bare name, the home, a link to a folder, and below a folder that is a link."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "below").symlink_to(tmp_path / "real")
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    (tmp_path / "weights").write_text("1")
    (tmp_path / "real" / "deep").write_text("1")
    before = system(target="test_units.Pathy", **arguments)
    assert system(target="test_units.Pathy", **arguments).id == before.id
    (tmp_path / "real" / "deep").write_text("2")
    assert system(target="test_units.Pathy", **arguments).id != before.id


def test_a_word_is_no_path_and_a_path_that_is_declared_as_a_word_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a").write_text("1")
    assert system(target="test_units.Pathy", one="weights", word="weights")
    with pytest.raises(BadInputError, match="is not declared as a Path, so its content would not count"):
        system(target="test_units.Pathy", one="weights", word="weights/a")
    with pytest.raises(BadInputError, match="nowhere: no such file or folder"):
        system(target="test_units.Pathy", one="nowhere")


def test_all_arguments_of_a_derived_system_count():
    def id_of(w):
        nodes = {
            "a": {"_target_": "baselines.bounds.Mixture"},
            "w": {"_target_": "test_units.Shares", "of": "a", "w": w},
        }
        return resolve_all(
            {name: OmegaConf.create({"label": name, "separator": node}) for name, node in nodes.items()}
        )[1].id

    assert id_of(0.1) != id_of(0.9) == id_of(0.9)


class Shares(Derived):
    """A part of another system's output."""

    def __init__(self, of: str, w: float) -> None:
        self.of, self.w = of, w

    @property
    def inputs(self):
        return ((self.of, 0),)

    def combine(self, outputs):
        return self.w * outputs[0]
